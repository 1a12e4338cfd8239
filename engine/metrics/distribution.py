"""Distances between two sets of feature vectors: pure, float64, numpy or torch in.

The Frechet distance goes by the nuclear norm of products of the centred features, which is exact
where routes through eigenvalues of a product of covariances lose seven digits.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import RefusedMetricError

Matrix = NDArray[np.float64]


def fid(real: ArrayLike, fake: ArrayLike) -> float:
    """Frechet distance of two Gaussians fitted to features (Heusel et al. 2017, equation 6).

    |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2), with covariances of divisor N - 1. The last
    trace is the nuclear norm of X1 X2^T (centred, scaled), taken directly when there are fewer
    rows than columns, and of R1 R2^T of their QR factors otherwise.

    Args:
        real: [N, D] features.
        fake: [M, D] features of the same network.

    Raises:
        RefusedMetricError: fewer than two rows, constant or non-finite features.
    """
    x, y = _checked(real, "target"), _checked(fake, "generated")
    difference = x.mean(0) - y.mean(0)
    x = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    y = (y - y.mean(0)) / (len(y) - 1) ** 0.5
    if not np.any(x) or not np.any(y):
        raise RefusedMetricError("the features of one set are all the same: constant pictures")
    product = x @ y.T if min(len(x), len(y)) < x.shape[1] else _triangle(x) @ _triangle(y).T
    nuclear = float(np.linalg.svd(product, compute_uv=False).sum())
    traces = float(np.sum(x * x)) + float(np.sum(y * y))
    return float(difference @ difference) + traces - 2 * nuclear


def kid(
    real: ArrayLike,
    fake: ArrayLike,
    subset_size: int | None = 1000,
    subsets: int = 100,
    seed: int = 0,
) -> float:
    """Kernel distance: unbiased squared MMD with the kernel (x.y / D + 1)^3.

    Binkowski et al. 2018, section 4. Near 0 for the same distribution; a small negative value
    is legitimate.

    Args:
        real: [N, D] features.
        fake: [M, D] features of the same network.
        subset_size: rows drawn for each estimate; None: one estimate from all rows.
        subsets: how many estimates are averaged.
        seed: of the draws.

    Raises:
        RefusedMetricError: fewer than two rows, or than `subset_size`; non-finite features.
    """
    x, y = _checked(real, "target"), _checked(fake, "generated")
    if subset_size is None:
        return _mmd(x, y)
    if subset_size > min(len(x), len(y)):
        raise RefusedMetricError(
            f"subset_size must be at most {min(len(x), len(y))}, the number of pictures, not "
            f"{subset_size}; None uses them all at once"
        )
    chance = np.random.RandomState(seed)
    estimates = []
    for _ in range(subsets):
        chosen_x = x[chance.choice(len(x), subset_size, replace=False)]
        chosen_y = y[chance.choice(len(y), subset_size, replace=False)]
        estimates.append(_mmd(chosen_x, chosen_y))
    return float(np.mean(estimates))


def _triangle(x: Matrix) -> Matrix:
    """The factor R of x = QR."""
    return np.asarray(np.linalg.qr(x, mode="r"), dtype=np.float64)


def _mmd(x: Matrix, y: Matrix) -> float:
    n, m = len(x), len(y)
    within_x, within_y, between = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    first = (within_x.sum() - np.trace(within_x)) / (n * (n - 1))
    second = (within_y.sum() - np.trace(within_y)) / (m * (m - 1))
    return float(first + second - 2 * between.mean())


def _kernel(x: Matrix, y: Matrix) -> Matrix:
    cubed: Matrix = (x @ y.T / x.shape[1] + 1) ** 3
    return cubed


def _checked(features: ArrayLike, label: str) -> Matrix:
    """As float64 [N, D] on the CPU, or the reason why no distance can rest on it."""
    values = features.detach().cpu().numpy() if hasattr(features, "detach") else features
    array: Matrix = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise RefusedMetricError(
            f"features must be [pictures, dimensions], not of shape {array.shape}"
        )
    if len(array) < 2:
        raise RefusedMetricError(f"{len(array)} {label} pictures: a distance needs at least two")
    if not np.isfinite(array).all():
        raise RefusedMetricError(f"the features of the {label} pictures are not finite")
    return array
