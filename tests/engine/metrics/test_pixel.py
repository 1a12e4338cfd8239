import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.metrics import pixel

FOLDER = Path(__file__).parents[2] / "reference"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())["images"]
NAMES = [name for name in EXPECTED if not name.startswith("_")]


def pair(name):
    """A reference pair as [1, 3, H, W] float64 in [0, 1]."""
    images = np.load(FOLDER / "images.npz")
    both = (images[f"{name}_a"], images[f"{name}_b"])
    return [torch.from_numpy(image).permute(2, 0, 1)[None].double() / 255 for image in both]


@pytest.mark.parametrize("name", NAMES)
def test_mse_and_mae_equal_the_reference(name):
    a, b = pair(name)

    assert pixel.mse(a, b).item() == pytest.approx(EXPECTED[name]["mse"], abs=1e-12)
    assert pixel.mae(a, b).item() == pytest.approx(EXPECTED[name]["mae"], abs=1e-12)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "identical"])
def test_psnr_equals_its_definition(name):
    a, b = pair(name)

    expected = EXPECTED[name]["psnr"]["definition_-10log10(mse)"]
    assert pixel.psnr(a, b).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_ssim_is_that_of_wang_2004(name):
    a, b = pair(name)

    expected = EXPECTED[name]["ssim"]["own_wang2004_valid"]
    assert pixel.ssim(a, b).item() == pytest.approx(expected, abs=1e-6)


def test_a_perfect_picture_has_an_infinite_psnr():
    a, _ = pair("identical")

    assert pixel.psnr(a, a).item() == float("inf")


def test_each_picture_has_its_own_value():
    (a, b), (c, d) = pair("noise"), pair("blur")

    together = pixel.ssim(torch.cat([a, c]), torch.cat([b, d]))

    assert together.tolist() == pytest.approx([pixel.ssim(a, b).item(), pixel.ssim(c, d).item()])


AMPLITUDE = 10 / 255
SIGNS = 1 - 2 * (torch.arange(16) % 2)
PATTERNS = {
    "checkerboard": SIGNS[:, None] * SIGNS,
    "rows": SIGNS[:, None].expand(16, 16),
    "columns": SIGNS.expand(16, 16),
}


def even(level, side=16):
    return torch.full((1, 3, side, side), level, dtype=torch.float64)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_weave_of_a_pattern_that_alternates_at_every_pixel_is_its_amplitude(pattern):
    fake = even(0.6) + AMPLITUDE * PATTERNS[pattern]

    assert pixel.weave(fake, even(0.3)).item() == pytest.approx(10)


def test_the_weave_of_an_even_colour_and_of_a_gradient_is_0_whatever_the_colour():
    gradient = even(0.2) + torch.linspace(0, 0.5, 16, dtype=torch.float64)

    assert pixel.weave(even(0.9), even(0.3)).item() == pytest.approx(0, abs=1e-9)
    assert pixel.weave(gradient, even(0.3)).item() == pytest.approx(0, abs=1e-9)


def test_the_weave_is_measured_where_the_target_is_flat_and_not_white():
    target = even(0.3)
    target[..., 5:] = 1.0
    target[:, :, 8:, :5] = torch.rand(8, 5, generator=torch.Generator().manual_seed(0))
    woven = even(0.6) + AMPLITUDE * PATTERNS["checkerboard"]
    is_flat = torch.zeros(16, 16, dtype=torch.bool)
    is_flat[:8, :5] = True

    woven_elsewhere, woven_inside = (
        torch.where(mask, woven, even(0.6)) for mask in (~is_flat, is_flat)
    )

    assert pixel.weave(woven_inside, target).item() == pytest.approx(10)
    assert pixel.weave(woven_elsewhere, target).item() < 0.1


def test_blurring_a_woven_picture_reduces_its_weave_and_blurring_its_target_adds_none():
    target = torch.cat([even(0.3, 24), even(0.8, 24)], dim=3)
    woven = target + AMPLITUDE * PATTERNS["checkerboard"].repeat(2, 3)[:24, :48]
    blurred, blurred_target = (
        torch.nn.functional.avg_pool2d(picture, 3, 1, 1, count_include_pad=False)
        for picture in (woven, target)
    )

    assert 0 < pixel.weave(blurred, target).item() < 3
    assert pixel.weave(blurred_target, target).item() == pytest.approx(0, abs=1e-9)


def test_a_picture_has_no_weave_if_its_target_has_no_flat_place():
    noise = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    white = torch.ones(1, 3, 16, 16)

    assert pixel.weave(torch.cat([noise, noise]), torch.cat([noise, white])).isnan().all()
