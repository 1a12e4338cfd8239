"""Labels the regions of line art inside a generator.

`label_regions` gives the labels that `images.regions` defines. An exported network cannot call
NumPy: for exports, the labels are computed by tensor operations and loops that become a part of the
file. TorchScript keeps a loop only if the function is scripted, and `torch.export` (for ONNX) only
as `torch.while_loop`: therefore each loop below is written in both ways, around the same step.
"""

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from engine.images import color
from engine.images.regions import (
    CORE_RADII,
    FREE_INK,
    MAX_REGIONS,
    MIN_REGION_PX,
    label_region_batch,
)

# The smallest sum of `color.LUMINANCE_TABLE` whose grey is above `FREE_INK`.
MIN_FREE_LUMINANCE = int((color.GREY_TABLE <= FREE_INK).sum())

# (free [N, H, W], CORE_RADII, MIN_REGION_PX, MAX_REGIONS) -> labels [N, H, W] int64
LabelFn = Callable[[Tensor, list[int], int, int], Tensor]


def label_regions(source: Tensor) -> Tensor:
    """Labels the regions of line art as `images.regions.label_region_batch` does.

    The ink of a coloured source is its grey of equal lightness. On a GPU the labels are computed on
    the CPU, which waits for the GPU; training uses stored labels instead
    (`data.batches.make_labels`).

    Args:
        source: [N, 3, H, W] in [-1, 1]; multiples of 1/255 of this range.

    Returns:
        [N, H, W] int64 labels on the device of `source`.
    """
    values = ((source.detach() + 1) * 127.5).round().clamp(0, 255)
    if torch.compiler.is_exporting():
        return _label_by_tensors(values, label_free_pixels)
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return _label_by_tensors(values, scripted_label_fn())
    channels = values.to(torch.uint8).cpu().numpy()
    ink = color.grey_of_equal_lightness(channels[:, 0], channels[:, 1], channels[:, 2])
    return torch.from_numpy(label_region_batch(ink)).to(source.device, torch.int64)


def _label_by_tensors(values: Tensor, label_fn: LabelFn) -> Tensor:
    """Labels the regions of sources [N, 3, H, W] with values 0 to 255."""
    tables = torch.tensor(color.LUMINANCE_TABLE.tolist(), device=values.device)
    red, green, blue = (tables[channel][values[:, channel].long()] for channel in range(3))
    free = red + green + blue >= MIN_FREE_LUMINANCE
    return label_fn(free, list(CORE_RADII), MIN_REGION_PX, MAX_REGIONS)


@cache
def scripted_label_fn() -> LabelFn:
    """Compiles `label_free_pixels` to TorchScript, so that a trace keeps its loops."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript, which others still read
        scripted: LabelFn = torch.jit.script(label_free_pixels)
    return scripted


# The functions below are also compiled to TorchScript, which reads no global variables: constants
# are arguments. A pixel stands for its region by its index, counted row by row; the root of a
# region is the first pixel of its core. The index H x W stands for "no region".


def label_free_pixels(
    free: Tensor, core_radii: list[int], min_region_px: int, max_regions: int
) -> Tensor:
    """Computes the steps of `images.regions.label_region_batch` with tensors.

    Args:
        free: [N, H, W] bool, pixels without lines.
        core_radii: `CORE_RADII`.
        min_region_px: `MIN_REGION_PX`.
        max_regions: `MAX_REGIONS`.

    Returns:
        [N, H, W] int64 labels.
    """
    cores = _cores(free, core_radii)
    grown = _grow(_area_roots(cores), free)
    return _fill_nearest(_rank(grown, min_region_px, max_regions), max_regions)


def _cores(free: Tensor, core_radii: list[int]) -> Tensor:
    """Erodes each connected area by the largest disc that leaves something of it, [N, H, W]."""
    roots = _area_roots(free)
    cores = torch.zeros_like(free)
    has_core = torch.zeros_like(free)
    for radius in core_radii:
        eroded = _erode(free, radius) & ~has_core
        cores = cores | eroded
        has_core = has_core | (_at_roots(_count(roots, eroded), roots) > 0)
    return cores


def _erode(free: Tensor, radius: int) -> Tensor:
    """Keeps the pixels whose surrounding disc is free, [N, H, W]."""
    height, width = free.shape[1], free.shape[2]
    blocked = functional.pad((~free).long(), [radius, radius, radius, radius])
    n_blocked = torch.zeros_like(free, dtype=torch.int64)
    for y in range(-radius, radius + 1):
        for x in range(-radius, radius + 1):
            if y * y + x * x <= radius * radius + min(radius, 1):
                top, left = radius + y, radius + x
                n_blocked = n_blocked + blocked[:, top : top + height, left : left + width]
    return n_blocked == 0


def _area_roots(mask: Tensor) -> Tensor:
    """Finds the first pixel of the connected area of each pixel, [N, H, W] indices."""
    n_pixels = mask.shape[1] * mask.shape[2]
    indices = torch.arange(n_pixels, device=mask.device).view(1, mask.shape[1], mask.shape[2])
    roots = torch.where(mask, indices, n_pixels)
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        is_changing = True
        while is_changing:
            joined = _join_neighbours(roots, mask)
            is_changing = not torch.equal(joined, roots)
            roots = joined
    else:
        roots = _repeat_until_stable(_join_neighbours, roots, mask)
    return roots


def _join_neighbours(roots: Tensor, mask: Tensor) -> Tensor:
    """Replaces each root by the lowest root of its neighbours, then by the root of that pixel."""
    joined = torch.where(mask, torch.minimum(roots, _lowest_neighbour(roots)), roots)
    n_pixels = roots.shape[1] * roots.shape[2]
    table = functional.pad(joined.flatten(1), [0, 1], value=float(n_pixels))
    return _at_roots(table, joined)


def _grow(roots: Tensor, free: Tensor) -> Tensor:
    """Grows regions inside the free pixels; at ties, the lower root wins. [N, H, W] indices."""
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        is_changing = True
        while is_changing:
            grown = _grow_by_a_pixel(roots, free)
            is_changing = not torch.equal(grown, roots)
            roots = grown
    else:
        roots = _repeat_until_stable(_grow_by_a_pixel, roots, free)
    return roots


def _grow_by_a_pixel(roots: Tensor, free: Tensor) -> Tensor:
    n_pixels = roots.shape[1] * roots.shape[2]
    return torch.where(free & (roots == n_pixels), _lowest_neighbour(roots), roots)


def _lowest_neighbour(roots: Tensor) -> Tensor:
    """Finds the lowest of the 4 neighbours of each pixel, [N, H, W]."""
    height, width = roots.shape[1], roots.shape[2]
    padded = functional.pad(roots, [1, 1, 1, 1], value=float(height * width))
    vertical = torch.minimum(padded[:, :height, 1:-1], padded[:, 2:, 1:-1])
    horizontal = torch.minimum(padded[:, 1:-1, :width], padded[:, 1:-1, 2:])
    return torch.minimum(vertical, horizontal)


def _count(roots: Tensor, mask: Tensor) -> Tensor:
    """Counts the pixels of a mask that have each root, [N, H x W + 1]."""
    zeros = functional.pad(torch.zeros_like(roots).flatten(1), [0, 1])
    return zeros.scatter_add(1, roots.flatten(1), mask.flatten(1).long())


def _at_roots(values: Tensor, roots: Tensor) -> Tensor:
    """Reads the value [N, H x W + 1] of each pixel's root, [N, H, W]."""
    return values.gather(1, roots.flatten(1)).view_as(roots)


def _rank(grown: Tensor, min_region_px: int, max_regions: int) -> Tensor:
    """Replaces roots by labels, 0 for the largest region; `_no_label` for dropped regions."""
    n_pixels = grown.shape[1] * grown.shape[2]
    n_labels = min(max_regions, n_pixels)
    indices = torch.arange(n_pixels + 1, device=grown.device)
    sizes = _count(grown, grown < n_pixels)
    # One number orders by size, then by root; the root can be read from the number again.
    keys = sizes * (n_pixels + 1) + n_pixels - indices
    largest = keys.topk(n_labels, dim=1)[0]
    is_kept = largest >= min_region_px * (n_pixels + 1)
    roots = torch.where(is_kept, n_pixels - largest % (n_pixels + 1), n_pixels)

    labels = torch.arange(n_labels, device=grown.device).view(1, n_labels).expand_as(roots)
    no_label = _no_label(grown, max_regions)
    table = torch.full_like(sizes, no_label).scatter(1, roots, labels)
    return _at_roots(torch.where(indices == n_pixels, no_label, table), grown)


def _no_label(drawings: Tensor, max_regions: int) -> int:
    """Returns a key (see `_fill_nearest`) of a distance longer than any inside a drawing."""
    return max_regions * (drawings.shape[1] + drawings.shape[2])


def _fill_nearest(labels: Tensor, max_regions: int) -> Tensor:
    """Gives pixels without a label the label of the nearest pixel with one, [N, H, W].

    As in `images.regions`, squared distance x `max_regions` + label is compared, first in columns,
    then in rows.
    """
    height = labels.shape[1]
    no_label = _no_label(labels, max_regions)
    has_region = (labels < no_label).flatten(1).any(1).view(-1, 1, 1)
    keys = torch.where(has_region, labels, 0)
    step = 1
    while step < height:
        padded = functional.pad(keys, [0, 0, step, step], value=float(no_label))
        beside = torch.minimum(padded[:, :height], padded[:, 2 * step :])
        keys = torch.minimum(keys, beside + step * max_regions)
        step *= 2
    distances = keys // max_regions
    nearest = distances * distances * max_regions + keys % max_regions

    distance = torch.ones([], dtype=torch.int64, device=labels.device)
    best = _search_columns(nearest, nearest, distance, max_regions)
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        while bool(_may_be_nearer(best, distance, max_regions)):
            distance = distance + 1
            best = _search_columns(best, nearest, distance, max_regions)
    else:
        best = _search_until_nearest(best, nearest, distance, max_regions)
    return best % max_regions


def _search_columns(best: Tensor, nearest: Tensor, distance: Tensor, max_regions: int) -> Tensor:
    """Compares with the columns at a distance; beyond the edge, the column at the edge counts."""
    columns = torch.arange(best.shape[2], device=best.device)
    left = nearest.index_select(2, (columns - distance).clamp(min=0))
    right = nearest.index_select(2, (columns + distance).clamp(max=best.shape[2] - 1))
    return torch.minimum(best, torch.minimum(left, right) + distance * distance * max_regions)


def _may_be_nearer(best: Tensor, distance: Tensor, max_regions: int) -> Tensor:
    """Returns whether any pixel may be nearer to a column farther away than `distance`."""
    following = distance + 1
    return (best >= following * following * max_regions).any() & (following < best.shape[2])


# `torch.export` takes the loops from the functions below, which are never compiled to TorchScript.
# A loop may not return one of its inputs unchanged.


def _repeat_until_stable(
    step_fn: Callable[[Tensor, Tensor], Tensor], roots: Tensor, mask: Tensor
) -> Tensor:
    """Repeats a step until the roots no longer change."""

    def is_changing(roots: Tensor, earlier: Tensor) -> Tensor:
        return (roots != earlier).any()

    def repeat(roots: Tensor, earlier: Tensor) -> tuple[Tensor, Tensor]:
        return step_fn(roots, mask), roots.clone()

    stable: Tensor = torch.while_loop(is_changing, repeat, (roots, roots - 1))[0]  # type: ignore[no-untyped-call]
    return stable


def _search_until_nearest(
    best: Tensor, nearest: Tensor, distance: Tensor, max_regions: int
) -> Tensor:
    """Searches columns farther and farther away until no pixel can be nearer."""

    def may_be_nearer(best: Tensor, distance: Tensor) -> Tensor:
        return _may_be_nearer(best, distance, max_regions)

    def search(best: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        following = distance + 1
        return _search_columns(best, nearest, following, max_regions), following

    searched: Tensor = torch.while_loop(may_be_nearer, search, (best, distance))[0]  # type: ignore[no-untyped-call]
    return searched
