"""Fits a picture of any size into a model's square, and the model's answer back. Loads no torch.

A model's square is usually smaller than the picture. Therefore only the colours of the model's
answer are enlarged: a photograph keeps its own lightness and line art keeps its own lines, both at
full resolution.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from engine.images import color

Picture = NDArray[np.uint8]  # [H, W, 3]

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
class LetterboxedImage:
    """A picture that was scaled and padded to the model's square.

    Attributes:
        square: the model's input, [px, px, 3].
        box: left, top, width and height of the picture in the square; the rest is padding.
    """

    square: Picture
    box: tuple[int, int, int, int]

    def crop(self, square: Picture) -> Picture:
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


def keep_lines(lines: Picture, colours: Picture, letterboxed: LetterboxedImage) -> Picture:
    """Draws line art at full size over the colours of a smaller answer.

    The answer also has the lines, which are small and blurred, and a fine texture in large areas.
    Therefore every pixel of the answer gets the weighted mean of the colours around the pixel, in
    which lines have no weight. The result is enlarged and multiplied by the line art at full size.

    Args:
        lines: the line art at full size, [H, W, 3].
        colours: the model's answer, [px, px, 3], with its padding.
        letterboxed: the model's input.
    """
    # Weight of each pixel: the less of the pixel a line covers, the closer the ratio of the pixel's
    # colour to the paper's colour is to 1.
    border = _border_colour(letterboxed.crop(letterboxed.square))
    paper = np.maximum(border, 1).astype(np.float32)
    weight = (letterboxed.square / paper).min(axis=-1).clip(0, 1) ** COVER_EXPONENT

    # Weighted mean of the colours around each pixel.
    total_weight = gaussian_filter(weight, COLOUR_BLUR_SIGMA)[..., None]
    sigmas = (COLOUR_BLUR_SIGMA, COLOUR_BLUR_SIGMA, 0)
    weighted_colours = gaussian_filter(colours * weight[..., None], sigmas)
    means = weighted_colours / np.maximum(total_weight, 1e-3)
    without_lines = letterboxed.crop(np.where(total_weight > 1e-3, means, colours))

    # Enlarge the colours strip by strip and multiply them by the lines.
    channels = without_lines.transpose(2, 0, 1)
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in channels]
    height, width = lines.shape[:2]
    composed = np.empty_like(lines)
    rows_per_strip = max(1, PIXELS_PER_STRIP // width)
    for start in range(0, height, rows_per_strip):
        stop = min(height, start + rows_per_strip)
        ink = (lines[start:stop] / paper).clip(0, 1)
        for channel, plane in enumerate(planes):
            values = _resize_rows(plane, (width, height), start, stop) * ink[..., channel]
            composed[start:stop, :, channel] = values.round().clip(0, 255).astype(np.uint8)
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
