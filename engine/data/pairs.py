"""A pair that has been read and can be drawn at any size.

A drawn pair is [side, side, C] bytes: the source's channels, then red, green and blue of the
target. C is 6; 4 where the source is grey; 3 where it is the grey of the target itself, which
whoever needs it derives (`color.grey_of_equal_lightness`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.images import color

Pixels = NDArray[np.uint8]

GLANCE = 64  # pixels a side at which pairs are measured, whatever size they are packed at


@dataclass(frozen=True)
class Opened:
    """A pair that has been read.

    Attributes:
        size: width and height of each half in pixels; None where it is drawn at any size.
        notes: (kind, detail) of what was done to its pictures on the way in.
        draw: side in pixels -> the pair as [side, side, C] bytes.
        glance: the pair as [64, 64, C] bytes, for measuring: quick, not pretty.
    """

    size: tuple[int, int] | None
    notes: tuple[tuple[str, str], ...]
    draw: Callable[[int], Pixels]
    glance: Callable[[], Pixels]


def split_pixels(pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Drawn pairs [..., C] -> sources and targets, [..., 3] each."""
    targets = pixels[..., -3:]
    if pixels.shape[-1] == 6:
        return pixels[..., :3], targets
    grey = pixels[..., 0]
    if pixels.shape[-1] == 3:
        grey = color.grey_of_equal_lightness(*(targets[..., channel] for channel in range(3)))
    return np.repeat(grey[..., None], 3, axis=-1), targets
