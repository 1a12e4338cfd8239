"""Computes each metric on random halves of the images: halves [B, N] -> values [B].

From these values, `intervals` estimates how much a metric depends on the choice of the images.
Where possible, a function computes all halves together by matrix products.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from engine.metrics import distribution

Array = NDArray[np.float64]
Halves = NDArray[np.bool_]

# An approximate limit on the multiplications for the Frechet distances of all halves.
MAX_FRECHET_MULTIPLICATIONS = 1000 * 110**3


def mean(per_image: Sequence[float | None], halves: Halves) -> Array:
    """Computes the mean over the images of each half; images without a value are left out.

    The mean is NaN for a half in which no image has a value.
    """
    has_value = np.array([value is not None for value in per_image])
    values = np.array([0.0 if value is None else value for value in per_image])
    with np.errstate(invalid="ignore"):
        means: Array = (halves @ values) / (halves & has_value).sum(1)
    return means


def kernel_distance(real: ArrayLike, fake: ArrayLike, halves: Halves) -> Array:
    """Computes `distribution.kernel_distance` of each half, from [N, D] features."""
    kernel = distribution.paired_kernel(np.asarray(real, np.float64), np.asarray(fake, np.float64))
    return _mean_of_pairs(kernel, halves)


def diversity(fake: Array, target: Array, halves: Halves) -> Array:
    """Divides the mean distance of the fakes by that of the targets, from [N, N] distances."""
    ratios: Array = _mean_of_pairs(fake, halves) / _mean_of_pairs(target, halves)
    return ratios


def n_frechet_halves(n_images: int) -> int:
    """Returns the number of halves for a Frechet distance: 1000 to 100, fewer for more images."""
    return int(np.clip(MAX_FRECHET_MULTIPLICATIONS / (n_images / 2) ** 3, 100, 1000))


def fid(real: ArrayLike, fake: ArrayLike, halves: Halves) -> Array:
    """Computes `distribution.fid` of each half, from [N, D] features."""
    x, y = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    n_rows = int(halves[0].sum())
    if n_rows > x.shape[1]:
        return np.array([distribution.fid(x[half], y[half]) for half in halves])

    # Compute means and covariance traces of all halves from sums over the rows of each half.
    weights = halves.astype(np.float64)
    sum_x, sum_y = weights @ x, weights @ y  # [B, D]
    mean_difference = (sum_x - sum_y) / n_rows
    traces = _covariance_traces(x, sum_x, weights, n_rows)
    traces += _covariance_traces(y, sum_y, weights, n_rows)

    # For each half, centre the rows and columns of its part of x y^T: the result equals the product
    # of the half's centred features.
    product = x @ y.T  # [N, N]
    root_traces = np.empty(len(halves))
    for index, half in enumerate(halves):
        part = product[np.ix_(half, half)]
        centred = part - part.mean(0) - part.mean(1, keepdims=True) + part.mean()
        nuclear_norm = float(torch.linalg.svdvals(torch.from_numpy(centred)).sum())
        root_traces[index] = nuclear_norm / (n_rows - 1)
    distances: Array = (mean_difference * mean_difference).sum(1) + traces - 2 * root_traces
    return distances


def histogram_divergence(fake: Array, target: Array, halves: Halves) -> Array:
    """Computes the Jensen-Shannon divergence of each half's histograms, from [N, bins] counts."""
    weights = halves.astype(np.float64)
    return jensen_shannon(weights @ fake, weights @ target)


def jensen_shannon(counts: Array, other_counts: Array) -> Array:
    """Computes the Jensen-Shannon divergence in bits by row: [B, bins], [B, bins] -> [B].

    The formula is Lin 1991, equation 4.1, with equal weights. The divergence is 0 for equal shares,
    1 for no common bin, and NaN for a row without counts.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p = counts / counts.sum(-1, keepdims=True)
        q = other_counts / other_counts.sum(-1, keepdims=True)
        middle = (p + q) / 2
        divergences = [
            np.where(shares > 0, shares * np.log2(shares / middle), 0.0).sum(-1)
            for shares in (p, q)
        ]
    is_empty = (counts.sum(-1) == 0) | (other_counts.sum(-1) == 0)
    divergence = np.clip((divergences[0] + divergences[1]) / 2, 0, 1)
    result: Array = np.where(is_empty, np.nan, divergence)
    return result


def _covariance_traces(features: Array, sums: Array, weights: Array, n_rows: int) -> Array:
    """Computes the traces of the covariances of all halves: [N, D], [B, D], [B, N] -> [B]."""
    squares = weights @ (features * features).sum(1)  # [B]
    traces: Array = (squares - (sums * sums).sum(1) / n_rows) / (n_rows - 1)
    return traces


def _mean_of_pairs(matrix: Array, halves: Halves) -> Array:
    """Averages each half of an [N, N] matrix off its diagonal, which must be 0."""
    weights = halves.astype(np.float64)
    size = weights.sum(1)
    means: Array = ((weights @ matrix) * weights).sum(1) / (size * (size - 1))
    return means
