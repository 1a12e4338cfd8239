"""Laws of EfficientNet-Lite; the references are those of tests/reference/README.md."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from engine import weights
from engine.evaluation import feature_extractors
from engine.metrics import distribution, features
from engine.networks import backbones
from engine.networks.efficientnet_lite import SamePaddingConv2d
from engine.settings import PROJECT_ROOT
from tests.support.image_files import packaged_photographs

CPU = torch.device("cpu")
REFERENCE = np.load(PROJECT_ROOT / "tests" / "reference" / "efficientnet_lite.npz")
EGYPTIAN_CAT, ESPRESSO = 285, 967  # classes of ImageNet


def reference_pictures(px):
    """Six photographs, a corner of each, and eight made-up pictures -> [20, 3, px, px] bytes."""
    astronaut, chelsea, coffee, rocket, _, china, flower = packaged_photographs()
    images = (astronaut, chelsea, coffee, rocket, china, flower)
    corners = [image.crop((0, 0, image.width // 2, image.height // 2)) for image in images]
    chance = np.random.default_rng(41)
    made_up = [
        Image.fromarray(chance.integers(0, 256, (side, side, 3), dtype=np.uint8))
        for side in (2, 3, 4, 6, 8, 12, 24, 48)
    ]
    resized = [
        np.asarray(image.resize((px, px), Image.Resampling.BICUBIC))
        for image in (*images, *corners, *made_up)
    ]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def measure_network(name, px, settings):
    """Every 8th logit and every 10th feature of the 20 pictures, and the most likely classes."""
    network = backbones.load_efficientnet_lite(name, weights.require(name, settings)[0])
    batches = ((reference_pictures(px).float() - 127) / 128).split(4)
    logits = torch.cat([network(batch) for batch in batches])
    means = torch.cat([network.extract_features(batch).mean((2, 3)) for batch in batches])
    return {
        "logits": logits[:, ::8].numpy(),
        "features": means[:, ::10].numpy(),
        "classes": logits.argmax(1).numpy(),
    }


def measure_distances(px, settings):
    """The distances of Lite2 between the 20 pictures and their mirrored, blurred copies."""
    extractor = feature_extractors.build_lite2(
        *weights.require("efficientnet_lite2", settings), CPU
    )
    pictures = reference_pictures(px)
    blurred = torch.nn.functional.avg_pool2d(pictures.flip(3).float(), 3, 1, 1).byte()
    real, fake = (features.compute(extractor, [batch]) for batch in (pictures, blurred))
    return {
        "distances": np.array(
            [distribution.kernel_distance(real, fake), distribution.fid(real, fake)]
        )
    }


def measure_perceptual_maps(px, settings):
    """Two numbers for each map of each picture, and the slope of the perceptual difference."""
    extract = backbones.PerceptualFeatures(
        "efficientnet_lite0", weights.require("efficientnet_lite0", settings)[0]
    )
    pictures = reference_pictures(px)[::2].float() / 127.5 - 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = extract(pictures)
        shown = pictures.flip(3).requires_grad_()
        difference = sum((a - b).square().mean() for a, b in zip(maps, extract(shown), strict=True))
    difference.backward()
    flat = [layer.flatten(1).double() for layer in maps]
    waves = [torch.cos(torch.arange(rows.shape[1]).double()) for rows in flat]
    return {
        "means": torch.stack([rows.mean(1) for rows in flat]).numpy(),
        "waves": torch.stack(
            [rows @ wave / wave.norm() for rows, wave in zip(flat, waves, strict=True)]
        ).numpy(),
        "difference": difference.detach().double().numpy(),
        "slopes": shown.grad[:, :, ::8, ::8].mean(1).numpy(),
    }


def measure_all(settings):
    """Everything in tests/reference/efficientnet_lite.npz, under the names of the arrays."""
    parts = {
        "efficientnet_lite0-64": measure_network("efficientnet_lite0", 64, settings),
        "efficientnet_lite0-224": measure_network("efficientnet_lite0", 224, settings),
        "efficientnet_lite2-260": measure_network("efficientnet_lite2", 260, settings),
    }
    for px in (64, 128):
        parts[f"distances-{px}"] = measure_distances(px, settings)
        parts[f"maps-{px}"] = measure_perceptual_maps(px, settings)
    return {
        f"{part}-{name}": values
        for part, arrays in parts.items()
        for name, values in arrays.items()
    }


def assert_equal_to_reference(part, arrays, tolerance):
    """Compares arrays with the stored ones; the tolerance is relative to the largest value."""
    for name, values in arrays.items():
        expected = REFERENCE[f"{part}-{name}"]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize(
    ("name", "px"),
    [
        ("efficientnet_lite0", 64),
        pytest.param("efficientnet_lite0", 224, marks=pytest.mark.slow),
        pytest.param("efficientnet_lite2", 260, marks=pytest.mark.slow),
    ],
)
def test_logits_and_features_of_20_pictures_equal_those_of_the_package(name, px, settings):
    arrays = measure_network(name, px, settings)

    assert_equal_to_reference(f"{name}-{px}", arrays, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("px", [64, 128])
def test_distances_equal_those_of_the_package(px, settings):
    arrays = measure_distances(px, settings)

    assert_equal_to_reference(f"distances-{px}", arrays, 1e-6)


@pytest.mark.parametrize("px", [64, pytest.param(128, marks=pytest.mark.slow)])
def test_perceptual_maps_and_their_slopes_equal_those_of_the_package(px, settings):
    arrays = measure_perceptual_maps(px, settings)

    assert_equal_to_reference(f"maps-{px}", arrays, 1e-5)


@pytest.mark.parametrize(("name", "px"), [("efficientnet_lite0", 224), ("efficientnet_lite2", 260)])
def test_photographs_get_the_class_of_what_they_show(name, px, settings):
    network = backbones.load_efficientnet_lite(name, weights.require(name, settings)[0])
    _, chelsea, coffee = reference_pictures(px)[:3]

    logits = network((torch.stack([chelsea, coffee]).float() - 127) / 128)

    assert logits.argmax(1).tolist() == [EGYPTIAN_CAT, ESPRESSO]


def test_a_network_with_fused_norms_gives_the_same_features(settings):
    path, _ = weights.require("efficientnet_lite0", settings)
    plain, fused = (backbones.load_efficientnet_lite("efficientnet_lite0", path) for _ in range(2))
    pictures = (reference_pictures(64)[:4].float() - 127) / 128

    fused.fuse_norms()

    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    torch.testing.assert_close(
        fused.extract_features(pictures), plain.extract_features(pictures), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    ("size", "kernel", "first", "n_outputs"),
    [(8, 3, (0, 3), 4), (9, 3, (0, 2), 5), (8, 5, (0, 4), 4), (9, 5, (0, 3), 5)],
)
def test_the_odd_pixel_of_the_padding_is_on_the_right_and_at_the_bottom(
    size, kernel, first, n_outputs
):
    convolution = SamePaddingConv2d(1, 1, kernel, stride=2, bias=False)
    nn.init.ones_(convolution.weight)
    pixels = torch.rand(1, 1, size, size)

    sums = convolution(pixels)

    start, stop = first
    assert sums.shape == (1, 1, n_outputs, n_outputs)
    torch.testing.assert_close(sums[0, 0, 0, 0], pixels[0, 0, start:stop, start:stop].sum())
