"""Measures the thumbnails (64 pixels) of all pairs of a source, one row per pair."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.data.pairs import THUMBNAIL_PX, LoadedPair, Pixels
from engine.images import color

SMALL_GREY_PX = 16  # side of the small grey pictures by which near duplicates are found
_EDGE_STEP = 26  # of 255 levels: neighbouring pixels that differ by more form an edge

# Column -> the shape of the column's value for one pair.
_COLUMNS: Mapping[str, tuple[int, ...]] = {
    "width": (),
    "height": (),
    "colorfulness": (),
    "edges": (2,),  # source, target: the share of pixels on an edge
    # Statistics of the pixel values: the source in grey, then the channels of the target.
    "low": (4,),
    "high": (4,),
    "mean": (4,),
    "spread": (4,),
}


@dataclass(frozen=True)
class PairMeasurements:
    """The measurements of all pairs of a source that could be read.

    Attributes:
        names: [N] names of the pairs, sorted.
        digests: [N] digests; pairs with equal thumbnails and equal sizes have equal digests.
        columns: column -> [N, ...] float32; width and height are 0 for drawings.
        small_greys: [N, 2, 16, 16] bytes: source and target as small grey pictures.
    """

    names: tuple[str, ...]
    digests: tuple[str, ...]
    columns: Mapping[str, NDArray[np.float32]]
    small_greys: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.names)


def measure_pairs(
    names: Sequence[str], pairs: Sequence[LoadedPair], thumbnails: Pixels, planes: Pixels
) -> PairMeasurements:
    """Measures the thumbnails of pairs.

    Args:
        names: [N] names of the pairs.
        pairs: [N] loaded pairs, of which only the sizes are used.
        thumbnails: [N, 64, 64, C] bytes.
        planes: [4, N, 64, 64] bytes, the thumbnails converted by `to_planes`.
    """
    n = len(thumbnails)
    flat = planes.reshape(4, n, -1)
    values = np.moveaxis(flat, 0, 1).astype(np.float32)  # [N, 4, K]
    means = values.mean(2)
    products = values @ values.transpose(0, 2, 1) / values.shape[2]
    covariances = products - means[:, :, None] * means[:, None]
    grey_target = _luma(*planes[1:])
    columns = {
        "width": np.array([pair.size[0] if pair.size else 0 for pair in pairs]),
        "height": np.array([pair.size[1] if pair.size else 0 for pair in pairs]),
        "colorfulness": _colorfulness(means[:, 1:], covariances[:, 1:, 1:]),
        "edges": np.stack([_edge_density(planes[0]), _edge_density(grey_target)], axis=1),
        "low": flat.min(2).T,
        "high": flat.max(2).T,
        "mean": means,
        "spread": np.sqrt(np.maximum(np.diagonal(covariances, axis1=1, axis2=2), 0)),
    }
    assert columns.keys() == set(_COLUMNS)
    digests = tuple(
        f"{hashlib.blake2b(thumbnail.data, digest_size=16).hexdigest()} {pair.size}"
        for thumbnail, pair in zip(thumbnails, pairs, strict=True)
    )
    return PairMeasurements(
        names=tuple(names),
        digests=digests,
        columns={name: column.astype(np.float32) for name, column in columns.items()},
        small_greys=np.stack([_shrink(planes[0]), _shrink(grey_target)], axis=1),
    )


def join_measurements(parts: Sequence[PairMeasurements]) -> PairMeasurements:
    """Concatenates parts of the measurements, in order."""
    no_greys = np.empty((0, 2, SMALL_GREY_PX, SMALL_GREY_PX), np.uint8)
    return PairMeasurements(
        names=tuple(name for part in parts for name in part.names),
        digests=tuple(digest for part in parts for digest in part.digests),
        columns={
            name: np.concatenate(
                [np.empty((0, *shape), np.float32), *(part.columns[name] for part in parts)]
            )
            for name, shape in _COLUMNS.items()
        },
        small_greys=np.concatenate([no_greys, *(part.small_greys for part in parts)]),
    )


def to_planes(rendered: Pixels) -> NDArray[np.uint8]:
    """Converts rendered pairs [N, H, W, C] to [4, N, H, W]: grey source, red, green, blue."""
    planes = np.empty((4, *rendered.shape[:3]), np.uint8)
    np.copyto(planes[1:], np.moveaxis(rendered[..., -3:], 3, 0))
    if rendered.shape[3] == 3:
        planes[0] = color.grey_of_equal_lightness(*planes[1:])
    elif rendered.shape[3] == 4:
        planes[0] = rendered[..., 0]
    else:
        planes[0] = _luma(*(rendered[..., channel] for channel in range(3)))
    return planes


def _luma(
    red: NDArray[np.uint8], green: NDArray[np.uint8], blue: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Computes the luma of ITU-R BT.601, with weights rounded to 1/256."""
    weighted_sum = red * np.uint16(77) + green * np.uint16(150) + blue * np.uint16(29)
    luma: NDArray[np.uint8] = (weighted_sum >> 8).astype(np.uint8)
    return luma


def _colorfulness(
    means: NDArray[np.float32], covariances: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Computes `color.colorfulness` from the means and covariances of the channels.

    Args:
        means: [N, 3] means of the channels.
        covariances: [N, 3, 3] covariances of the channels.

    Returns:
        [N] colourfulness of each picture.
    """
    opponents = np.array([[1, -1, 0], [0.5, 0.5, -1]], np.float32)  # red-green, yellow-blue
    variances = np.einsum("oc,ncd,od->n", opponents, covariances, opponents)
    mean_distances = np.linalg.norm(means @ opponents.T, axis=1)
    result: NDArray[np.float32] = np.sqrt(np.maximum(variances, 0)) + 0.3 * mean_distances
    return result


def _edge_density(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Computes the share of pixels that differ clearly from the pixel to the right or below."""
    pixel = grey[:, :-1, :-1]
    is_edge = np.zeros(pixel.shape, bool)
    for neighbour in (grey[:, :-1, 1:], grey[:, 1:, :-1]):
        is_edge |= np.maximum(pixel, neighbour) - np.minimum(pixel, neighbour) > _EDGE_STEP
    density: NDArray[np.float32] = is_edge.mean((1, 2))
    return density


def _shrink(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Averages blocks of pixels: [N, 64, 64] -> [N, 16, 16]."""
    n, block = len(grey), THUMBNAIL_PX // SMALL_GREY_PX
    column_sums = grey.reshape(n, SMALL_GREY_PX, block, THUMBNAIL_PX).sum(2, dtype=np.uint16)
    sums = column_sums.reshape(n, SMALL_GREY_PX, SMALL_GREY_PX, block).sum(3, dtype=np.uint16)
    averages: NDArray[np.uint8] = ((sums + block**2 // 2) // block**2).astype(np.uint8)
    return averages
