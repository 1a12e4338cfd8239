"""Laws of the pretrained reader of sources; most use the packaged weights."""

import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.nn import functional

from engine import weights
from engine.networks import backbones, source_features
from engine.networks.source_features import SourceReader
from tests.support.runs import load_pairs

NAME = "efficientnet_lite0"


@pytest.fixture(scope="module")
def weights_path(packed_settings):
    return weights.require(NAME, packed_settings)[0]


@pytest.fixture(scope="module")
def sources(packed):
    """Twelve sketches, [12, 3, 32, 32] in [-1, 1]."""
    return load_pairs(packed, "train", 12).sources.permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.fixture
def reader(weights_path, sources):
    reader = SourceReader(weights_path)
    reader.fit(reader.read_frozen(sources))
    return reader


class WholeReader(nn.Module):
    """A network of the reader alone: source -> the three maps and the code."""

    def __init__(self, reader):
        super().__init__()
        self.reader = reader

    def forward(self, source):
        maps, code = self.reader(self.reader.read_frozen(source))
        return (*maps, code)


def test_frozen_features_are_those_of_the_whole_network(reader, weights_path, sources):
    network = backbones.load_efficientnet_lite(NAME, weights_path)
    pictures = functional.interpolate(sources, scale_factor=2.0, mode="bilinear")
    maps = [network.stem((pictures * 127.5 + 127.5 - 127) / 128)]
    for block in network.blocks:
        maps.append(block(maps[-1]))

    frozen = reader.read_frozen(sources)

    torch.testing.assert_close(frozen.stride8, maps[5], rtol=0, atol=1e-3)
    torch.testing.assert_close(frozen.stride16, maps[11], rtol=0, atol=1e-3)
    torch.testing.assert_close(
        frozen.pooled, network.head(maps[16]).mean((2, 3)), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(("px", "sides"), [(32, (8, 4, 2)), (64, (16, 8, 4)), (256, (32, 16, 8))])
def test_each_map_has_the_side_of_a_level_of_the_generator(reader, px, sides):
    frozen = reader.read_frozen(torch.zeros(1, 3, px, px))
    maps, code = reader(frozen)

    assert [tuple(layer.shape[1:]) for layer in maps] == [
        (channels, side, side) for channels, side in zip((40, 112, 320), sides, strict=True)
    ]
    assert code.shape == (1, 96)
    assert source_features.map_shapes(px) == (maps[0].shape[1:], maps[1].shape[1:])


def test_only_the_late_blocks_are_trained(reader, sources):
    maps, code = reader(reader.read_frozen(sources))
    (sum(layer.square().mean() for layer in maps) + code.square().mean()).backward()

    late = {f"late.{name}" for name, _ in reader.late.named_parameters()}
    for name, parameter in reader.named_parameters():
        assert parameter.requires_grad == (name in late), name
        assert (parameter.grad is not None) == (name in late), name
    assert all(parameter.grad.abs().max() > 0 for parameter in reader.late.parameters())


def test_training_the_late_blocks_changes_neither_frozen_features_nor_code(reader, sources):
    expected = reader.read_frozen(sources)
    maps, code = reader(expected)
    optimiser = torch.optim.SGD(reader.late.parameters(), lr=0.01)

    maps[2].square().mean().backward()
    optimiser.step()
    features = reader.read_frozen(sources)
    changed_maps, unchanged_code = reader(features)

    assert all(torch.equal(a, b) for a, b in zip(features, expected, strict=True))
    assert torch.equal(unchanged_code, code)
    assert not torch.equal(changed_maps[2], maps[2])


def test_training_mode_and_autocast_change_nothing(reader, sources):
    expected = WholeReader(reader.eval())(sources)
    with torch.autocast("cpu", torch.bfloat16):
        actual = WholeReader(reader.train())(sources)

    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


def test_fitted_maps_have_mean_0_and_deviation_1_in_each_channel(reader, sources):
    maps, _ = reader(reader.read_frozen(sources))

    for layer in maps:
        columns = layer.detach().transpose(0, 1).flatten(1)
        assert columns.mean(1).abs().max() < 1e-3
        deviations = columns.std(1, correction=0)
        assert deviations.max() < 1 + 1e-3
        assert deviations.median() > 1 - 1e-3  # a nearly constant channel is not enlarged


def test_a_reader_without_a_weights_file_takes_everything_from_the_state_dict(reader, sources):
    loaded = SourceReader(None)
    assert not torch.equal(loaded.read_frozen(sources).pooled, reader.read_frozen(sources).pooled)

    loaded.load_state_dict(reader.state_dict())

    for actual, expected in zip(
        WholeReader(loaded)(sources), WholeReader(reader)(sources), strict=True
    ):
        assert torch.equal(actual, expected)


def test_a_code_has_the_identity_as_covariance_on_the_fitted_features():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(128, 128, generator=generator)
    pooled = torch.randn(300, 128, generator=generator) @ mixing + 5

    mean, components = source_features.fit_whitening(pooled)
    code = (pooled - mean) @ components

    assert code.shape == (300, 96)
    assert code.mean(0).abs().max() < 1e-3
    torch.testing.assert_close(code.T.cov(), torch.eye(96), rtol=0, atol=1e-3)


def test_a_code_of_few_pictures_ends_with_zeros():
    pooled = torch.randn(5, 1280, generator=torch.Generator().manual_seed(0))

    mean, components = source_features.fit_whitening(pooled)
    code = (pooled - mean) @ components

    torch.testing.assert_close(code[:, :4].T.cov(), torch.eye(4), rtol=0, atol=1e-3)
    assert torch.count_nonzero(code[:, 4:]) == 0
    assert torch.count_nonzero(source_features.fit_whitening(pooled[:1])[1]) == 0


def test_the_signs_of_a_code_do_not_depend_on_the_order_of_the_pictures():
    scales = torch.logspace(1, -1, 40)
    pooled = torch.randn(200, 40, generator=torch.Generator().manual_seed(0)) * scales

    _, components = source_features.fit_whitening(pooled)
    _, reordered = source_features.fit_whitening(pooled.flip(0))

    assert components.shape == (40, 96)
    torch.testing.assert_close(reordered, components, rtol=0, atol=1e-4)
    largest = components.abs().argmax(0, keepdim=True)[:, :40]
    assert (components.gather(0, largest) > 0).all()


def test_reading_needs_no_value_from_the_device():
    network = WholeReader(SourceReader(None))
    weights_and_scales = network.state_dict()

    with FakeTensorMode(), torch.device("cuda"):
        # Tensors without content: an operation that reads a value in Python fails.
        state = {
            name: torch.empty_strided(value.shape, value.stride())
            for name, value in weights_and_scales.items()
        }
        outputs = functional_call(network, state, (torch.zeros(4, 3, 64, 64),))

    for values in outputs:
        assert values.device.type == "cuda"
        assert values.dtype == torch.float32


def test_torchscript_gives_the_same_features(reader, sources):
    network = WholeReader(reader).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript, which others still read
        traced = torch.jit.trace(network, sources[:2], check_trace=False)
        outputs = traced(sources)

    for actual, expected in zip(outputs, network(sources), strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_onnx_gives_the_same_features_for_any_batch_size(reader, sources, tmp_path):
    network, path = WholeReader(reader).eval(), tmp_path / "reader.onnx"
    batch = torch.export.Dim("pictures", min=1, max=1024)
    with torch.no_grad():
        torch.onnx.export(
            network,
            (sources[:2],),
            path,
            input_names=["source"],
            dynamic_shapes=({0: batch},),
            external_data=False,
            verbose=False,
        )
        expected = network(sources)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    for count in (1, 7, 12):
        outputs = session.run(None, {"source": sources[:count].numpy()})
        for actual, layer in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(actual, layer[:count].numpy(), rtol=0, atol=1e-3)
