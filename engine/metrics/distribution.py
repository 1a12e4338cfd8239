"""Distances between two sets of feature vectors: pure, float64, numpy or torch in.

The Frechet distance goes by the nuclear norm of products of the centred features, which is exact
where routes through eigenvalues of a product of covariances lose seven digits.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.linalg import blas, lapack
from torch import Tensor

from engine.errors import RefusedMetricError
from engine.metrics import feature_matrix
from engine.metrics.feature_matrix import Matrix

CONSTANT = "the features of one set are all the same: constant pictures"
WELL_CONDITIONED = 1e-11  # smallest to largest eigenvalue from which a square root loses no digit


@dataclass(frozen=True)
class KernelDistance:
    """A kernel distance and how far it may be off by the choice of pictures."""

    value: float
    standard_error: float


@dataclass(frozen=True)
class InceptionScore:
    """Mean and population standard deviation over the splits."""

    mean: float
    std: float


def fid(real: ArrayLike, fake: ArrayLike) -> float:
    """Frechet distance of two Gaussians fitted to features (Heusel et al. 2017, equation 6).

    |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2), with covariances of divisor N - 1. The last
    trace is the nuclear norm of X1 X2^T (centred, scaled), taken directly where there are fewer
    rows than columns. Otherwise it is the sum of the roots of the eigenvalues of L^T S2 L with
    S1 = L L^T, where those are well away from 0, and the nuclear norm of R1 R2^T of the QR
    factors where they are not.

    Args:
        real: [N, D] features.
        fake: [M, D] features of the same network.

    Raises:
        RefusedMetricError: fewer than two rows, constant or non-finite features.
    """
    x, y = feature_matrix.checked(real, "target"), feature_matrix.checked(fake, "generated")
    feature_matrix.alike(x, y)
    difference = x.mean(0) - y.mean(0)
    x, y = _scaled(x), _scaled(y)
    if not np.any(x) or not np.any(y):
        raise RefusedMetricError(CONSTANT)
    if min(len(x), len(y)) <= x.shape[1]:
        shared = _nuclear_norm(torch.from_numpy(x) @ torch.from_numpy(y).T)
    else:
        shared = _root_trace(x, y)
    traces = float(np.vdot(x, x)) + float(np.vdot(y, y))
    return float(difference @ difference) + traces - 2 * shared


def fid_from_statistics(
    real_mean: ArrayLike,
    real_covariance: ArrayLike,
    fake_mean: ArrayLike,
    fake_covariance: ArrayLike,
) -> float:
    """The same distance from stored means [D] and covariances [D, D].

    Less exact than from features where a covariance is singular: what is null there is known
    only to half the digits. By the nuclear norm of the product of both symmetric roots.

    Raises:
        RefusedMetricError: shapes that do not match, non-finite values, a covariance that is
            not symmetric and non-negative.
    """
    means = [
        feature_matrix.vector(real_mean, "target"),
        feature_matrix.vector(fake_mean, "generated"),
    ]
    roots, traces = [], 0.0
    for given, mean, label in (
        (real_covariance, means[0], "target"),
        (fake_covariance, means[1], "generated"),
    ):
        covariance = feature_matrix.covariance(given, len(mean), label)
        values, vectors = torch.linalg.eigh(covariance)
        floor = len(mean) * torch.finfo(torch.float64).eps * float(values.abs().max())
        if float(values.min()) < -1e3 * floor:
            raise RefusedMetricError(
                f"the covariance of the {label} pictures has the negative eigenvalue "
                f"{float(values.min()):.3g}"
            )
        kept = values > floor
        roots.append(vectors[:, kept] * values[kept].sqrt())
        traces += float(covariance.trace())
    if len(means[0]) != len(means[1]):
        raise RefusedMetricError(f"{len(means[0])} and {len(means[1])} dimensions do not compare")
    difference = means[0] - means[1]
    return float(difference @ difference) + traces - 2 * _nuclear_norm(roots[0].T @ roots[1])


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
    x, y = feature_matrix.checked(real, "target"), feature_matrix.checked(fake, "generated")
    feature_matrix.alike(x, y)
    if subset_size is None:
        return _mmd(polynomial_kernel(x, x), polynomial_kernel(y, y), polynomial_kernel(x, y))
    if not 2 <= subset_size <= min(len(x), len(y)):
        raise RefusedMetricError(
            f"subset_size must be from 2 to {min(len(x), len(y))}, the number of pictures, not "
            f"{subset_size}; None uses them all at once"
        )
    if subsets < 1:
        raise RefusedMetricError(f"subsets must be at least 1, not {subsets}")
    chance = np.random.RandomState(seed)
    estimates = []
    for _ in range(subsets):
        chosen_x = x[chance.choice(len(x), subset_size, replace=False)]
        chosen_y = y[chance.choice(len(y), subset_size, replace=False)]
        kernels = (polynomial_kernel(a, b) for a, b in _pairs(chosen_x, chosen_y))
        estimates.append(_mmd(*kernels))
    return float(np.mean(estimates))


def kernel_distance(real: ArrayLike, fake: ArrayLike) -> KernelDistance:
    """The unbiased kernel distance of pictures and the fakes made for them, row by row.

    A fake resembles its own target more than another's, so the pairs themselves are left out
    (Gretton et al. 2012, equation 4). `kid`, meant for independent sets, keeps them and is biased
    low here, by 2 / N times what a pair's kernel exceeds a stranger's.

    Args:
        real: [N, D] features of the targets.
        fake: [N, D] features of the fakes, in the same order.

    Returns:
        The distance and its standard error over pictures, the delete-one jackknife's (Efron and
        Stein 1981).

    Raises:
        RefusedMetricError: fewer than three rows, or not as many; non-finite features.
    """
    x, y = feature_matrix.checked(real, "target"), feature_matrix.checked(fake, "generated")
    feature_matrix.alike(x, y)
    n = len(x)
    if len(y) != n or n < 3:
        raise RefusedMetricError(f"{n} targets and {len(y)} fakes: three or more pairs are needed")
    for rows in (x, y):
        if not np.any(rows - rows[0]):
            raise RefusedMetricError(CONSTANT)
    kernel = paired_kernel(x, y)
    total = float(kernel.sum())
    without = (total - 2 * kernel.sum(1)) / ((n - 1) * (n - 2))
    error = np.sqrt((n - 1) * np.var(without))
    return KernelDistance(total / (n * (n - 1)), float(error))


def inception_score(logits: ArrayLike, splits: int = 10, seed: int | None = 2020) -> InceptionScore:
    """How sure and how varied the classes are: exp of the mean KL (Salimans et al. 2016).

    Biased low by short splits: 1,000 perfect pictures of 10 classes give 9.52 in 10 splits.

    Args:
        logits: [N, K] class scores before the softmax.
        splits: parts that are measured for themselves.
        seed: of the shuffle before splitting; None: as they come.

    Raises:
        RefusedMetricError: fewer than two pictures or than splits; non-finite scores.
    """
    scores = feature_matrix.checked(logits, "generated")
    if not 1 <= splits <= len(scores):
        raise RefusedMetricError(
            f"splits must be from 1 to {len(scores)}, the number of pictures, not {splits}"
        )
    if seed is not None:
        scores = scores[np.random.RandomState(seed).permutation(len(scores))]
    log_p = torch.from_numpy(scores).log_softmax(1)
    bounds = [part * len(scores) // splits for part in range(splits + 1)]
    found = []
    for start, end in itertools.pairwise(bounds):
        part = log_p[start:end]
        marginal = (part.logsumexp(0, keepdim=True) - np.log(end - start)).clamp(min=-1e300)
        divergence = (part.exp() * (part - marginal)).nan_to_num(0.0).sum(1)
        found.append(float(divergence.mean().exp()))
    return InceptionScore(float(np.mean(found)), float(np.std(found)))


def polynomial_kernel(x: Matrix, y: Matrix) -> Matrix:
    """(x.y / D + 1)^3 of all pairs of rows -> [N, M]."""
    cubed: Matrix = (x @ y.T / x.shape[1] + 1) ** 3
    return cubed


def paired_kernel(x: Matrix, y: Matrix) -> Matrix:
    """What each two pairs add to the kernel distance -> symmetric [N, N], 0 on the diagonal."""
    between = polynomial_kernel(x, y)
    found = polynomial_kernel(x, x) + polynomial_kernel(y, y) - between - between.T
    np.fill_diagonal(found, 0.0)
    return found


def _pairs(x: Matrix, y: Matrix) -> tuple[tuple[Matrix, Matrix], ...]:
    return (x, x), (y, y), (x, y)


def _mmd(of_x: Matrix, of_y: Matrix, between: Matrix) -> float:
    n, m = between.shape
    within = _off_diagonal(of_x) / (n * (n - 1)) + _off_diagonal(of_y) / (m * (m - 1))
    return float(within - 2 * between.mean())


def _off_diagonal(kernel: Matrix) -> float:
    return float(kernel.sum() - np.trace(kernel))


def _scaled(x: Matrix) -> Matrix:
    """Centred, and divided so that X^T X is the covariance."""
    centred: Matrix = x - x.mean(0)
    centred /= (len(x) - 1) ** 0.5
    return centred


def _root_trace(x: Matrix, y: Matrix) -> float:
    """The trace of (S1 S2)^(1/2): by Cholesky, or by QR where an eigenvalue is too near 0.

    One triangle of each symmetric matrix is enough: BLAS and LAPACK compute and read no other.
    """
    one, other = (blas.dsyrk(1.0, it.T, lower=1) for it in (x, y))
    factor, failed = lapack.dpotrf(one, lower=1, overwrite_a=1)
    if not failed:
        reduced, _ = lapack.dsygst(other, factor, itype=2, lower=1, overwrite_a=1)  # L^T S2 L
        values = torch.linalg.eigvalsh(torch.from_numpy(reduced), UPLO="L")
        if float(values[0]) > WELL_CONDITIONED * float(values[-1]):
            return float(values.sqrt().sum())
    return _nuclear_norm(_triangle(x) @ _triangle(y).T)


def _triangle(x: Matrix) -> Tensor:
    """The factor R of x = QR."""
    factor: Tensor = torch.linalg.qr(torch.from_numpy(x), mode="r").R
    return factor


def _nuclear_norm(matrix: Tensor) -> float:
    return float(torch.linalg.svdvals(matrix).sum())
