"""How sure a mean is, and whether a difference is more than noise. Torch-free.

Two kinds of evidence, never mixed. Over seeds: Student's t of the mean, and of the differences of
runs that share a seed. Over pictures, for one seed: random halves of the pictures, drawn without
replacement and the same for every run, on each of which a metric is computed anew. The variance
of a half's mean about the mean of all is exactly that of the mean itself (s^2 / N), and unlike a
resample with replacement a half repeats no picture, which would bias every distance between sets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
SIGNIFICANT = 0.05  # family-wise, after Holm's correction

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence bounds; both None for a single value."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """One mean less another with its 95 % bounds and two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float


def mean_interval(values: ArrayLike) -> Interval:
    """Student's t-interval of the mean of independent values (at least one)."""
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, None, None)
    half = t_quantile(len(array) - 1) * float(array.std(ddof=1)) / len(array) ** 0.5
    return Interval(mean, mean - half, mean + half)


def paired_difference(one: ArrayLike, other: ArrayLike) -> Difference | None:
    """Paired t of values that share a seed, one by one; None for fewer than two.

    Differences that are all the same have no noise to be measured against: p is 1 where they are
    all 0 and None is returned otherwise, for no finite t belongs to them.
    """
    differences = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    n = len(differences)
    if n < 2:
        return None
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / n**0.5
    if error <= 1e-12 * abs(mean):
        return Difference(0.0, 0.0, 0.0, 1.0) if mean == 0 else None
    half = t_quantile(n - 1) * error
    p = _two_sided_p(n - 1, mean / error)
    return Difference(mean, mean - half, mean + half, p)


def half_samples(n: int, count: int, seed: int = 0) -> NDArray[np.bool_]:
    """Random halves of n pictures -> [count, n], True where a picture is in.

    Each draw comes with its complement, so that all pictures are in equally often. With an odd n
    one picture of each pair of halves is in neither.
    """
    chance = np.random.default_rng(seed)
    chosen = np.zeros((count, n), dtype=np.bool_)
    for row in range(0, count, 2):
        order = chance.permutation(n)
        chosen[row, order[: n // 2]] = True
        if row + 1 < count:
            chosen[row + 1, order[n // 2 : 2 * (n // 2)]] = True
    return chosen


def sampled_interval(value: float, replicates: Array, n_pictures: int) -> Interval:
    """The interval about a value from what random halves of the pictures gave.

    Only the spread of the replicates is used, not their place: a distance from half the pictures
    is biased, the spread is not.
    """
    half = t_quantile(n_pictures - 1) * _sampled_error(replicates, n_pictures)
    return Interval(value, value - half, value + half)


def sampled_difference(
    one: float, other: float, replicates_one: Array, replicates_other: Array, n_pictures: int
) -> Difference:
    """The difference of two runs measured on the same random halves, replicate by replicate."""
    mean = one - other
    error = _sampled_error(replicates_one - replicates_other, n_pictures)
    if error <= 1e-12 * abs(mean):
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    half = t_quantile(n_pictures - 1) * error
    p = _two_sided_p(n_pictures - 1, mean / error)
    return Difference(mean, mean - half, mean + half, p)


def _sampled_error(replicates: Array, n_pictures: int) -> float:
    """The standard error of a value on all pictures: the halves' spread, exact for means.

    A half of an odd number is a little less than a half, and spreads a little more.
    """
    size = n_pictures // 2
    return float(replicates.std()) * math.sqrt(size / (n_pictures - size))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for position, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def t_quantile(freedom: int) -> float:
    """Student's t: how many standard errors a 95 % interval reaches to either side."""
    from scipy.special import stdtrit  # a tenth of a second, which listing runs does not wait for

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _two_sided_p(freedom: int, t: float) -> float:
    """How likely Student's t lies at least so far from 0 by chance."""
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -abs(t)))
