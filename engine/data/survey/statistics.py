"""A source in figures and examples, per split: what the Data page and `data describe` show.

Made once, together with the survey, and stored: whoever shows it computes nothing.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.pairs import Pixels
from engine.data.splits import SPLITS
from engine.data.survey.measurements import Facts
from engine.images import color
from engine.metrics import intervals

PALETTE = 1_000  # pairs whose colours are counted
AB_BINS, AB_REACH = 65, 110.0  # of a and b, each from -110 to 110; grey is in the middle one
BINS = 24  # of histograms over pairs
TABLE_BITS = 6  # of each channel, by which a colour's a and b are looked up
LEVELS = 64  # bins of the values 0..255
CHANNELS = ("source", "red", "green", "blue")
SIZES_SHOWN = 8
QUANTILES = {"least": 0.0, "low": 0.05, "median": 0.5, "high": 0.95, "most": 1.0}
EXAMPLES = 12  # pairs in each order
SHIFT_LEVEL = 0.01  # of the Kolmogorov-Smirnov test, after Holm

# what is compared between splits: label -> column, and which part of it
_MEASURES: dict[str, tuple[str, int | None]] = {
    "colorfulness": ("colorfulness", None),
    "source edges": ("edges", 0),
    "target edges": ("edges", 1),
    "source brightness": ("mean", 0),
}
# how examples are ordered: label -> column, part, whether the largest come first
ORDERS: dict[str, tuple[str, int | None, bool] | None] = {
    "at random": None,
    "most colourful": ("colorfulness", None, True),
    "least colourful": ("colorfulness", None, False),
    "most lines": ("edges", 0, True),
    "fewest lines": ("edges", 0, False),
}


@dataclass(frozen=True)
class Palette:
    """The colours and values of some pairs, counted.

    Attributes:
        names: [M] of the pairs.
        ab: [M, 65, 65] pixels of each a (rows) and b of the target.
        levels: [M, 4, 64] pixels of each value: the source in grey, red, green and blue.
    """

    names: tuple[str, ...]
    ab: NDArray[np.uint16]
    levels: NDArray[np.uint16]


def count_colours(names: Sequence[str], planes: Pixels) -> Palette:
    """Counts the colours of pairs, [4, N, 64, 64] bytes by `facts.to_planes`."""
    red, green, blue = (planes[1:] >> (8 - TABLE_BITS)).astype(np.int32)
    places = _ab_table().take((red << 2 * TABLE_BITS) + (green << TABLE_BITS) + blue)
    levels = [_count(plane >> 2, LEVELS) for plane in planes]
    ab = _count(places, AB_BINS**2).reshape(len(names), AB_BINS, AB_BINS)
    return Palette(tuple(names), ab, np.stack(levels, axis=1))


@cache
def _ab_table() -> NDArray[np.int32]:
    """Red, green and blue to 6 bits each -> the number of the bin of a and b."""
    steps = (np.arange(2**TABLE_BITS) + 0.5) / 2**TABLE_BITS
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij")).reshape(1, 3, -1, 1)
    _, a, b = (it.ravel() for it in color.lab(grid))
    rows, columns = (
        np.clip((it + AB_REACH) * (AB_BINS / (2 * AB_REACH)), 0, AB_BINS - 1).astype(np.int32)
        for it in (a, b)
    )
    found: NDArray[np.int32] = rows * AB_BINS + columns
    return found


def join_palettes(parts: Sequence[Palette]) -> Palette:
    """All pairs of all parts."""
    return Palette(
        tuple(name for part in parts for name in part.names),
        np.concatenate([np.empty((0, AB_BINS, AB_BINS), np.uint16), *(it.ab for it in parts)]),
        np.concatenate([np.empty((0, 4, LEVELS), np.uint16), *(it.levels for it in parts)]),
    )


def summarise(facts: Facts, splits: Sequence[str], palette: Palette) -> dict[str, Any]:
    """Figures of each split that has pairs, and in what the others differ from training."""
    of_split = {split: np.array([it == split for it in splits], bool) for split in SPLITS}
    at = {name: position for position, name in enumerate(facts.names)}
    counted = np.array([at[name] for name in palette.names if name in at], np.intp)
    kept = np.array([name in at for name in palette.names], bool)
    found = {}
    for split, members in of_split.items():
        if not members.any():
            continue
        mine = members[counted]
        found[split] = {
            "pairs": int(members.sum()),
            "sizes": _sizes(facts, members),
            "channels": _channels(facts, members, palette.levels[kept][mine]),
            "measures": {
                label: _spread_of(_column(facts, it), members) for label, it in _MEASURES.items()
            },
            "ab": _shares(palette.ab[kept][mine].sum(0)),
            "palette_pairs": int(mine.sum()),
        }
    return {"splits": found, "shifts": _shifts(facts, of_split)}


def choose_examples(
    facts: Facts, splits: Sequence[str], order_key: Sequence[str]
) -> dict[str, dict[str, list[int]]]:
    """Positions of a few pairs for each split and order.

    Args:
        facts: a row each.
        splits: where each lies.
        order_key: what puts pairs in an order as good as random.
    """
    found: dict[str, dict[str, list[int]]] = {}
    for split in SPLITS:
        members = [position for position, it in enumerate(splits) if it == split]
        if not members:
            continue
        found[split] = {}
        for label, chosen in ORDERS.items():
            if chosen is None:
                ranked = sorted(members, key=lambda position: order_key[position])
            else:
                column, part, largest_first = chosen
                values = _column(facts, (column, part))
                sign = -1 if largest_first else 1
                ranked = sorted(members, key=lambda it: (sign * values[it], it))
            found[split][label] = ranked[:EXAMPLES]
    return found


def _count(places: NDArray[np.integer], bins: int) -> NDArray[np.uint16]:
    """[N, ...] bin numbers -> [N, bins] counts."""
    n = len(places)
    flat = places.reshape(n, math.prod(places.shape[1:])) + np.arange(n)[:, None] * bins
    counts = np.bincount(flat.ravel(), minlength=n * bins).reshape(n, bins)
    return counts.astype(np.uint16)


def _sizes(facts: Facts, members: NDArray[np.bool_]) -> dict[str, Any] | None:
    """The commonest sizes of halves, and how wide their shapes vary; None of drawings."""
    width, height = facts.columns["width"], facts.columns["height"]
    if not width.any():
        return None
    sizes = zip(
        width[members].astype(int).tolist(), height[members].astype(int).tolist(), strict=True
    )
    counts = Counter(sizes)
    common = counts.most_common(SIZES_SHOWN)
    return {
        "common": [{"width": w, "height": h, "pairs": count} for (w, h), count in common],
        "others": counts.total() - sum(count for _, count in common),
        "aspect": _spread_of(width / height, members),
        "megapixels": _spread_of(width * height / 1e6, members),
    }


def _channels(
    facts: Facts, members: NDArray[np.bool_], levels: NDArray[np.uint16]
) -> dict[str, Any]:
    rows = {it: facts.columns[it][members] for it in ("low", "high", "mean", "spread")}
    return {
        name: {
            "low": float(rows["low"][:, channel].min()),
            "high": float(rows["high"][:, channel].max()),
            "mean": float(rows["mean"][:, channel].mean()),
            "spread": float(rows["spread"][:, channel].mean()),
            "levels": _shares(levels[:, channel].sum(0)),
        }
        for channel, name in enumerate(CHANNELS)
    }


def _spread_of(values: NDArray[np.float32], members: NDArray[np.bool_]) -> dict[str, Any]:
    """Quantiles, and a histogram of bins that are the same for all splits."""
    mine = values[members]
    counts, edges = np.histogram(mine, BINS, (float(values.min()), float(values.max())))
    points = {name: float(np.quantile(mine, share)) for name, share in QUANTILES.items()}
    return {**points, "counts": counts.tolist(), "edges": [float(f"{it:.5g}") for it in edges]}


def _shares(counts: NDArray[Any]) -> list[Any]:
    total = max(1, int(counts.sum()))
    shares: list[Any] = (counts / total).round(7).tolist()
    return shares


def _column(facts: Facts, chosen: tuple[str, int | None]) -> NDArray[np.float32]:
    name, part = chosen
    column = facts.columns[name]
    return column if part is None else column[:, part]


def _shifts(facts: Facts, of_split: dict[str, NDArray[np.bool_]]) -> list[dict[str, Any]]:
    """Measures in which a held-out split differs from training by more than chance.

    Two-sample Kolmogorov-Smirnov tests over pictures, with Holm's correction.
    """
    from scipy.stats import ks_2samp  # half a second, which listing runs does not wait for

    tests: list[dict[str, Any]] = []
    for split in ("val", "test"):
        for label, chosen in _MEASURES.items():
            values = _column(facts, chosen)
            here, train = values[of_split[split]], values[of_split["train"]]
            if min(len(here), len(train)) < 2:
                continue
            outcome = ks_2samp(here, train)
            tests.append(
                {
                    "split": split,
                    "measure": label,
                    "distance": float(outcome.statistic),
                    "p": float(outcome.pvalue),
                    "median": float(np.median(here)),
                    "train_median": float(np.median(train)),
                }
            )
    for test, p in zip(tests, intervals.holm([test["p"] for test in tests]), strict=True):
        test["p"] = p
    tests.sort(key=itemgetter("p"))
    return [test for test in tests if test["p"] < SHIFT_LEVEL]
