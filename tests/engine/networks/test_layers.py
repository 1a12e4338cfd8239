import pytest
import torch

from engine.networks.architectures import build_generator
from engine.networks.layers import MOST_ROWS, Doubling, Halving, join, lay_out
from tests.conftest import tiny_config


def gradients(layer, maps):
    """What comes out, and all gradients."""
    layer.zero_grad()
    maps = maps.clone().requires_grad_(True)
    made = layer(maps)
    (made * torch.arange(made.numel()).view_as(made)).mean().backward()
    return made, maps.grad, layer.weight.grad, layer.bias.grad


@pytest.mark.parametrize("kind", [Halving, Doubling])
@pytest.mark.parametrize("side", [2, 4, 6])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_matrix_product_gives_what_the_convolution_gives(kind, side, layout):
    torch.manual_seed(0)
    layer = kind(5, 7)
    maps = torch.randn(3, 5, side, side).contiguous(memory_format=layout)

    multiplied = gradients(layer, maps)
    layer.most_rows = 0
    convolved = gradients(layer, maps)

    for found, expected in zip(multiplied, convolved, strict=True):
        assert found.shape == expected.shape
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_large_maps_are_convolved(monkeypatch):
    layer = Halving(3, 4)
    monkeypatch.setattr(torch.nn.functional, "unfold", None)

    layer(torch.randn(1, 3, 64, 64))

    assert MOST_ROWS < 32 * 32


def test_a_joining_hands_its_gradients_back():
    first, second = (torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(2))
    weights = torch.randn(2, 6, 4, 4)

    for layout in (torch.channels_last, torch.contiguous_format):
        parts = [it.detach().contiguous(memory_format=layout) for it in (first, second)]
        for part in parts:
            part.requires_grad_(True)
        joined = join(*parts)
        (joined * weights).sum().backward()

        assert torch.equal(joined, torch.cat([first, second], dim=1))
        for part, expected in zip(parts, weights.chunk(2, dim=1), strict=True):
            assert torch.equal(part.grad, expected)
            assert part.grad.is_contiguous(memory_format=layout)


def test_only_weights_of_small_maps_keep_lying_as_they_are_multiplied():
    budget = tiny_config(px=64, batch=2, base_channels=8).budget
    generator = build_generator(budget)
    before = {name: value.clone() for name, value in generator.state_dict().items()}

    lay_out(generator, torch.channels_last, px=64, batch=2)

    lies = {
        name: layer.weight.is_contiguous()
        for name, layer in generator.named_modules()
        if isinstance(layer, Halving | Doubling)
    }
    assert lies["down.5.1"]
    assert lies["down.3.1"]
    assert lies["up.0.1"]
    assert not lies["down.1.1"]
    assert not lies["up.5.1"]
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())
