"""A picture of any size fits into the square and back, with its own lightness or lines."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from engine.images import color
from engine.serve import compositing
from engine.serve.compositing import Answer
from tests.support.uploads import drawing, photograph


@given(width=st.integers(1, 400), height=st.integers(1, 400), px=st.sampled_from([32, 64]))
@settings(max_examples=60, deadline=None)
def test_a_picture_of_any_shape_fits_into_the_square_and_back(width, height, px):
    picture = photograph((width, height))
    letterboxed = compositing.letterbox(picture, px, pad_with_border_colour=False)

    assert letterboxed.square.shape == (px, px, 3)
    left, top, inner_width, inner_height = letterboxed.box
    assert max(inner_width, inner_height) == px
    assert left >= 0
    assert left + inner_width <= px
    assert top >= 0
    assert top + inner_height <= px
    answer = letterboxed.crop(letterboxed.square)
    assert compositing.resize_like(answer, picture).shape == picture.shape
    assert compositing.keep_lightness(picture, answer).shape == picture.shape
    assert (
        compositing.keep_lines(picture, Answer(letterboxed.square), letterboxed).shape
        == picture.shape
    )


def test_a_square_of_the_models_size_is_not_changed():
    picture = photograph((64, 64))

    letterboxed = compositing.letterbox(picture, 64, pad_with_border_colour=False)
    assert (letterboxed.square == picture).all()


def test_the_padding_of_a_drawing_has_the_colour_of_its_paper():
    cream = np.minimum(drawing(size=(200, 80)), (250, 240, 220)).astype(np.uint8)
    square = compositing.letterbox(cream, 64, pad_with_border_colour=True).square

    assert (square[0, 0] == (250, 240, 220)).all()
    assert (square[-1, -1] == (250, 240, 220)).all()


def test_lightness_is_kept_to_two_levels_for_any_colours():
    picture = data.astronaut()
    for seed in range(3):
        composed = compositing.keep_lightness(picture, photograph((40, 40), seed))
        difference = compositing.to_grey(composed).astype(int) - compositing.to_grey(picture)
        assert np.abs(difference).max() <= 2


def test_kept_lightness_gives_a_better_photograph_than_an_enlarged_answer():
    picture = data.astronaut()
    small = np.asarray(Image.fromarray(picture).resize((256, 256), Image.Resampling.BOX))
    composed = compositing.keep_lightness(picture, small)
    enlarged = compositing.resize_like(small, picture)

    error = np.abs(composed.astype(int) - picture).mean()
    assert error < 0.5 * np.abs(enlarged.astype(int) - picture).mean()


def test_the_size_of_strips_changes_nothing(monkeypatch):
    picture, colours = photograph((331, 257)), photograph((32, 25), 3)
    letterboxed = compositing.letterbox(drawing(size=(331, 257)), 32, pad_with_border_colour=True)
    whole = compositing.keep_lightness(picture, colours)
    answer = Answer(photograph((32, 32), 4))
    lines = compositing.keep_lines(drawing(size=(331, 257)), answer, letterboxed)
    monkeypatch.setattr(compositing, "PIXELS_PER_STRIP", 331 * 10)

    stripped = compositing.keep_lightness(picture, colours)
    assert np.abs(stripped.astype(int) - whole).max() <= 1
    again = compositing.keep_lines(drawing(size=(331, 257)), answer, letterboxed)
    assert np.abs(again.astype(int) - lines).max() <= 1


def test_lines_are_sharp_and_do_not_darken_the_colours_beside_them():
    lines = drawing(size=(512, 512))
    letterboxed = compositing.letterbox(lines, 64, pad_with_border_colour=True)
    ink = letterboxed.square / 255
    answer = (ink * (250, 200, 40)).round().astype(np.uint8)  # one colour, with the lines drawn in
    composed = compositing.keep_lines(lines, Answer(answer), letterboxed)
    expected = lines / 255 * (250, 200, 40)

    assert np.abs(composed - expected).mean() < 1.0
    assert np.abs(compositing.resize_like(answer, lines) - expected).mean() > 5.0


def test_a_black_picture_can_be_composed():
    black = np.zeros((200, 100, 3), np.uint8)
    letterboxed = compositing.letterbox(black, 32, pad_with_border_colour=True)

    answer = Answer(photograph((32, 32)))
    assert compositing.keep_lines(black, answer, letterboxed).shape == (200, 100, 3)


def test_colours_that_were_fitted_to_the_gamut_keep_their_luminance():
    generator = np.random.default_rng(1)
    lightness = generator.uniform(0, 100, (2000,))
    a, b = generator.uniform(-110, 110, (2, 2000))
    colours = color.lab_to_linear(lightness, a, b)
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, (lightness / 116) / 7.787)
    fitted = np.stack(color.fit_to_gamut(colours, luminance))

    assert fitted.min() > -1e-9
    assert fitted.max() < 1 + 1e-9
    fitted_luminance = np.array(color.LUMINANCE_WEIGHTS) @ fitted
    assert np.abs(fitted_luminance - luminance).max() < 1e-5
