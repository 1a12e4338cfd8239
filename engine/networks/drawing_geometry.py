"""Measures the geometry of a drawing: eight figures of its lines and regions.

The figures tell kinds of drawings apart (one closed shape, many small parts, a black silhouette)
and are an input of the generator beside the code of `source_features`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from engine.images.regions import MAX_REGIONS

N_LARGEST = 4
N_FIGURES = 4 + N_LARGEST
# A pixel of a lower lightness, in [0, 1], belongs to a line or to a black area.
DARK_LIGHTNESS = 140 / 255
# A black area is wider than the lines of OpenMoji, which are 2 of 72 units wide.
AREA_SIDE_SHARE = 1 / 24


def drawing_geometry(source: Tensor, labels: Tensor) -> Tensor:
    """Measures the geometry of drawings, with tensor operations of fixed shapes only.

    The figures, each a share of all pixels unless said:
        0: pixels inside, that is in regions that do not touch the border of the picture.
        1: dark pixels (lightness below `DARK_LIGHTNESS`): lines and black areas.
        2: log(1 + number of regions).
        3 to 6: the square roots of the shares of the four largest regions inside, the largest
            first; 0 if there are fewer.
        7: black areas: pixels in the middle of a dark square whose side is about a 24th of the
            picture (3 px at 64 px).

    Args:
        source: [N, 3, H, W] in [-1, 1].
        labels: [N, H, W] integer labels of the regions, 0 to 63.

    Returns:
        [N, 8] float32, not standardised.
    """
    height, width = labels.shape[1:]
    flat = labels.long().flatten(1)
    counts = _count_labels(flat)  # [N, 64]
    edges = (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1])
    touches_border = _count_labels(torch.cat(edges, 1).long()) > 0
    inside = counts * ~touches_border / (height * width)
    dark = ((source.float().mean(1, keepdim=True) + 1) / 2 < DARK_LIGHTNESS).float()
    figures = (
        inside.sum(1),
        dark.mean((1, 2, 3)),
        (counts > 0).sum(1).log1p(),
        *inside.topk(N_LARGEST, 1).values.sqrt().unbind(1),
        _erode(dark, _odd_side(min(height, width))).mean((1, 2, 3)),
    )
    return torch.stack(figures, 1)


def _count_labels(labels: Tensor) -> Tensor:
    """Labels [N, P] -> the number of pixels of each label, [N, 64] float32."""
    counts = torch.zeros(labels.shape[0], MAX_REGIONS, device=labels.device)
    return counts.scatter_add(1, labels, torch.ones_like(labels, dtype=torch.float32))


def _erode(dark: Tensor, side: int) -> Tensor:
    """Keeps the pixels of masks [N, 1, H, W] whose square of an odd side is all dark."""
    return 1 - functional.max_pool2d(1 - dark, side, 1, side // 2)


def _odd_side(px: int) -> int:
    return 2 * max(1, round(int(px) * AREA_SIDE_SHARE / 2)) + 1
