"""Enlarges a flat fill to the size of a drawing without bleeding across lines. Loads no torch.

A flat fill has one colour for each region that a model saw in its small square. At full size a
region ends at the drawing's own lines.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from engine.images.regions import FREE_INK, label_regions

# Regions of larger drawings are found in a smaller drawing, where the darkest pixel of each block
# stands for the block, so that thin lines stay closed.
MAX_AREA_PX = 1024

Box = tuple[int, int, int, int]  # left, top, width, height


def enlarge_flat_fill(
    lines: NDArray[np.uint8], square: NDArray[np.uint8], box: Box, fill: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Computes the colours of a flat fill in a drawing of any size.

    1. Connected pixels without lines form an area of the drawing.
    2. Each region that the model saw belongs to the area with which it shares most pixels.
    3. An area with one region has its colour. In an area with several regions, which is open where
       the model saw a closed line, each pixel has the colour of the nearest of these regions.
    4. An area without a region was too small for the model, or not separate. It has the colour of
       the region with which it shares most pixels.
    5. A pixel of a line has the colour of the nearest pixel without a line.

    Args:
        lines: the lightness of the drawing, [H, W] bytes: 0 black lines, 255 paper.
        square: the lightness of the model's square, [px, px] bytes.
        box: the place of the drawing in the square.
        fill: the flat fill of the square, [px, px, 3] in [0, 1].

    Returns:
        [h, w, 3] in [0, 1]: the colours of the drawing's blocks of `block_side` pixels a side.
    """
    left, top, width, height = box
    inside = np.s_[top : top + height, left : left + width]
    labels, colours_inside = label_regions(square)[inside], fill[inside]
    blocks = _darkest_of_blocks(lines)
    areas, n_areas = ndimage.label(blocks > FREE_INK)
    if not n_areas:
        return _enlarge(colours_inside, blocks.shape)

    # Count the pixels that areas and regions share; area 0 stands for lines.
    n_regions = int(labels.max()) + 1
    regions = _enlarge(labels, blocks.shape)
    pairs = areas.reshape(-1).astype(np.int64) * n_regions + regions.reshape(-1)
    shared = np.bincount(pairs, minlength=(n_areas + 1) * n_regions).reshape(-1, n_regions)
    shared[0] = 0
    owners = np.where(shared.any(0), shared.argmax(0), 0)  # [n_regions] areas
    n_owned = np.bincount(owners, minlength=n_areas + 1)

    # Choose one region for each pixel of each area.
    region_of_area = shared.argmax(1)
    has_one = n_owned[owners] == 1
    region_of_area[owners[has_one]] = np.flatnonzero(has_one)
    chosen = region_of_area[areas]
    for area in np.flatnonzero(n_owned[1:] > 1) + 1:
        is_here = areas == area
        chosen[is_here] = _divide(labels, np.flatnonzero(owners == area), is_here)

    # Extend the regions below the lines and give them their colours.
    rows, columns = _nearest(areas > 0)
    colours = np.zeros((n_regions, 3), np.float32)
    colours[labels.reshape(-1)] = colours_inside.reshape(-1, 3)
    spread: NDArray[np.float32] = colours[chosen[rows, columns]]
    return spread


def _divide(
    labels: NDArray[np.uint8], regions: NDArray[np.int64], is_here: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Divides an area of a drawing among several regions along smooth edges.

    Args:
        labels: [h, w] regions of the pixels of the small drawing.
        regions: the regions of the area.
        is_here: [H, W], the area.

    Returns:
        The nearest of the regions for each pixel of the area, [is_here.sum()].
    """
    size = (is_here.shape[1], is_here.shape[0])
    nearest = np.full(np.count_nonzero(is_here), regions[0])
    shortest = np.full(len(nearest), np.inf, np.float32)
    for region in regions:
        # The distance is negative inside the region.
        outside = labels != region
        distance = ndimage.distance_transform_edt(outside)
        distance -= ndimage.distance_transform_edt(~outside)
        plane = Image.fromarray(distance.astype(np.float32))
        enlarged = np.asarray(plane.resize(size, Image.Resampling.BILINEAR))[is_here]
        is_nearer = enlarged < shortest
        nearest[is_nearer], shortest[is_nearer] = region, enlarged[is_nearer]
    return nearest


def block_side(height: int, width: int) -> int:
    """Returns the side of blocks that divides a drawing into at most `MAX_AREA_PX` a side."""
    return -(-max(height, width) // MAX_AREA_PX)


def _darkest_of_blocks(lines: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the darkest pixel of each block of a drawing; the last blocks may be smaller."""
    side = block_side(*lines.shape)
    rows, columns = (np.arange(0, length, side) for length in lines.shape)
    by_rows: NDArray[np.uint8] = np.minimum.reduceat(lines, rows, axis=0)
    blocks: NDArray[np.uint8] = np.minimum.reduceat(by_rows, columns, axis=1)
    return blocks


def _enlarge(small: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Enlarges an array [h, w, ...] to a height and width by repeating the nearest values."""
    rows, columns = (
        np.arange(length) * small.shape[axis] // length for axis, length in enumerate(shape)
    )
    enlarged: NDArray[Any] = small[rows[:, None], columns[None]]
    return enlarged


def _nearest(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Returns row and column of the nearest pixel of a mask, [2, h, w]."""
    nearest: NDArray[np.int32] = ndimage.distance_transform_edt(
        ~mask, return_distances=False, return_indices=True
    )
    return nearest
