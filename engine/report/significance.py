"""Tests the differences between configurations pair by pair, and ranks them. Torch-free."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from engine.metrics import intervals
from engine.metrics.catalog import CATALOG
from engine.records.comparison import Cell, Contrast


def build_contrasts(
    metric: str,
    column: Mapping[str, Cell],
    halves: Mapping[str, intervals.Array | None],
    unit: str,
) -> list[Contrast]:
    """Tests every pair of comparable configurations, except pairs that cannot be tested.

    Args:
        metric: the metric of the column.
        column: configuration -> cell.
        halves: configuration -> the metric's values on random halves of the images; used if the
            unit is `pictures`.
        unit: what the values of a pair are paired by: `seeds` or `pictures`.
    """
    contrasts = []
    for (one, cell), (other, other_cell) in itertools.combinations(_comparable(column).items(), 2):
        if unit == "seeds":
            shared = sorted(set(cell.by_seed) & set(other_cell.by_seed))
            n = len(shared)
            difference = intervals.paired_difference(
                [cell.by_seed[seed] for seed in shared],
                [other_cell.by_seed[seed] for seed in shared],
            )
        else:
            values, other_values = halves[one], halves[other]
            if values is None or other_values is None or len(values) != len(other_values):
                continue
            n = len(values)
            difference = intervals.sampled_difference(
                cell.value or 0.0,
                other_cell.value or 0.0,
                values,
                other_values,
                min(cell.n_pictures, other_cell.n_pictures),
            )
        if difference is not None:
            mean, low, high, p = difference.mean, difference.low, difference.high, difference.p
            contrasts.append(Contrast(metric, one, other, mean, low, high, p, p, unit, n))
    adjusted = intervals.holm([contrast.p for contrast in contrasts])
    return [replace(each, p_holm=p) for each, p in zip(contrasts, adjusted, strict=True)]


def add_ranks(
    column: Mapping[str, Cell], metric: str, contrasts: Sequence[Contrast]
) -> dict[str, Cell]:
    """Adds ranks to the cells: 1 plus the number of significantly better configurations.

    If a pair of comparable cells could not be tested, no rank is added.
    """
    comparable = _comparable(column)
    n_pairs = len(comparable) * (len(comparable) - 1) / 2
    if len(comparable) < 2 or len(contrasts) < n_pairs:
        return dict(column)
    sign = 1 if CATALOG[metric].better == "up" else -1
    n_better = Counter(
        contrast.other if sign * contrast.mean > 0 else contrast.one
        for contrast in contrasts
        if contrast.is_significant
    )
    return {
        name: replace(cell, rank=1 + n_better[name]) if name in comparable else cell
        for name, cell in column.items()
    }


def _comparable(column: Mapping[str, Cell]) -> dict[str, Cell]:
    """Returns the cells with a comparable value."""
    return {
        name: cell
        for name, cell in column.items()
        if cell.value is not None and cell.incomparable is None
    }
