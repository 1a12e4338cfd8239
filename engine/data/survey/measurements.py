"""What is measured of every pair: a row each, all from the pair drawn at 64 pixels."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.data.pairs import GLANCE, Opened, Pixels
from engine.images import color

PRINT = 16  # pixels a side of the small grey picture by which look-alikes are known
_EDGE = 26  # levels of 255 between neighbours that make an edge

# name -> the shape of a row; float32 but for the prints
_COLUMNS: Mapping[str, tuple[int, ...]] = {
    "width": (),
    "height": (),
    "colorfulness": (),
    "edges": (2,),  # source, target: the share of pixels on an edge
    "low": (4,),  # grey source, then the target's channels
    "high": (4,),
    "mean": (4,),
    "spread": (4,),
}


@dataclass(frozen=True)
class Facts:
    """A row for each pair of a source that could be read.

    Attributes:
        names: [N], sorted.
        digests: [N]; pairs that are equal at a glance, and in size, have equal ones.
        columns: name -> [N, ...] float32; sizes are 0 where a pair is drawn at any size.
        prints: [N, 2, 16, 16] bytes: source and target, grey and small.
    """

    names: tuple[str, ...]
    digests: tuple[str, ...]
    columns: Mapping[str, NDArray[np.float32]]
    prints: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.names)


def measure(
    names: Sequence[str], opened: Sequence[Opened], glances: Pixels, planes: Pixels
) -> Facts:
    """The facts of pairs as they were opened.

    Args:
        names: [N].
        opened: [N].
        glances: [N, 64, 64, C] bytes.
        planes: [4, N, 64, 64] bytes, of the same by `to_planes`.
    """
    n = len(glances)
    flat = planes.reshape(4, n, -1)
    values = np.moveaxis(flat, 0, 1).astype(np.float32)  # [N, 4, K]
    means = values.mean(2)
    products = values @ values.transpose(0, 2, 1) / values.shape[2]
    covariances = products - means[:, :, None] * means[:, None]
    target = _grey(*planes[1:])
    columns = {
        "width": np.array([pair.size[0] if pair.size else 0 for pair in opened]),
        "height": np.array([pair.size[1] if pair.size else 0 for pair in opened]),
        "colorfulness": _colorfulness(means[:, 1:], covariances[:, 1:, 1:]),
        "edges": np.stack([_edge_density(planes[0]), _edge_density(target)], axis=1),
        "low": flat.min(2).T,
        "high": flat.max(2).T,
        "mean": means,
        "spread": np.sqrt(np.maximum(np.diagonal(covariances, axis1=1, axis2=2), 0)),
    }
    assert columns.keys() == set(_COLUMNS)
    prints = np.stack([_shrink(planes[0]), _shrink(target)], axis=1)
    digests = tuple(
        f"{hashlib.blake2b(glance.data, digest_size=16).hexdigest()} {pair.size}"
        for glance, pair in zip(glances, opened, strict=True)
    )
    rows = {name: column.astype(np.float32) for name, column in columns.items()}
    return Facts(tuple(names), digests, rows, prints)


def join(parts: Sequence[Facts]) -> Facts:
    """All rows of all parts, in order."""
    return Facts(
        names=tuple(name for part in parts for name in part.names),
        digests=tuple(digest for part in parts for digest in part.digests),
        columns={
            name: np.concatenate(
                [np.empty((0, *shape), np.float32)] + [it.columns[name] for it in parts]
            )
            for name, shape in _COLUMNS.items()
        },
        prints=np.concatenate(
            [np.empty((0, 2, PRINT, PRINT), np.uint8)] + [it.prints for it in parts]
        ),
    )


def to_planes(drawn: Pixels) -> NDArray[np.uint8]:
    """Drawn pairs [N, H, W, C] -> [4, N, H, W]: the source in grey, then the target's channels."""
    planes = np.empty((4, *drawn.shape[:3]), np.uint8)
    np.copyto(planes[1:], np.moveaxis(drawn[..., -3:], 3, 0))
    if drawn.shape[3] == 3:
        planes[0] = color.grey_of_equal_lightness(*planes[1:])
    elif drawn.shape[3] == 4:
        planes[0] = drawn[..., 0]
    else:
        planes[0] = _grey(*(drawn[..., channel] for channel in range(3)))
    return planes


def _grey(
    red: NDArray[np.uint8], green: NDArray[np.uint8], blue: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Luma of ITU-R BT.601, to 1/256."""
    weighed = red * np.uint16(77) + green * np.uint16(150) + blue * np.uint16(29)
    grey: NDArray[np.uint8] = (weighed >> 8).astype(np.uint8)
    return grey


def _colorfulness(
    means: NDArray[np.float32], covariances: NDArray[np.float32]
) -> NDArray[np.float32]:
    """[N, 3] and [N, 3, 3] of red, green and blue -> [N], as `color.colorfulness` has it."""
    opponents = np.array([[1, -1, 0], [0.5, 0.5, -1]], np.float32)  # red-green, yellow-blue
    variances = np.einsum("oc,ncd,od->n", opponents, covariances, opponents)
    centre = np.linalg.norm(means @ opponents.T, axis=1)
    found: NDArray[np.float32] = np.sqrt(np.maximum(variances, 0)) + 0.3 * centre
    return found


def _edge_density(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The share of pixels that differ clearly from the next one right or below."""
    here = grey[:, :-1, :-1]
    is_edge = np.zeros(here.shape, bool)
    for other in (grey[:, :-1, 1:], grey[:, 1:, :-1]):
        is_edge |= np.maximum(here, other) - np.minimum(here, other) > _EDGE
    density: NDArray[np.float32] = is_edge.mean((1, 2))
    return density


def _shrink(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    part = GLANCE // PRINT
    rows = grey.reshape(len(grey), PRINT, part, GLANCE).sum(2, dtype=np.uint16)
    small = rows.reshape(len(grey), PRINT, PRINT, part).sum(3, dtype=np.uint16)
    prints: NDArray[np.uint8] = ((small + part**2 // 2) // part**2).astype(np.uint8)
    return prints
