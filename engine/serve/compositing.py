"""Fits a picture of any size into a model's square, and the model's answer back. Loads no torch.

A model's square is usually smaller than the picture. Therefore only the colours of the model's
answer are enlarged: a photograph keeps its own lightness and line art keeps its own lines, both at
full resolution.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from engine.images import color
from engine.images.region_fill import block_side, enlarge_flat_fill

Picture = NDArray[np.uint8]  # [H, W, 3]
PixelT = TypeVar("PixelT", bound=np.generic)
# (start, stop) -> these rows of a fill at full size, [stop - start, W, 3] in [0, 1].
FillRows = Callable[[int, int], NDArray[np.float32]]

# Pictures are composed in strips of whole rows, so that memory does not grow with their size.
PIXELS_PER_STRIP = 2**20
# Sigma, in pixels of the model's square, of the area from which a pixel takes its colour.
COLOUR_BLUR_SIGMA = 1.2
# The higher this exponent, the less a pixel that a line partly covers counts as colour.
COVER_EXPONENT = 4.0

_N_LINEAR_LEVELS = 2**16
_SRGB_TO_LINEAR = color.srgb_to_linear(np.arange(256) / 255).astype(np.float32)
_LINEAR_TO_SRGB = (
    (255 * color.linear_to_srgb(np.arange(_N_LINEAR_LEVELS) / (_N_LINEAR_LEVELS - 1)))
    .round()
    .astype(np.uint8)
)
_LUMINANCE_WEIGHTS = np.array(color.LUMINANCE_WEIGHTS, dtype=np.float32)


@dataclass(frozen=True)
class Answer:
    """What a model painted into its square.

    Attributes:
        picture: the generated picture, [px, px, 3] bytes.
        fill: the picture without lines, [px, px, 3] in [0, 1]; None if the model paints no fill.
        is_flat: whether the fill has one colour in each region of the line art.
    """

    picture: Picture
    fill: NDArray[np.float32] | None = None
    is_flat: bool = False


@dataclass(frozen=True)
class LetterboxedImage:
    """A picture that was scaled and padded to the model's square.

    Attributes:
        square: the model's input, [px, px, 3].
        box: left, top, width and height of the picture in the square; the rest is padding.
    """

    square: Picture
    box: tuple[int, int, int, int]

    def crop(self, square: NDArray[PixelT]) -> NDArray[PixelT]:
        """Cuts the picture's box out of a square of the same size, such as the model's answer."""
        left, top, width, height = self.box
        return square[top : top + height, left : left + width]


def letterbox(picture: Picture, px: int, pad_with_border_colour: bool) -> LetterboxedImage:
    """Scales the longer side to the model's size and pads the shorter side.

    Args:
        picture: a picture of any size and aspect ratio.
        px: side of the model's square.
        pad_with_border_colour: whether the padding has the median colour of the picture's border,
            like the paper around a drawing. Otherwise it repeats the border's pixels.
    """
    height, width = picture.shape[:2]
    scale = px / max(width, height)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(picture)
    if image.size != (new_width, new_height):
        image = image.resize((new_width, new_height), Image.Resampling.BICUBIC)
    small = np.asarray(image)
    left, top = (px - new_width) // 2, (px - new_height) // 2
    if pad_with_border_colour:
        square = np.empty((px, px, 3), np.uint8)
        square[:] = _border_colour(small)
        square[top : top + new_height, left : left + new_width] = small
    else:
        margins = ((top, px - new_height - top), (left, px - new_width - left), (0, 0))
        square = np.pad(small, margins, mode="edge")
    return LetterboxedImage(square, (left, top, new_width, new_height))


def _border_colour(picture: Picture) -> Picture:
    """Returns the median colour of a picture's border, [3]."""
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    colour: Picture = np.median(border, axis=0).astype(np.uint8)
    return colour


def to_grey(picture: Picture) -> Picture:
    """Returns a grey picture of equal lightness, [H, W, 3], the input of models of photographs."""
    grey = color.grey_of_equal_lightness(*(picture[..., channel] for channel in range(3)))
    return np.repeat(grey[..., None], 3, axis=-1)


def resize_like(colours: Picture, picture: Picture) -> Picture:
    """Resizes a model's answer, [h, w, 3], to the size of a picture and changes nothing else."""
    if colours.shape == picture.shape:
        return colours
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC))


def keep_lightness(picture: Picture, colours: Picture) -> Picture:
    """Combines the lightness of a picture with the colours (Lab a and b) of a model's answer.

    A colour outside the sRGB gamut is desaturated at constant luminance until it is inside.

    Args:
        picture: the picture at full size, [H, W, 3]; only its lightness is used.
        colours: the model's answer, [h, w, 3].
    """
    height, width = picture.shape[:2]
    small = colours.transpose(2, 0, 1)[None].astype(np.float32) / 255
    _, *chroma = color.srgb_to_lab(small)
    planes = [Image.fromarray(plane[0].astype(np.float32)) for plane in chroma]
    composed = np.empty_like(picture)
    rows_per_strip = max(1, PIXELS_PER_STRIP // width)
    for start in range(0, height, rows_per_strip):
        stop = min(height, start + rows_per_strip)
        a, b = (_resize_rows(plane, (width, height), start, stop) for plane in planes)
        luminance = _SRGB_TO_LINEAR[picture[start:stop]] @ _LUMINANCE_WEIGHTS
        linear = color.lab_to_linear(color.lightness(luminance), a, b)
        for channel, values in enumerate(color.fit_to_gamut(linear, luminance)):
            levels = (values.clip(0, 1) * (_N_LINEAR_LEVELS - 1)).astype(np.uint16)
            composed[start:stop, :, channel] = _LINEAR_TO_SRGB[levels]
    return composed


def keep_lines(lines: Picture, answer: Answer, letterboxed: LetterboxedImage) -> Picture:
    """Multiplies a fill at full size by the ink of line art at full size.

    The fill is what a picture is without lines, and the ink is the lightness of the line art.

    Args:
        lines: the line art at full size, [H, W, 3].
        answer: the model's answer, with its padding.
        letterboxed: the model's input.
    """
    height, width = lines.shape[:2]
    white = np.full(3, 255, np.uint8)
    if answer.fill is None:
        # The fill is estimated from a picture whose paper may be tinted.
        paper = np.maximum(_border_colour(letterboxed.crop(letterboxed.square)), 1)
        fill = _average_around(answer.picture / 255, _cover(letterboxed.square, paper))
        return _multiply(_enlarger(letterboxed.crop(fill), width, height), lines, paper)
    if not answer.is_flat:
        fill = _average_around(answer.fill, _cover(letterboxed.square, white))
        return _multiply(_enlarger(letterboxed.crop(fill), width, height), lines, white)
    square = to_grey(letterboxed.square)[..., 0]
    blocks = enlarge_flat_fill(_lightness_of(lines), square, letterboxed.box, answer.fill)
    side = block_side(height, width)

    def rows_of_blocks(start: int, stop: int) -> NDArray[np.float32]:
        rows, columns = np.arange(start, stop) // side, np.arange(width) // side
        return blocks[rows[:, None], columns]

    return _multiply(rows_of_blocks, lines, white)


def _lightness_of(lines: Picture) -> NDArray[np.uint8]:
    """Returns the grey of equal lightness of line art, [H, W], computed strip by strip."""
    height, width = lines.shape[:2]
    lightness = np.empty((height, width), np.uint8)
    rows_per_strip = max(1, PIXELS_PER_STRIP // width)
    for start in range(0, height, rows_per_strip):
        rows = np.s_[start : start + rows_per_strip]
        channels = (lines[rows, :, channel] for channel in range(3))
        lightness[rows] = color.grey_of_equal_lightness(*channels)
    return lightness


def _cover(square: Picture, paper: Picture) -> NDArray[np.float32]:
    """Returns the weight of each pixel, [px, px]: the less of it a line covers, the closer to 1."""
    weight: NDArray[np.float32] = (square / paper.astype(np.float32)).min(axis=-1).clip(0, 1)
    return weight**COVER_EXPONENT


def _average_around(
    colours: NDArray[np.floating], weight: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Averages the colours around each pixel; pixels that lines cover have little weight.

    Args:
        colours: [h, w, 3].
        weight: [h, w] in [0, 1].
    """
    total_weight = gaussian_filter(weight, COLOUR_BLUR_SIGMA)[..., None]
    sigmas = (COLOUR_BLUR_SIGMA, COLOUR_BLUR_SIGMA, 0)
    weighted_colours = gaussian_filter(colours * weight[..., None], sigmas)
    means = weighted_colours / np.maximum(total_weight, 1e-3)
    return np.where(total_weight > 1e-3, means, colours).astype(np.float32)


def _enlarger(fill: NDArray[np.float32], width: int, height: int) -> FillRows:
    """Returns the function that gives the rows of a smoothly enlarged fill, [h, w, 3]."""
    planes = [Image.fromarray(plane) for plane in np.ascontiguousarray(fill.transpose(2, 0, 1))]

    def enlarged_rows(start: int, stop: int) -> NDArray[np.float32]:
        rows = [_resize_rows(plane, (width, height), start, stop) for plane in planes]
        return np.stack(rows, axis=-1)

    return enlarged_rows


def _multiply(fill_rows: FillRows, lines: Picture, paper: Picture) -> Picture:
    """Multiplies a fill by the ink of line art strip by strip.

    Args:
        fill_rows: returns rows of the fill at full size.
        lines: the line art at full size, [H, W, 3].
        paper: the colour of the paper, [3] from 1 to 255; ink is the line art divided by it.
    """
    height, width = lines.shape[:2]
    composed = np.empty_like(lines)
    rows_per_strip = max(1, PIXELS_PER_STRIP // width)
    for start in range(0, height, rows_per_strip):
        rows = np.s_[start : start + rows_per_strip]
        ink = (lines[rows] / paper.astype(np.float32)).clip(0, 1)
        fill = fill_rows(start, start + len(ink))
        composed[rows] = (255 * fill.clip(0, 1) * ink).round().astype(np.uint8)
    return composed


def _resize_rows(
    plane: Image.Image, size: tuple[int, int], start: int, stop: int
) -> NDArray[np.float32]:
    """Resizes a plane of numbers to (width, height) and returns its rows from start to stop.

    The rows equal those of the whole resized plane, which is never in memory.
    """
    width, height = size
    scale = plane.height / height
    # Bicubic resizing reads pixels beyond the rows: resize a margin too and cut it off afterwards.
    margin = -(-4 * height // plane.height) if height > plane.height else 4
    first, last = max(0, start - margin), min(height, stop + margin)
    box = (0.0, first * scale, float(plane.width), min(last * scale, plane.height))
    resized = plane.resize((width, last - first), Image.Resampling.BICUBIC, box)
    rows: NDArray[np.float32] = np.asarray(resized)[start - first : stop - first]
    return rows
