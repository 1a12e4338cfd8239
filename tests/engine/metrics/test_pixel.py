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
