import pytest
import torch

from engine.networks.layers import MAX_GEMM_ROWS, DownConv, UpConv, concat_skip, set_memory_format
from engine.networks.outputs import build_generator
from engine.presets import CONFIGURATIONS
from tests.support.runs import tiny_config

STANDARD = CONFIGURATIONS["standard"]


def forward_and_backward(layer, maps):
    """Returns the output of a layer, and the gradients of input, weight and bias."""
    layer.zero_grad()
    maps = maps.clone().requires_grad_(True)
    output = layer(maps)
    (output * torch.arange(output.numel()).view_as(output)).mean().backward()
    return output, maps.grad, layer.weight.grad, layer.bias.grad


@pytest.mark.parametrize("layer_type", [DownConv, UpConv])
@pytest.mark.parametrize("side", [2, 4, 6])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_the_matrix_product_equals_the_convolution(layer_type, side, memory_format):
    torch.manual_seed(0)
    layer = layer_type(5, 7, depth=1)
    maps = torch.randn(3, 5, side, side).contiguous(memory_format=memory_format)

    multiplied = forward_and_backward(layer, maps)
    layer.max_gemm_rows = 0
    convolved = forward_and_backward(layer, maps)

    for actual, expected in zip(multiplied, convolved, strict=True):
        assert actual.shape == expected.shape
        assert torch.allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_large_maps_are_convolved(monkeypatch):
    layer = DownConv(3, 4, depth=1)
    monkeypatch.setattr(torch.nn.functional, "unfold", None)

    layer(torch.randn(1, 3, 64, 64))

    assert MAX_GEMM_ROWS < 32 * 32


def test_the_gradients_of_a_skip_are_those_of_a_concatenation():
    first, second = (torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(2))
    weights = torch.randn(2, 6, 4, 4)

    for memory_format in (torch.channels_last, torch.contiguous_format):
        inputs = [maps.detach().contiguous(memory_format=memory_format) for maps in (first, second)]
        for maps in inputs:
            maps.requires_grad_(True)
        output = concat_skip(*inputs)
        (output * weights).sum().backward()

        assert torch.equal(output, torch.cat([first, second], dim=1))
        for maps, expected in zip(inputs, weights.chunk(2, dim=1), strict=True):
            assert torch.equal(maps.grad, expected)
            assert maps.grad.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("generator", ["unet", "resnet18_unet"])
def test_the_depth_of_a_layer_is_how_often_the_picture_was_halved(generator):
    px = 64
    network = build_generator(tiny_config(px=px, generator=generator).budget, STANDARD).eval()
    layers = [layer for layer in network.modules() if isinstance(layer, DownConv | UpConv)]
    sides = {}
    for layer in layers:
        layer.register_forward_hook(
            lambda layer, inputs, output: sides.update(
                {layer: min(inputs[0].shape[2], output.shape[2])}
            )
        )

    network(torch.zeros(1, 3, px, px))

    assert {layer: px >> layer.depth for layer in layers} == sides


def test_only_the_weights_of_small_maps_stay_contiguous():
    budget = tiny_config(px=64, batch=2, base_channels=8).budget
    generator = build_generator(budget, STANDARD)
    before = {name: value.clone() for name, value in generator.state_dict().items()}

    set_memory_format(generator, torch.channels_last, px=64, batch=2)

    is_contiguous = {
        name: layer.weight.is_contiguous()
        for name, layer in generator.named_modules()
        if isinstance(layer, DownConv | UpConv)
    }
    assert is_contiguous["down.5.1"]
    assert is_contiguous["down.3.1"]
    assert is_contiguous["up.0.1"]
    assert not is_contiguous["down.1.1"]
    assert not is_contiguous["up.5.1"]
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())
