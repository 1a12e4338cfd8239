"""How sure a mean is. Torch-free."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence bounds; both None for a single value."""

    mean: float
    low: float | None
    high: float | None


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's t-interval of the mean of independent values (at least one)."""
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, None, None)
    quantile = float(stdtrit(len(array) - 1, 0.5 + confidence / 2))
    half = quantile * float(array.std(ddof=1)) / len(array) ** 0.5
    return Interval(mean, mean - half, mean + half)


def ranks(intervals: Sequence[Interval], larger_is_better: bool) -> list[int | None]:
    """Ranks from 1; who is not clearly worse than nobody ahead shares the rank.

    One is clearly better than another when their intervals do not touch. A rank is one more than
    the number of those clearly better. Without intervals there is no telling: None.
    """
    found: list[int | None] = []
    for mine in intervals:
        if mine.low is None or mine.high is None or any(it.low is None for it in intervals):
            found.append(None)
            continue
        better = 0
        for other in intervals:
            assert other.low is not None
            assert other.high is not None
            better += other.low > mine.high if larger_is_better else other.high < mine.low
        found.append(1 + better)
    return found
