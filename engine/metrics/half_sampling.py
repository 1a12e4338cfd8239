"""Each metric on random halves of the pictures: [B, N] halves -> [B] values.

What `intervals` needs to tell a difference from the luck of the pictures. Every function computes
the metric anew on each half, by matrix products where that is possible.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from engine.metrics import distribution

Array = NDArray[np.float64]
Halves = NDArray[np.bool_]

FRECHET_WORK = 1000 * 110**3  # multiplications, about, that the halves of one distance may take


def mean(per_picture: Sequence[float | None], halves: Halves) -> Array:
    """The mean over the pictures of each half; those without a value are left out.

    Not a number where a half has no picture with a value.
    """
    known = np.array([value is not None for value in per_picture])
    values = np.array([0.0 if value is None else value for value in per_picture])
    with np.errstate(invalid="ignore"):
        found: Array = (halves @ values) / (halves & known).sum(1)
    return found


def kernel_distance(real: ArrayLike, fake: ArrayLike, halves: Halves) -> Array:
    """`distribution.kernel_distance` of each half."""
    kernel = distribution.paired_kernel(np.asarray(real, np.float64), np.asarray(fake, np.float64))
    return _mean_of_pairs(kernel, halves)


def diversity(fake: Array, target: Array, halves: Halves) -> Array:
    """The ratio of mean distances within each half, from [N, N] distances of fakes and targets."""
    found: Array = _mean_of_pairs(fake, halves) / _mean_of_pairs(target, halves)
    return found


def frechet_count(n_pictures: int) -> int:
    """How many halves a Frechet distance is measured on: fewer the more pictures there are."""
    return int(np.clip(FRECHET_WORK / (n_pictures / 2) ** 3, 100, 1000))


def fid(real: ArrayLike, fake: ArrayLike, halves: Halves) -> Array:
    """`distribution.fid` of each half."""
    x, y = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    size = int(halves[0].sum())
    if size > x.shape[1]:
        return np.array([distribution.fid(x[half], y[half]) for half in halves])

    # What a half needs of its features are sums and products, all taken once.
    weights = halves.astype(np.float64)
    sums = [weights @ it for it in (x, y)]  # [B, D]
    squares = [weights @ (it * it).sum(1) for it in (x, y)]  # [B]
    difference = (sums[0] - sums[1]) / size
    traces = sum(
        (square - (total * total).sum(1) / size) / (size - 1)
        for square, total in zip(squares, sums, strict=True)
    )
    product = x @ y.T  # [N, N]
    shared = np.empty(len(halves))
    for index, half in enumerate(halves):
        part = product[np.ix_(half, half)]
        centred = part - part.mean(0) - part.mean(1, keepdims=True) + part.mean()
        shared[index] = float(torch.linalg.svdvals(torch.from_numpy(centred)).sum()) / (size - 1)
    found: Array = (difference * difference).sum(1) + traces - 2 * shared
    return found


def histogram_divergence(fake: Array, target: Array, halves: Halves) -> Array:
    """Jensen-Shannon divergence of each half's summed histograms, from [N, bins] counts."""
    weights = halves.astype(np.float64)
    return jensen_shannon(weights @ fake, weights @ target)


def jensen_shannon(one: Array, other: Array) -> Array:
    """Divergence in bits of rows of counts [B, bins] -> [B]: 0 the same, 1 nothing in common.

    Lin 1991, equation 4.1 with equal weights. Not a number where a row has no counts.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = one / one.sum(-1, keepdims=True), other / other.sum(-1, keepdims=True)
        middle = (p + q) / 2
        parts = [np.where(it > 0, it * np.log2(it / middle), 0.0).sum(-1) for it in (p, q)]
    empty = (one.sum(-1) == 0) | (other.sum(-1) == 0)
    found: Array = np.where(empty, np.nan, np.clip((parts[0] + parts[1]) / 2, 0, 1))
    return found


def _mean_of_pairs(matrix: Array, halves: Halves) -> Array:
    """The mean off the diagonal within each half, of a matrix whose diagonal is 0."""
    weights = halves.astype(np.float64)
    size = weights.sum(1)
    found: Array = ((weights @ matrix) * weights).sum(1) / (size * (size - 1))
    return found
