"""Computes confidence intervals, tests of differences and Holm's correction. Torch-free.

There are two kinds of intervals, which are never mixed. Intervals over seeds use Student's t for
the mean, and for the differences between runs with equal seeds. Intervals over images, for one
seed, use a metric's values on random halves of the images. The halves are drawn without
replacement and are the same for every run. The variance of a half's mean about the mean of all
images is exactly the variance of the mean of all images (s^2 / N). Halves contain no image twice;
in resamples with replacement, repeated images would bias every distance between sets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence bounds; both bounds are None for a single value."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """The difference of two means with its 95 % bounds and two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float


def mean_interval(values: ArrayLike) -> Interval:
    """Computes Student's t-interval of the mean of independent values (at least one)."""
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, None, None)
    half_width = t_quantile(len(array) - 1) * float(array.std(ddof=1)) / len(array) ** 0.5
    return Interval(mean, mean - half_width, mean + half_width)


def paired_difference(one: ArrayLike, other: ArrayLike) -> Difference | None:
    """Tests two configurations by a paired t-test over the same seeds.

    Returns None for fewer than two seeds. If all differences are equal, their standard error is 0:
    the p-value is then 1 if the differences are 0, otherwise the result is None.
    """
    differences = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    n = len(differences)
    if n < 2:
        return None
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / n**0.5
    if error <= 1e-12 * abs(mean):
        return Difference(0.0, 0.0, 0.0, 1.0) if mean == 0 else None
    half_width = t_quantile(n - 1) * error
    p = _two_sided_p(n - 1, mean / error)
    return Difference(mean, mean - half_width, mean + half_width, p)


def half_samples(n: int, count: int, seed: int = 0) -> NDArray[np.bool_]:
    """Draws random halves of n images -> [count, n], True for an image in the half.

    Halves are drawn in pairs without a common image, so every image is in equally many halves if n
    and `count` are even. If n is odd, one random image is in neither half of a pair.
    """
    generator = np.random.default_rng(seed)
    halves = np.zeros((count, n), dtype=np.bool_)
    for row in range(0, count, 2):
        order = generator.permutation(n)
        halves[row, order[: n // 2]] = True
        if row + 1 < count:
            halves[row + 1, order[n // 2 : 2 * (n // 2)]] = True
    return halves


def sampled_interval(value: float, replicates: Array, n_images: int) -> Interval:
    """Computes the interval of a value from the metric's values on random halves of the images.

    Only the spread of these replicates is used, not their mean, because the mean of a distance on
    half the images is biased and the spread is not.
    """
    half_width = t_quantile(n_images - 1) * _half_sampling_error(replicates, n_images)
    return Interval(value, value - half_width, value + half_width)


def sampled_difference(
    one: float, other: float, replicates_one: Array, replicates_other: Array, n_images: int
) -> Difference:
    """Tests the difference between two runs by the values on the same random halves."""
    mean = one - other
    error = _half_sampling_error(replicates_one - replicates_other, n_images)
    if error <= 1e-12 * abs(mean):
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    half_width = t_quantile(n_images - 1) * error
    p = _two_sided_p(n_images - 1, mean / error)
    return Difference(mean, mean - half_width, mean + half_width, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for their number (Holm 1979), and keeps their order."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for position, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def t_quantile(freedom: int) -> float:
    """Returns half the width of a 95 % interval in standard errors, by Student's t.

    Args:
        freedom: the degrees of freedom.
    """
    from scipy.special import stdtrit  # this import takes 0.1 s; most commands do not need it

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _half_sampling_error(replicates: Array, n_images: int) -> float:
    """Estimates the standard error of a value of all images by the spread over the halves.

    The estimate is unbiased for means. If the number of images is odd, a half has fewer than half
    of the images, and the values spread more. The square root corrects this excess.
    """
    size = n_images // 2
    return float(replicates.std()) * math.sqrt(size / (n_images - size))


def _two_sided_p(freedom: int, t: float) -> float:
    """Returns the probability that the absolute value of Student's t is at least `abs(t)`."""
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -abs(t)))
