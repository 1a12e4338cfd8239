"""Computes distances between sets of features, and the Inception Score, in float64.

The public metrics take numpy arrays or torch tensors. `fid` computes the trace of a matrix root as
a nuclear norm or by a Cholesky factor. Both methods are accurate, whereas the usual method, the
eigenvalues of a product of covariances, loses seven digits.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.linalg import blas, lapack
from torch import Tensor

from engine.errors import RefusedMetricError
from engine.metrics.feature_matrix import Matrix, as_feature_matrix, require_same_width

CONSTANT_FEATURES = "the features of one set are all equal: constant pictures"
# If the ratio of the smallest to the largest eigenvalue is greater than this limit, the sum of the
# roots of the eigenvalues loses no digit.
MIN_EIGENVALUE_RATIO = 1e-11


@dataclass(frozen=True)
class InceptionScore:
    """Mean and population standard deviation of the Inception Score over the splits."""

    mean: float
    std: float


def fid(real: ArrayLike, fake: ArrayLike) -> float:
    """Computes the Frechet distance of Gaussians fitted to features (Heusel et al. 2017, eq. 6).

    The distance is |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2), with covariances of divisor
    N - 1. If a set has no more rows than columns, the last trace is the nuclear norm of X1 X2^T,
    where X1 and X2 are the centred and scaled features. Otherwise the last trace is the sum of the
    roots of the eigenvalues of L^T S2 L with S1 = L L^T. If one of these eigenvalues is close to 0,
    the last trace is the nuclear norm of R1 R2^T, where R1 and R2 are QR factors.

    Args:
        real: [N, D] features.
        fake: [M, D] features of the same network.

    Raises:
        RefusedMetricError: fewer than two rows, constant or non-finite features, or different
            numbers of columns.
    """
    x, y = _as_feature_matrices(real, fake)
    difference = x.mean(0) - y.mean(0)
    x, y = _centred_and_scaled(x), _centred_and_scaled(y)
    if not np.any(x) or not np.any(y):
        raise RefusedMetricError(CONSTANT_FEATURES)
    if min(len(x), len(y)) <= x.shape[1]:
        root_trace = _nuclear_norm(torch.from_numpy(x) @ torch.from_numpy(y).T)
    else:
        root_trace = _trace_of_root(x, y)
    traces = float(np.vdot(x, x)) + float(np.vdot(y, y))
    return float(difference @ difference) + traces - 2 * root_trace


def kid(
    real: ArrayLike,
    fake: ArrayLike,
    subset_size: int | None = 1000,
    subsets: int = 100,
    seed: int = 0,
) -> float:
    """Computes the kernel distance: unbiased squared MMD with the kernel (x.y / D + 1)^3.

    The distance (Binkowski et al. 2018, section 4) is near 0 for equal distributions, and can then
    be slightly negative.

    Args:
        real: [N, D] features.
        fake: [M, D] features of the same network.
        subset_size: the number of rows drawn for each estimate; None: one estimate from all rows.
        subsets: the number of estimates that are averaged.
        seed: the seed of the draws.

    Raises:
        RefusedMetricError: fewer rows than two or than `subset_size`, no subsets, non-finite
            features, or different numbers of columns.
    """
    x, y = _as_feature_matrices(real, fake)
    if subset_size is None:
        return _unbiased_squared_mmd(x, y)
    if not 2 <= subset_size <= min(len(x), len(y)):
        raise RefusedMetricError(
            f"subset_size must be from 2 to {min(len(x), len(y))}, the number of pictures, not "
            f"{subset_size}; None uses them all at once"
        )
    if subsets < 1:
        raise RefusedMetricError(f"subsets must be at least 1, not {subsets}")
    generator = np.random.RandomState(seed)
    estimates = []
    for _ in range(subsets):
        x_rows = x[generator.choice(len(x), subset_size, replace=False)]
        y_rows = y[generator.choice(len(y), subset_size, replace=False)]
        estimates.append(_unbiased_squared_mmd(x_rows, y_rows))
    return float(np.mean(estimates))


def kernel_distance(real: ArrayLike, fake: ArrayLike) -> float:
    """Computes the unbiased kernel distance of targets and fakes that are paired by row.

    A fake resembles its own target more than another target, so the kernel values of the pairs
    are excluded (Gretton et al. 2012, equation 4). `kid` assumes independent sets and includes
    these values. For paired sets, `kid` would be too low by 2 (p - q) / N, where p is the mean
    kernel value of a fake with its own target, and q with another target.

    Args:
        real: [N, D] features of the targets.
        fake: [N, D] features of the fakes, in the same order.

    Raises:
        RefusedMetricError: fewer than three rows, different numbers of rows, constant or
            non-finite features.
    """
    x, y = _as_feature_matrices(real, fake)
    n = len(x)
    if len(y) != n or n < 3:
        raise RefusedMetricError(f"{n} targets and {len(y)} fakes: three or more pairs are needed")
    for rows in (x, y):
        if not np.any(rows - rows[0]):
            raise RefusedMetricError(CONSTANT_FEATURES)
    return float(paired_kernel(x, y).sum()) / (n * (n - 1))


def inception_score(logits: ArrayLike, splits: int = 10, seed: int | None = 2020) -> InceptionScore:
    """Computes exp of the mean KL divergence from the marginal (Salimans et al. 2016).

    The Inception Score is high if the class of each picture is certain and the classes vary. Short
    splits bias the score downward: 1,000 perfect pictures of 10 classes give 9.52 in 10 splits.

    Args:
        logits: [N, K] class scores before the softmax.
        splits: the number of parts whose scores are averaged.
        seed: the seed of the shuffle before the split; None: no shuffle.

    Raises:
        RefusedMetricError: fewer pictures than two or than splits; non-finite scores.
    """
    scores = as_feature_matrix(logits, "generated")
    if not 1 <= splits <= len(scores):
        raise RefusedMetricError(
            f"splits must be from 1 to {len(scores)}, the number of pictures, not {splits}"
        )
    if seed is not None:
        scores = scores[np.random.RandomState(seed).permutation(len(scores))]
    log_p = torch.from_numpy(scores).log_softmax(1)  # [N, K]
    bounds = [part * len(scores) // splits for part in range(splits + 1)]
    split_scores = []
    for start, end in itertools.pairwise(bounds):
        part = log_p[start:end]
        marginal = (part.logsumexp(0, keepdim=True) - np.log(end - start)).clamp(min=-1e300)
        divergence = (part.exp() * (part - marginal)).nan_to_num(0.0).sum(1)
        split_scores.append(float(divergence.mean().exp()))
    return InceptionScore(float(np.mean(split_scores)), float(np.std(split_scores)))


def polynomial_kernel(x: Matrix, y: Matrix) -> Matrix:
    """Computes (x.y / D + 1)^3 of all pairs of rows: [N, D], [M, D] -> [N, M]."""
    cubed: Matrix = (x @ y.T / x.shape[1] + 1) ** 3
    return cubed


def paired_kernel(x: Matrix, y: Matrix) -> Matrix:
    """Computes the terms of the kernel distance, one for each two pairs of a target and its fake.

    The shapes are [N, D], [N, D] -> [N, N]. The result is symmetric, with a diagonal of 0.
    """
    between = polynomial_kernel(x, y)
    contributions = polynomial_kernel(x, x) + polynomial_kernel(y, y) - between - between.T
    np.fill_diagonal(contributions, 0.0)
    return contributions


def _as_feature_matrices(real: ArrayLike, fake: ArrayLike) -> tuple[Matrix, Matrix]:
    """Converts two sets to float64 matrices, and refuses sets of different widths."""
    x, y = as_feature_matrix(real, "target"), as_feature_matrix(fake, "generated")
    require_same_width(x, y)
    return x, y


def _unbiased_squared_mmd(x: Matrix, y: Matrix) -> float:
    """Estimates the squared MMD, without bias, of two independent sets [N, D] and [M, D]."""
    within_x, within_y = polynomial_kernel(x, x), polynomial_kernel(y, y)
    between = polynomial_kernel(x, y)
    n, m = between.shape
    within = _off_diagonal_sum(within_x) / (n * (n - 1))
    within += _off_diagonal_sum(within_y) / (m * (m - 1))
    return float(within - 2 * between.mean())


def _off_diagonal_sum(kernel: Matrix) -> float:
    return float(kernel.sum() - np.trace(kernel))


def _centred_and_scaled(x: Matrix) -> Matrix:
    """Centres and scales x to a matrix X, so that X^T X is the covariance of x."""
    centred: Matrix = x - x.mean(0)
    centred /= (len(x) - 1) ** 0.5
    return centred


def _trace_of_root(x: Matrix, y: Matrix) -> float:
    """Computes the trace of (S1 S2)^(1/2): by Cholesky, or by QR if an eigenvalue is near 0.

    BLAS and LAPACK read and write one triangle of a symmetric matrix only.
    """
    one, other = (blas.dsyrk(1.0, features.T, lower=1) for features in (x, y))  # S1, S2
    factor, failed = lapack.dpotrf(one, lower=1, overwrite_a=1)
    if not failed:
        reduced, _ = lapack.dsygst(other, factor, itype=2, lower=1, overwrite_a=1)  # L^T S2 L
        values = torch.linalg.eigvalsh(torch.from_numpy(reduced), UPLO="L")
        if float(values[0]) > MIN_EIGENVALUE_RATIO * float(values[-1]):
            return float(values.sqrt().sum())
    return _nuclear_norm(_qr_triangle(x) @ _qr_triangle(y).T)


def _qr_triangle(x: Matrix) -> Tensor:
    """Returns the factor R of x = QR."""
    factor: Tensor = torch.linalg.qr(torch.from_numpy(x), mode="r").R
    return factor


def _nuclear_norm(matrix: Tensor) -> float:
    return float(torch.linalg.svdvals(matrix).sum())
