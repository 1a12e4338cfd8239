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


def test_lab_equals_that_of_scikit_image(pictures):
    expected = rgb2lab(pictures.transpose(0, 2, 3, 1))

    lab = np.stack(color.srgb_to_lab(pictures), -1)

    assert np.abs(lab - expected).max() < 1e-9


def test_tensors_and_arrays_give_the_same_results(pictures):
    tensors = torch.from_numpy(pictures)

    for one, other in zip(color.srgb_to_lab(tensors), color.srgb_to_lab(pictures), strict=True):
        assert np.allclose(one.numpy(), other)
    assert np.allclose(color.colorfulness(tensors).numpy(), color.colorfulness(pictures))


def test_grey_pictures_have_no_colour(pictures):
    grey = torch.from_numpy(pictures[:, :1].repeat(3, axis=1))

    assert pixel.colorfulness(grey).tolist() == pytest.approx([0, 0], abs=1e-9)
    assert ab_histograms(grey).sum() == 0


def test_colourfulness_follows_hasler_and_suesstrunk():
    picture = np.zeros((1, 3, 1, 2))
    picture[0, :, 0, 0] = (1, 0, 0)  # red: rg 255, yb 127.5
    picture[0, :, 0, 1] = (0, 0, 1)  # blue: rg 0, yb -255

    # Means (127.5, -63.75), standard deviations (127.5, 191.25).
    expected = np.hypot(127.5, 191.25) + 0.3 * np.hypot(127.5, 63.75)
    assert color.colorfulness(picture)[0] == pytest.approx(expected)


def test_a_colour_is_counted_in_the_bin_of_its_a_and_b():
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1
    _, a, b = (float(component[0, 0, 0]) for component in color.srgb_to_lab(red.double()))

    grid = ab_histograms(red).reshape(AB_BINS, AB_BINS)

    assert grid.sum() == 16
    assert grid[int((a + 110) / 220 * AB_BINS), int((b + 110) / 220 * AB_BINS)] == 16


def test_the_colour_difference_is_the_euclidean_distance_in_lab(pictures):
    fake, target = torch.from_numpy(pictures[:1]), torch.from_numpy(pictures[1:])

    difference = pixel.delta_e(fake, target)

    fake_lab, target_lab = (
        rgb2lab(pictures[0].numpy().transpose(1, 2, 0)) for pictures in (fake, target)
    )
    distances = np.linalg.norm(fake_lab - target_lab, axis=-1)
    assert difference.item() == pytest.approx(distances.mean())
    assert pixel.delta_e(fake, fake).item() == 0
    assert pixel.colorfulness_gap(fake, fake).item() == 0
