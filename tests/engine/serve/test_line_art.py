"""Line art is detected, and extracted from other pictures."""

import numpy as np
import pytest
from skimage import data

from engine.data.pairs import split_channels
from engine.serve import compositing, line_art
from tests.support.uploads import drawing, photograph


def test_the_embedded_sketches_are_line_art(packed):
    sources, _ = split_channels(np.array(packed.pixels[:200]))

    assert all(line_art.is_line_art(source) for source in sources)


def test_most_coloured_drawings_are_not_line_art(packed):
    _, targets = split_channels(np.array(packed.pixels[:200]))

    # Some of the coloured drawings are black and white.
    assert np.mean([line_art.is_line_art(target) for target in targets]) < 0.25


@pytest.mark.parametrize("size", [(40, 30), (300, 200), (2000, 1500)])
def test_a_drawing_of_any_size_is_line_art(size):
    assert line_art.is_line_art(drawing(size=size))


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket", "camera", "coins"])
def test_photographs_are_not_line_art_in_colour_or_in_grey(name):
    picture = getattr(data, name)()
    picture = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)

    assert not line_art.is_line_art(picture)
    assert not line_art.is_line_art(compositing.to_grey(picture))


def test_blank_paper_is_line_art_and_a_dark_page_is_not():
    assert line_art.is_line_art(np.full((50, 50, 3), 250, np.uint8))
    assert not line_art.is_line_art(np.full((50, 50, 3), 20, np.uint8))


@pytest.mark.parametrize("px", [64, 256])
def test_extracted_lines_are_line_art(px):
    lines = line_art.extract_lines(data.astronaut(), px)

    assert lines.shape == (512, 512, 3)
    assert line_art.is_line_art(lines)


def test_lines_of_a_large_picture_are_extracted_at_a_bounded_size():
    assert line_art.extract_lines(photograph((1500, 750)), 64).shape == (512, 1024, 3)
