"""Any size into the square and back, with the picture's own lightness or lines."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from engine.images import color
from engine.serve import compositing
from tests.engine.serve.conftest import drawing, photograph


@given(width=st.integers(1, 400), height=st.integers(1, 400), px=st.sampled_from([32, 64]))
@settings(max_examples=60, deadline=None)
def test_a_picture_of_any_shape_lies_in_the_square_and_comes_back(width, height, px):
    picture = photograph((width, height))
    framed = compositing.frame(picture, px, paper=False)

    assert framed.square.shape == (px, px, 3)
    left, top, across, down = framed.box
    assert max(across, down) == px
    assert left >= 0
    assert left + across <= px
    assert top >= 0
    assert top + down <= px
    answer = framed.cut(framed.square)
    assert compositing.resized(answer, picture).shape == picture.shape
    assert compositing.keep_lightness(picture, answer).shape == picture.shape
    assert compositing.keep_lines(picture, framed.square, framed).shape == picture.shape


def test_a_square_of_the_models_size_is_given_as_it_is():
    picture = photograph((64, 64))

    assert (compositing.frame(picture, 64, paper=False).square == picture).all()


def test_paper_goes_on_around_a_drawing():
    cream = np.minimum(drawing(size=(200, 80)), (250, 240, 220)).astype(np.uint8)
    square = compositing.frame(cream, 64, paper=True).square

    assert (square[0, 0] == (250, 240, 220)).all()
    assert (square[-1, -1] == (250, 240, 220)).all()


def test_lightness_is_kept_to_a_step_of_a_byte_whatever_the_colours():
    picture = data.astronaut()
    for seed in range(3):
        made = compositing.keep_lightness(picture, photograph((40, 40), seed))
        apart = compositing.grey_of(made).astype(int) - compositing.grey_of(picture)
        assert np.abs(apart).max() <= 2


def test_a_photograph_with_its_own_colours_small_is_nearly_itself():
    picture = data.astronaut()
    small = np.asarray(Image.fromarray(picture).resize((256, 256), Image.Resampling.BOX))
    made = compositing.keep_lightness(picture, small)

    kept = np.abs(made.astype(int) - picture).mean()
    enlarged = np.abs(compositing.resized(small, picture).astype(int) - picture).mean()
    assert kept < 0.5 * enlarged


def test_strips_do_not_show(monkeypatch):
    picture, colours = photograph((331, 257)), photograph((32, 25), 3)
    framed = compositing.frame(drawing(size=(331, 257)), 32, paper=True)
    whole = compositing.keep_lightness(picture, colours)
    lines = compositing.keep_lines(drawing(size=(331, 257)), photograph((32, 32), 4), framed)
    monkeypatch.setattr(compositing, "STRIP", 331 * 10)

    stripped = compositing.keep_lightness(picture, colours)
    assert np.abs(stripped.astype(int) - whole).max() <= 1
    again = compositing.keep_lines(drawing(size=(331, 257)), photograph((32, 32), 4), framed)
    assert np.abs(again.astype(int) - lines).max() <= 1


def test_lines_are_sharp_and_colours_beside_them_are_not_dirtied():
    lines = drawing(size=(512, 512))
    framed = compositing.frame(lines, 64, paper=True)
    ink = framed.square / 255
    answer = (ink * (250, 200, 40)).round().astype(np.uint8)  # one colour, with the lines drawn in
    made = compositing.keep_lines(lines, answer, framed)
    wanted = lines / 255 * (250, 200, 40)

    assert np.abs(made - wanted).mean() < 1.0
    assert np.abs(compositing.resized(answer, lines) - wanted).mean() > 5.0


def test_a_drawing_of_nothing_but_ink_still_has_an_answer():
    black = np.zeros((200, 100, 3), np.uint8)
    framed = compositing.frame(black, 32, paper=True)

    assert compositing.keep_lines(black, photograph((32, 32)), framed).shape == (200, 100, 3)


def test_paled_colours_are_shown_by_every_screen_and_keep_their_luminance():
    chance = np.random.default_rng(1)
    lightness = chance.uniform(0, 100, (2000,))
    a, b = chance.uniform(-110, 110, (2, 2000))
    colours = color.linear_rgb(lightness, a, b)
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, (lightness / 116) / 7.787)
    shown = np.stack(color.pale(colours, luminance))

    assert shown.min() > -1e-9
    assert shown.max() < 1 + 1e-9
    again = np.array(color.LUMINANCE_WEIGHTS) @ shown
    assert np.abs(again - luminance).max() < 1e-5
