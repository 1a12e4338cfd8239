"""A flat fill is enlarged to the areas between the lines of a drawing, without bleeding."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from engine.images.region_fill import MAX_AREA_PX, enlarge_flat_fill
from engine.images.regions import label_regions

PX = 64
COLOURS = np.random.default_rng(0).random((256, 3)).astype(np.float32)


def line_art(size, draw):
    """Draws on white paper of a side of 1,024 units and reduces it to a size, [H, W] bytes."""
    image = Image.new("L", (1024, 1024), 255)
    draw(ImageDraw.Draw(image))
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def fill_of(square):
    """Gives each region of a square a colour of its own, [px, px, 3]."""
    return COLOURS[label_regions(square)]


def draw_circle(pen):
    pen.ellipse([200, 200, 800, 800], outline=0, width=24)


def draw_open_box(pen):
    """A box with a gap of 20 units, which is a third of a pixel at 64 px."""
    pen.rectangle([200, 200, 800, 800], outline=0, width=24)
    pen.rectangle([490, 190, 509, 230], fill=255)


def draw_small_ring(pen):
    """A ring whose inside is smaller than a pixel at 64 px."""
    pen.ellipse([500, 500, 530, 530], outline=0, width=10)


@pytest.mark.parametrize("size", [40, 64, 300, 1024, 1500, 2048])
def test_each_area_has_the_colour_that_the_model_gave_its_region(size):
    square, lines = line_art(PX, draw_circle), line_art(size, draw_circle)
    fill = fill_of(square)

    enlarged = enlarge_flat_fill(lines, square, (0, 0, PX, PX), fill)

    side = -(-size // MAX_AREA_PX)
    assert enlarged.shape == (-(-size // side), -(-size // side), 3)
    middle, corner = len(enlarged) // 2, 0
    assert (enlarged[middle, middle] == fill[32, 32]).all()
    assert (enlarged[corner, corner] == fill[0, 0]).all()
    blocks = lines[: len(enlarged) * side : side, : len(enlarged) * side : side]
    distance = np.hypot(*(np.indices(enlarged.shape[:2]) + 0.5 - len(enlarged) / 2))
    radius = distance / len(enlarged) * 1024
    assert (enlarged[(radius < 270) & (blocks == 255)] == fill[32, 32]).all(), "nothing bleeds in"
    assert (enlarged[(radius > 306) & (blocks == 255)] == fill[0, 0]).all(), "nothing bleeds out"


def test_an_area_with_a_gap_that_the_model_saw_closed_keeps_both_colours():
    square, lines = line_art(PX, draw_open_box), line_art(512, draw_open_box)
    fill = fill_of(square)
    assert (fill[32, 32] != fill[0, 0]).any(), "the model saw two regions"

    enlarged = enlarge_flat_fill(lines, square, (0, 0, PX, PX), fill)

    assert (enlarged[115:385, 115:385] == fill[32, 32]).all()
    assert (enlarged[:95] == fill[0, 0]).all()


def test_an_area_that_the_model_could_not_see_has_a_colour_of_the_fill_around_it():
    square, lines = line_art(PX, draw_small_ring), line_art(512, draw_small_ring)

    enlarged = enlarge_flat_fill(lines, square, (0, 0, PX, PX), fill_of(square))

    assert len(np.unique(enlarged.reshape(-1, 3), axis=0)) == 1


def test_the_padding_of_the_square_does_not_move_the_colours():
    tall = line_art(PX, draw_circle)[:, 16:48]
    square = np.full((PX, PX), 255, np.uint8)
    square[:, 16:48] = tall
    lines = np.asarray(Image.fromarray(tall).resize((320, 640), Image.Resampling.BICUBIC))
    fill = fill_of(square)

    enlarged = enlarge_flat_fill(lines, square, (16, 0, 32, PX), fill)

    assert (enlarged[320, 160] == fill[32, 32]).all()
    assert (enlarged[0] == fill[0, 32]).all()


def test_a_black_drawing_has_the_fill_itself():
    black, fill = np.zeros((100, 80), np.uint8), np.full((PX, PX, 3), 0.5, np.float32)

    enlarged = enlarge_flat_fill(black, np.zeros((PX, PX), np.uint8), (6, 0, 51, PX), fill)

    assert enlarged.shape == (100, 80, 3)
    assert (enlarged == 0.5).all()
