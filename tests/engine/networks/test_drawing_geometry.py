"""Figures of drawings whose geometry is known."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from engine.networks.drawing_geometry import drawing_geometry


def paper(px=64):
    """A white picture [1, 3, px, px] of one region."""
    return torch.ones(1, 3, px, px), torch.zeros(1, px, px, dtype=torch.int64)


def test_white_paper_has_one_region_and_nothing_else():
    figures = drawing_geometry(*paper())

    torch.testing.assert_close(figures, torch.tensor([[0, 0, math.log(2), 0, 0, 0, 0, 0]]))


def test_shapes_are_measured_by_their_shares():
    source, labels = paper()
    labels[:, 8:24, 8:24] = 1  # a 16th of the picture
    labels[:, 32:40, 32:40] = 63  # a 64th
    labels[:, 0:4, 10:20] = 2  # touches the border

    inside, dark, n_regions, *largest, black = drawing_geometry(source, labels)[0].tolist()

    assert inside == pytest.approx(1 / 16 + 1 / 64)
    assert n_regions == pytest.approx(math.log(5))
    assert largest == pytest.approx([1 / 4, 1 / 8, 0, 0])
    assert (dark, black) == (0, 0)


def test_a_line_is_dark_and_an_area_is_black_too():
    source, labels = paper()
    source[:, :, 10:12, :] = -1  # a line of 2 px
    source[:, :, 30:40, 30:40] = -1

    figures = drawing_geometry(source, labels)[0]

    assert figures[1].item() == pytest.approx((2 * 64 + 100) / 64**2)
    assert figures[7].item() == pytest.approx(64 / 64**2)  # without the margin of the area


def test_a_mirrored_drawing_has_the_same_figures():
    generator = torch.Generator().manual_seed(0)
    source = torch.rand(3, 3, 32, 32, generator=generator) * 2 - 1
    labels = torch.randint(0, 64, (3, 32, 32), generator=generator)

    figures = drawing_geometry(source, labels)

    torch.testing.assert_close(drawing_geometry(source.flip(3), labels.flip(2)), figures)


def test_labels_of_bytes_give_the_same_figures():
    source, labels = paper()
    labels[:, 8:24, 8:24] = 7

    assert torch.equal(drawing_geometry(source, labels.byte()), drawing_geometry(source, labels))


def test_no_value_is_needed_from_the_device():
    with FakeTensorMode(), torch.device("cuda"):
        figures = drawing_geometry(*paper())

    assert (figures.shape, figures.device.type) == ((1, 8), "cuda")
