"""A pair that has been read and can be drawn at any size."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # [H, W, C]: the source's channels (1 or 3), then red, green and blue


@dataclass(frozen=True)
class Opened:
    """A pair that has been read.

    Attributes:
        size: width and height of each half in pixels; None where it is drawn at any size.
        notes: (kind, detail) of what was done to its pictures on the way in.
        digest: the same for equal pairs.
        draw: side in pixels -> the pair as [side, side, C] bytes.
    """

    size: tuple[int, int] | None
    notes: tuple[tuple[str, str], ...]
    digest: str
    draw: Callable[[int], Pixels]
