"""A picture of any size -> the square that a model takes, and its answer back. Torch-free.

A model's answer is small. At the picture's own size only its colours are used: a photograph keeps
its own lightness, line art its own lines, both at full resolution.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from engine.images import color

Picture = NDArray[np.uint8]  # [H, W, 3]

STRIP = 2**20  # pixels that are composed at a time: memory stays flat whatever the size
LINE_BLUR = 1.2  # pixels of the model: from how far around a place takes its colours
LINE_POWER = 4.0  # how much a pixel that is partly covered by a line still counts as colour
_LEVELS = 2**16
_DECODED = color.decode(np.arange(256) / 255).astype(np.float32)
_ENCODED = (255 * color.encode(np.arange(_LEVELS) / (_LEVELS - 1))).round().astype(np.uint8)
_LUMINANCE = np.array(color.LUMINANCE_WEIGHTS, dtype=np.float32)


@dataclass(frozen=True)
class Framed:
    """A picture in the model's square.

    Attributes:
        square: [px, px, 3] bytes, what the model is given.
        box: left, top, width and height of the picture in it; the rest is padding.
    """

    square: Picture
    box: tuple[int, int, int, int]

    def cut(self, square: Picture) -> Picture:
        """The picture's part of another square, such as the model's answer."""
        left, top, width, height = self.box
        return square[top : top + height, left : left + width]


def frame(picture: Picture, px: int, paper: bool) -> Framed:
    """Scales the longer side to the model's and pads the shorter one.

    Args:
        picture: of any size and aspect.
        px: side of the model's pictures.
        paper: pad with the colour of the border, as paper goes on, and not with its pixels.
    """
    height, width = picture.shape[:2]
    scale = px / max(width, height)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(picture)
    if image.size != (across, down):
        image = image.resize((across, down), Image.Resampling.BICUBIC)
    small = np.asarray(image)
    left, top = (px - across) // 2, (px - down) // 2
    around = ((top, px - down - top), (left, px - across - left), (0, 0))
    if paper:
        square = np.empty((px, px, 3), np.uint8)
        square[:] = _border(small)
        square[top : top + down, left : left + across] = small
    else:
        square = np.pad(small, around, mode="edge")
    return Framed(square, (left, top, across, down))


def _border(small: Picture) -> Picture:
    """The usual colour of a picture's edge, [3]."""
    edge = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    usual: Picture = np.median(edge, axis=0).astype(np.uint8)
    return usual


def grey_of(picture: Picture) -> Picture:
    """The grey of equal lightness, [H, W, 3]: what models of photographs are given."""
    grey = color.grey_of_equal_lightness(*(picture[..., channel] for channel in range(3)))
    return np.repeat(grey[..., None], 3, axis=-1)


def resized(colours: Picture, like: Picture) -> Picture:
    """A model's answer, [h, w, 3], at the size of a picture, as it is."""
    size = (like.shape[1], like.shape[0])
    if colours.shape == like.shape:
        return colours
    return np.asarray(Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC))


def keep_lightness(picture: Picture, colours: Picture) -> Picture:
    """The picture's own lightness at its full size, coloured by a and b of a small answer.

    A colour that no screen shows at that lightness is paled until one does.

    Args:
        picture: [H, W, 3]; of its own colours nothing remains.
        colours: [h, w, 3], the model's answer.
    """
    height, width = picture.shape[:2]
    small = colours.transpose(2, 0, 1)[None].astype(np.float32) / 255
    planes = [Image.fromarray(it[0].astype(np.float32)) for it in color.lab(small)[1:]]
    made = np.empty_like(picture)
    rows = max(1, STRIP // width)
    for start in range(0, height, rows):
        stop = min(height, start + rows)
        a, b = (_scaled_rows(plane, (width, height), start, stop) for plane in planes)
        luminance = _DECODED[picture[start:stop]] @ _LUMINANCE
        lightness = color.lightness(luminance)
        shown = color.pale(color.linear_rgb(lightness, a, b), luminance)
        for channel, values in enumerate(shown):
            levels = (values.clip(0, 1) * (_LEVELS - 1)).astype(np.uint16)
            made[start:stop, :, channel] = _ENCODED[levels]
    return made


def keep_lines(lines: Picture, colours: Picture, framed: Framed) -> Picture:
    """The line art at its full size over the colours of a small answer.

    The answer has the lines too, small and blurred, and a fine weave on large areas. Each place
    takes its colours from around it, lines left out; these are enlarged, the true lines drawn over.

    Args:
        lines: [H, W, 3], what the model was given, before it was scaled.
        colours: [px, px, 3], the model's whole answer.
        framed: what the model was given.
    """
    paper = np.maximum(_border(framed.cut(framed.square)), 1).astype(np.float32)
    cover = (framed.square / paper).min(axis=-1).clip(0, 1) ** LINE_POWER  # 1 where no line is
    seen = gaussian_filter(cover, LINE_BLUR)[..., None]
    beside = gaussian_filter(colours * cover[..., None], (LINE_BLUR, LINE_BLUR, 0))
    clean = framed.cut(np.where(seen > 1e-3, beside / np.maximum(seen, 1e-3), colours))
    planes = [Image.fromarray(it.astype(np.float32)) for it in clean.transpose(2, 0, 1)]
    height, width = lines.shape[:2]
    made = np.empty_like(lines)
    rows = max(1, STRIP // width)
    for start in range(0, height, rows):
        stop = min(height, start + rows)
        ink = (lines[start:stop] / paper).clip(0, 1)
        for channel, plane in enumerate(planes):
            values = _scaled_rows(plane, (width, height), start, stop) * ink[..., channel]
            made[start:stop, :, channel] = values.round().clip(0, 255).astype(np.uint8)
    return made


def _scaled_rows(
    plane: Image.Image, size: tuple[int, int], start: int, stop: int
) -> NDArray[np.float32]:
    """Rows of a plane of numbers, scaled to a size: the same as if all of it had been."""
    width, height = size
    part = plane.height / height
    # Beyond a box nothing is seen, so a few rows more are scaled and cut off again.
    margin = -(-4 * height // plane.height) if height > plane.height else 4
    first, last = max(0, start - margin), min(height, stop + margin)
    box = (0.0, first * part, float(plane.width), min(last * part, plane.height))
    scaled = plane.resize((width, last - first), Image.Resampling.BICUBIC, box)
    rows: NDArray[np.float32] = np.asarray(scaled)[start - first : stop - first]
    return rows
