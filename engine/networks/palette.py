"""Finds the palette of a training split, and the palette colour nearest to each colour.

A palette is a set of colours with which drawings are filled. A fill is the colour of a drawing
without its lines: the picture divided by the ink, the lightness of the source.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.images import color

# Two palette colours differ at least by this CIE76 distance, as long as there are enough colours.
MIN_DISTANCE = 9.0
# Only pixels that a line covers by at most 1 % count when the palette is found.
MIN_INK_LEVEL = 253
# Bits per channel of the table of nearest palette colours.
TABLE_BITS = 6
_LEVELS = 256
MIN_PAPER_LEVEL = 0.92
# The even grid of colours that completes a palette if the targets have too few colours.
_GRID_LEVELS = (0, 51, 102, 153, 204, 255)


def count_fill_colours(
    chunks: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
) -> NDArray[np.int64]:
    """Counts the colours of targets where the source has no line.

    Args:
        chunks: sources and targets, each [N, H, W, 3] bytes.

    Returns:
        [256, 256, 256] counts by red, green and blue.
    """
    counts = np.zeros(_LEVELS**3, np.int64)
    for sources, targets in chunks:
        fills = targets[sources[..., 0] >= MIN_INK_LEVEL].astype(np.int64)
        codes, numbers = np.unique((fills * (_LEVELS**2, _LEVELS, 1)).sum(-1), return_counts=True)
        counts[codes] += numbers
    return counts.reshape(_LEVELS, _LEVELS, _LEVELS)


def find_palette(counts: NDArray[np.int64], n_colours: int) -> NDArray[np.uint8]:
    """Returns the most frequent colours that differ visibly from each other.

    Colours are taken by frequency, each if its CIE76 distance from all colours before it is at
    least `MIN_DISTANCE`. If there are too few such colours, the distance is halved, and at last the
    palette is completed with colours of an even grid.

    Args:
        counts: [256, 256, 256] counts by red, green and blue.
        n_colours: number of colours.

    Returns:
        [n_colours, 3] bytes, all different.
    """
    flat = counts.reshape(-1)
    codes = np.flatnonzero(flat)
    codes = codes[np.argsort(-flat[codes], kind="stable")]
    grid = np.array(np.meshgrid(*[_GRID_LEVELS] * 3, indexing="ij")).reshape(3, -1).T
    candidates = np.concatenate([_colours_of_codes(codes), grid.astype(np.uint8)])
    n_counted, lab = len(codes), to_lab(candidates)
    chosen: list[int] = []
    min_distance = MIN_DISTANCE
    while len(chosen) < n_colours:
        # The grid is used only after the distance of counted colours cannot be lowered any more.
        is_last_pass = min_distance < 1
        _choose(lab[: None if is_last_pass else n_counted], chosen, n_colours, min_distance)
        min_distance /= 2
    return candidates[chosen]


def _choose(lab: NDArray[np.float64], chosen: list[int], n_colours: int, distance: float) -> None:
    """Appends the first colours that differ enough from all chosen ones, up to `n_colours`."""
    nearest = np.full(len(lab), np.inf)
    for index in chosen:
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[index], axis=1))
    while len(chosen) < n_colours:
        index = int(np.argmax(nearest >= distance)) if len(lab) else 0
        if not len(lab) or nearest[index] < distance:
            return
        chosen.append(index)
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[index], axis=1))


def _colours_of_codes(codes: NDArray[np.int64]) -> NDArray[np.uint8]:
    channels = (codes // _LEVELS**2, codes // _LEVELS % _LEVELS, codes % _LEVELS)
    return np.stack(channels, axis=-1).astype(np.uint8)


def to_lab(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Converts colours [N, 3] bytes to CIE Lab [N, 3]."""
    pictures = (colours.astype(np.float64) / 255).T[None, :, :, None]  # [1, 3, N, 1]
    return np.stack([channel[0, :, 0] for channel in color.srgb_to_lab(pictures)], axis=-1)


def build_class_table(palette: NDArray[np.uint8]) -> Tensor:
    """Builds the table of the nearest palette colour (CIE76) of every rounded colour.

    Args:
        palette: [K, 3] bytes.

    Returns:
        [64^3] uint8 indices of palette colours, by red, green and blue in `TABLE_BITS` bits.
    """
    n_levels = 2**TABLE_BITS
    levels = ((np.arange(n_levels) + 0.5) * (_LEVELS / n_levels)).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab, palette_lab = to_lab(colours), to_lab(palette)
    classes = np.empty(len(lab), np.uint8)
    for start in range(0, len(lab), n_levels**2):
        rows = slice(start, start + n_levels**2)
        distances = ((lab[rows, None] - palette_lab) ** 2).sum(-1)
        classes[rows] = distances.argmin(1)
    return torch.from_numpy(classes)


def classify(fill: Tensor, class_table: Tensor) -> Tensor:
    """Returns the palette colours nearest to a fill.

    Args:
        fill: [N, 3, H, W] in [0, 1].
        class_table: the table of `build_class_table`.

    Returns:
        [N, H, W] int64 indices of palette colours.
    """
    n_levels = 2**TABLE_BITS
    red, green, blue = (fill * n_levels).long().clamp(0, n_levels - 1).unbind(1)
    return class_table[(red * n_levels + green) * n_levels + blue].long()


def is_paper(palette: Tensor) -> Tensor:
    """Returns which palette colours [K, 3] in [0, 1] are about white, [K]."""
    return palette.amin(1) >= MIN_PAPER_LEVEL
