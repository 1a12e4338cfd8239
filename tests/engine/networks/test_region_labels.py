"""Labels of exported networks equal those of `images.regions`."""

import io
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from engine.data.region_labels import ink_of_pairs
from engine.images import color
from engine.images.regions import CORE_RADII, MAX_REGIONS, MIN_REGION_PX, label_region_batch
from engine.networks.region_labels import label_regions, scripted_label_fn


class RegionPainter(nn.Module):
    """A small generator that uses the labels: adds a learned grey to each region."""

    def __init__(self):
        super().__init__()
        self.greys = nn.Parameter(torch.linspace(-1, 1, MAX_REGIONS))

    def forward(self, source):
        return source + self.greys[label_regions(source)][:, None]


def to_sources(ink):
    """Converts bytes [N, H, W] to sources [N, 3, H, W] in [-1, 1]."""
    grey = torch.from_numpy(ink).float().div(127.5).sub(1)
    return grey[:, None].repeat(1, 3, 1, 1)


def label_by_tensors(ink):
    free = torch.from_numpy(ink > 140)
    return scripted_label_fn()(free, list(CORE_RADII), MIN_REGION_PX, MAX_REGIONS).numpy()


@pytest.fixture(scope="module")
def sketches(packed):
    return ink_of_pairs(packed.pixels[:400])


@pytest.fixture(scope="module")
def sources(sketches):
    """Sketches, and noise in colours."""
    noise = torch.randint(0, 256, (10, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    return torch.cat([noise.float().div(127.5).sub(1), to_sources(sketches[:20])])


def test_labels_of_a_source_are_those_of_its_sketch(sketches):
    labels = label_regions(to_sources(sketches))

    assert labels.dtype == torch.int64
    assert np.array_equal(labels.numpy(), label_region_batch(sketches))


def test_a_coloured_source_is_labelled_by_its_grey_of_equal_lightness(sources):
    red, green, blue = ((sources[:10] + 1) * 127.5).round().byte().numpy().transpose(1, 0, 2, 3)
    ink = color.grey_of_equal_lightness(red, green, blue)

    assert np.array_equal(label_regions(sources[:10]).numpy(), label_region_batch(ink))


def test_tensors_give_the_same_labels_for_real_sketches(sketches):
    for start in range(0, len(sketches), 40):
        ink = sketches[start : start + 40]
        assert np.array_equal(label_by_tensors(ink), label_region_batch(ink))


@pytest.mark.parametrize("shape", [(5, 21, 40), (3, 64, 9), (2, 4, 4), (1, 130, 70)])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.99])
def test_tensors_give_the_same_labels_for_noise(shape, share):
    noise = np.random.default_rng(2).random(shape)
    ink = np.where(noise < share, 255, 0).astype(np.uint8)

    assert np.array_equal(label_by_tensors(ink), label_region_batch(ink))


@pytest.mark.parametrize("value", [0, 140, 141, 255])
def test_tensors_give_one_region_for_a_picture_of_one_value(value):
    assert not label_by_tensors(np.full((2, 16, 16), value, np.uint8)).any()


def test_torchscript_labels_other_pictures_and_batch_sizes_than_the_traced_ones(sources):
    painter = RegionPainter().eval()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript
        traced = torch.jit.trace(painter, torch.zeros(2, 3, 32, 32), check_trace=False)
        torch.jit.save(traced, file)
        file.seek(0)
        loaded = torch.jit.load(file)

    with torch.no_grad():
        for selection in (slice(0, 1), slice(8, 15), slice(None)):
            assert torch.equal(loaded(sources[selection]), painter(sources[selection]))


@pytest.mark.slow
def test_onnx_labels_other_pictures_and_batch_sizes_than_the_exported_ones(sources, tmp_path):
    painter = RegionPainter().eval()
    path = tmp_path / "painter.onnx"
    torch.onnx.export(
        painter,
        (torch.zeros(2, 3, 32, 32),),
        path,
        input_names=["source"],
        dynamic_shapes=({0: torch.export.Dim("pictures", min=1, max=1024)},),
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    for selection in (slice(0, 1), slice(8, 15), slice(None)):
        outputs = session.run(None, {"source": sources[selection].numpy()})[0]
        assert np.array_equal(outputs, painter(sources[selection]).detach().numpy())
