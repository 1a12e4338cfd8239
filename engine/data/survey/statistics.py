"""Computes the statistics and picks the examples that the Data page and `data describe` show.

Statistics and examples are computed once, while the survey is made, and stored with the survey.
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

from engine.data.pairs import SPLITS, Pixels
from engine.data.survey.measurements import PairMeasurements
from engine.images import color
from engine.metrics import intervals

COLOUR_SAMPLE_PAIRS = 1_000  # pairs whose colours are counted
AB_BINS, AB_RANGE = 65, 110.0  # bins of a and b, each from -110 to 110; grey is in the middle bin
HISTOGRAM_BINS = 24
LEVEL_BINS = 64  # bins of the pixel values 0 to 255
TABLE_BITS = 6  # bits per channel in the table of a/b bins
CHANNELS = ("source", "red", "green", "blue")
MAX_COMMON_SIZES = 8
QUANTILES = {"least": 0.0, "low": 0.05, "median": 0.5, "high": 0.95, "most": 1.0}
EXAMPLES_PER_ORDER = 12
SHIFT_LEVEL = 0.01  # significance level of the tests for differences between splits

# Measures that are compared between splits: label -> (column, part of the column or None).
_MEASURES: dict[str, tuple[str, int | None]] = {
    "colorfulness": ("colorfulness", None),
    "source edges": ("edges", 0),
    "target edges": ("edges", 1),
    "source brightness": ("mean", 0),
}
# Orders of the examples: label -> (column, part of the column or None, largest first).
ORDERS: dict[str, tuple[str, int | None, bool] | None] = {
    "at random": None,
    "most colourful": ("colorfulness", None, True),
    "least colourful": ("colorfulness", None, False),
    "most lines": ("edges", 0, True),
    "fewest lines": ("edges", 0, False),
}


@dataclass(frozen=True)
class ColourHistograms:
    """Histograms of the colours and pixel values of some pairs.

    Attributes:
        names: [M] names of the pairs.
        ab: [M, 65, 65] pixel counts for each bin of a (rows) and b (columns) of the target.
        levels: [M, 4, 64] pixel counts for each bin of the values of the grey source, and of red,
            green and blue of the target.
    """

    names: tuple[str, ...]
    ab: NDArray[np.uint16]
    levels: NDArray[np.uint16]


def count_colours(names: Sequence[str], planes: Pixels) -> ColourHistograms:
    """Counts the colours and pixel values of pairs.

    Args:
        names: [N] names of the pairs.
        planes: [4, N, 64, 64] bytes from `measurements.to_planes`.
    """
    red, green, blue = (planes[1:] >> (8 - TABLE_BITS)).astype(np.int32)
    bins = _ab_bins().take((red << 2 * TABLE_BITS) + (green << TABLE_BITS) + blue)
    ab = _count(bins, AB_BINS**2).reshape(len(names), AB_BINS, AB_BINS)
    levels = [_count(plane >> 2, LEVEL_BINS) for plane in planes]
    return ColourHistograms(tuple(names), ab, np.stack(levels, axis=1))


@cache
def _ab_bins() -> NDArray[np.int32]:
    """Builds a table from red, green and blue (6 bits each) to the index of the a/b bin."""
    values = (np.arange(2**TABLE_BITS) + 0.5) / 2**TABLE_BITS
    colours = np.stack(np.meshgrid(values, values, values, indexing="ij")).reshape(1, 3, -1, 1)
    _, a, b = (component.ravel() for component in color.srgb_to_lab(colours))
    rows, columns = (
        np.clip((values + AB_RANGE) * (AB_BINS / (2 * AB_RANGE)), 0, AB_BINS - 1).astype(np.int32)
        for values in (a, b)
    )
    bins: NDArray[np.int32] = rows * AB_BINS + columns
    return bins


def join_histograms(parts: Sequence[ColourHistograms]) -> ColourHistograms:
    """Concatenates parts of the histograms, in order."""
    no_ab = np.empty((0, AB_BINS, AB_BINS), np.uint16)
    no_levels = np.empty((0, 4, LEVEL_BINS), np.uint16)
    return ColourHistograms(
        tuple(name for part in parts for name in part.names),
        np.concatenate([no_ab, *(part.ab for part in parts)]),
        np.concatenate([no_levels, *(part.levels for part in parts)]),
    )


def summarise(
    measurements: PairMeasurements, splits: Sequence[str], histograms: ColourHistograms
) -> dict[str, Any]:
    """Computes the statistics of each split that has pairs, and the shifts between splits.

    Args:
        measurements: the measurements of all pairs.
        splits: the split of each pair.
        histograms: the histograms of a sample of the pairs.
    """
    is_in_split = {name: np.array([split == name for split in splits], bool) for name in SPLITS}
    positions = {name: position for position, name in enumerate(measurements.names)}
    is_measured = np.array([name in positions for name in histograms.names], bool)
    positions_of_histograms = np.array(
        [positions[name] for name in histograms.names if name in positions], np.intp
    )
    statistics = {}
    for split, is_member in is_in_split.items():
        if not is_member.any():
            continue
        of_split = is_member[positions_of_histograms]
        statistics[split] = {
            "pairs": int(is_member.sum()),
            "sizes": _sizes(measurements, is_member),
            "channels": _channels(
                measurements, is_member, histograms.levels[is_measured][of_split]
            ),
            "measures": {
                label: _distribution(_column(measurements, *measure), is_member)
                for label, measure in _MEASURES.items()
            },
            "ab": _shares(histograms.ab[is_measured][of_split].sum(0)),
            "palette_pairs": int(of_split.sum()),
        }
    return {"splits": statistics, "shifts": _shifts(measurements, is_in_split)}


def pick_examples(
    measurements: PairMeasurements, splits: Sequence[str], shuffle_keys: Sequence[str]
) -> dict[str, dict[str, list[int]]]:
    """Picks a few example pairs: split -> order -> positions of the pairs.

    Args:
        measurements: the measurements of all pairs.
        splits: the split of each pair.
        shuffle_keys: sort keys that put the pairs in a pseudorandom order.
    """
    examples: dict[str, dict[str, list[int]]] = {}
    for split in SPLITS:
        members = [position for position, name in enumerate(splits) if name == split]
        if not members:
            continue
        examples[split] = {}
        for label, order in ORDERS.items():
            keys: list[Any]
            if order is None:
                keys = [shuffle_keys[position] for position in members]
            else:
                column, part, largest_first = order
                values = _column(measurements, column, part)[members]
                keys = (-values if largest_first else values).tolist()
            ranked = sorted(zip(keys, members, strict=True))
            examples[split][label] = [position for _, position in ranked[:EXAMPLES_PER_ORDER]]
    return examples


def _count(bins: NDArray[np.integer], n_bins: int) -> NDArray[np.uint16]:
    """Counts bin numbers [N, ...] -> counts [N, n_bins]."""
    n = len(bins)
    flat = bins.reshape(n, math.prod(bins.shape[1:])) + np.arange(n)[:, None] * n_bins
    counts = np.bincount(flat.ravel(), minlength=n * n_bins).reshape(n, n_bins)
    return counts.astype(np.uint16)


def _sizes(measurements: PairMeasurements, is_member: NDArray[np.bool_]) -> dict[str, Any] | None:
    """Computes the most common sizes and the distribution of the shapes; None for drawings."""
    width, height = measurements.columns["width"], measurements.columns["height"]
    if not width.any():
        return None
    widths, heights = (values[is_member].astype(int).tolist() for values in (width, height))
    counts = Counter(zip(widths, heights, strict=True))
    common = counts.most_common(MAX_COMMON_SIZES)
    return {
        "common": [{"width": w, "height": h, "pairs": count} for (w, h), count in common],
        "others": counts.total() - sum(count for _, count in common),
        "aspect": _distribution(width / height, is_member),
        "megapixels": _distribution(width * height / 1e6, is_member),
    }


def _channels(
    measurements: PairMeasurements, is_member: NDArray[np.bool_], levels: NDArray[np.uint16]
) -> dict[str, Any]:
    low, high, mean, spread = (
        measurements.columns[name][is_member] for name in ("low", "high", "mean", "spread")
    )
    return {
        name: {
            "low": float(low[:, channel].min()),
            "high": float(high[:, channel].max()),
            "mean": float(mean[:, channel].mean()),
            "spread": float(spread[:, channel].mean()),
            "levels": _shares(levels[:, channel].sum(0)),
        }
        for channel, name in enumerate(CHANNELS)
    }


def _distribution(values: NDArray[np.float32], is_member: NDArray[np.bool_]) -> dict[str, Any]:
    """Computes quantiles and a histogram of a split, with the same bins for all splits."""
    of_split = values[is_member]
    value_range = (float(values.min()), float(values.max()))
    counts, edges = np.histogram(of_split, HISTOGRAM_BINS, value_range)
    quantiles = {name: float(np.quantile(of_split, share)) for name, share in QUANTILES.items()}
    rounded_edges = [float(f"{edge:.5g}") for edge in edges]
    return {**quantiles, "counts": counts.tolist(), "edges": rounded_edges}


def _shares(counts: NDArray[Any]) -> list[Any]:
    total = max(1, int(counts.sum()))
    shares: list[Any] = (counts / total).round(7).tolist()
    return shares


def _column(measurements: PairMeasurements, name: str, part: int | None) -> NDArray[np.float32]:
    column = measurements.columns[name]
    return column if part is None else column[:, part]


def _shifts(
    measurements: PairMeasurements, is_in_split: dict[str, NDArray[np.bool_]]
) -> list[dict[str, Any]]:
    """Finds measures in which a held-out split differs significantly from train.

    Uses two-sample Kolmogorov-Smirnov tests over pairs, with Holm's correction.
    """
    from scipy.stats import ks_2samp  # imported here: the import takes half a second

    tests: list[dict[str, Any]] = []
    for split in ("val", "test"):
        for label, measure in _MEASURES.items():
            values = _column(measurements, *measure)
            held_out, train = values[is_in_split[split]], values[is_in_split["train"]]
            if min(len(held_out), len(train)) < 2:
                continue
            result = ks_2samp(held_out, train)
            tests.append(
                {
                    "split": split,
                    "measure": label,
                    "distance": float(result.statistic),
                    "p": float(result.pvalue),
                    "median": float(np.median(held_out)),
                    "train_median": float(np.median(train)),
                }
            )
    corrected = intervals.holm([test["p"] for test in tests])
    for test, p in zip(tests, corrected, strict=True):
        test["p"] = p
    tests.sort(key=itemgetter("p"))
    return [test for test in tests if test["p"] < SHIFT_LEVEL]
