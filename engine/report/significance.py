"""Whether configurations differ, pair by pair, and the ranks that follow. Torch-free."""

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
    """Every pair of comparable configurations that can be tested."""
    comparable = {
        name: cell
        for name, cell in column.items()
        if cell.value is not None and cell.incomparable is None
    }
    found = []
    for (one, a), (other, b) in itertools.combinations(comparable.items(), 2):
        if unit == "seeds":
            shared = sorted(set(a.by_seed) & set(b.by_seed))
            n = len(shared)
            difference = intervals.paired_difference(
                [a.by_seed[seed] for seed in shared], [b.by_seed[seed] for seed in shared]
            )
        else:
            mine, theirs = halves[one], halves[other]
            if mine is None or theirs is None or len(mine) != len(theirs):
                continue
            n = len(mine)
            means = (a.value or 0.0, b.value or 0.0)
            pictures = min(a.n_pictures, b.n_pictures)
            difference = intervals.sampled_difference(*means, mine, theirs, pictures)
        if difference is not None:
            mean, low, high, p = difference.mean, difference.low, difference.high, difference.p
            found.append(Contrast(metric, one, other, mean, low, high, p, p, unit, n))
    adjusted = intervals.holm([it.p for it in found])
    return [replace(it, p_holm=p) for it, p in zip(found, adjusted, strict=True)]


def ranked(
    column: Mapping[str, Cell], metric: str, contrasts: Sequence[Contrast]
) -> dict[str, Cell]:
    """The cells with their ranks: one more than the number of those that are clearly better.

    No rank where not every pair of comparable cells could be tested.
    """
    comparable = [
        name
        for name, cell in column.items()
        if cell.value is not None and cell.incomparable is None
    ]
    if len(comparable) < 2 or len(contrasts) < len(comparable) * (len(comparable) - 1) / 2:
        return dict(column)
    sign = 1 if CATALOG[metric].better == "up" else -1
    losses = Counter(it.other if sign * it.mean > 0 else it.one for it in contrasts if it.is_clear)
    return {
        name: replace(cell, rank=1 + losses[name]) if name in comparable else cell
        for name, cell in column.items()
    }
