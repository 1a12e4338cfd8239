import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from engine.evaluation.image_meters import AB_BINS, ab_histograms
from engine.images import color
from engine.metrics import pixel


@pytest.fixture
def pictures():
    return np.random.default_rng(0).random((2, 3, 16, 16))


def test_lab_is_scikit_images(pictures):
    wanted = rgb2lab(pictures.transpose(0, 2, 3, 1))

    found = np.stack(color.lab(pictures), -1)

    assert np.abs(found - wanted).max() < 1e-3
    assert np.abs(found - wanted).max() < 1e-9


def test_tensors_and_arrays_give_the_same(pictures):
    tensors = torch.from_numpy(pictures)

    for one, other in zip(color.lab(tensors), color.lab(pictures), strict=True):
        assert np.allclose(one.numpy(), other)
    assert np.allclose(color.colorfulness(tensors).numpy(), color.colorfulness(pictures))


def test_grey_pictures_have_no_colour(pictures):
    grey = torch.from_numpy(pictures[:, :1].repeat(3, axis=1))

    assert pixel.colorfulness(grey).tolist() == pytest.approx([0, 0], abs=1e-9)
    assert ab_histograms(grey).sum() == 0


def test_colourfulness_is_hasler_and_suesstrunks():
    picture = np.zeros((1, 3, 1, 2))
    picture[0, :, 0, 0] = (1, 0, 0)  # red: rg 255, yb 127.5
    picture[0, :, 0, 1] = (0, 0, 1)  # blue: rg 0, yb -255

    # Means (127.5, -63.75), standard deviations (127.5, 191.25).
    wanted = np.hypot(127.5, 191.25) + 0.3 * np.hypot(127.5, 63.75)
    assert color.colorfulness(picture)[0] == pytest.approx(wanted)


def test_a_colour_lies_in_the_cell_of_its_a_and_b():
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1
    _, a, b = (float(it[0, 0, 0]) for it in color.lab(red.double()))

    grid = ab_histograms(red).reshape(AB_BINS, AB_BINS)

    assert grid.sum() == 16
    assert grid[int((a + 110) / 220 * AB_BINS), int((b + 110) / 220 * AB_BINS)] == 16


def test_the_colour_difference_is_the_euclidean_one_in_lab(pictures):
    fake, target = torch.from_numpy(pictures[:1]), torch.from_numpy(pictures[1:])

    found = pixel.delta_e(fake, target)

    labs = [rgb2lab(it[0].numpy().transpose(1, 2, 0)) for it in (fake, target)]
    assert found.item() == pytest.approx(np.linalg.norm(labs[0] - labs[1], axis=-1).mean())
    assert pixel.delta_e(fake, fake).item() == 0
    assert pixel.colorfulness_gap(fake, fake).item() == 0
