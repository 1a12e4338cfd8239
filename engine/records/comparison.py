"""Records of the comparison of a study; the module `report.comparison` builds them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.records.runs import Study

RESULTS_FORMAT = 1  # version of results.json
SIGNIFICANCE_LEVEL = 0.05  # for all pairs of one metric together, with Holm's correction


@dataclass(frozen=True)
class CurveStability:
    """Stability statistics of one loss curve of one run, thinned to equal parts.

    Attributes:
        variance: the population variance in a window of 10 parts, averaged over all windows.
        convergence_rate: the absolute slope, per part, of the line fitted to the trend.
        oscillation: the population standard deviation around the trend.
        improvement: the mean of the first tenth minus the mean of the last tenth.
        final: the value of the last part.
    """

    variance: float
    convergence_rate: float
    oscillation: float
    improvement: float
    final: float


@dataclass(frozen=True)
class RunStability:
    """Stability statistics of the training of one run.

    Attributes:
        n_parts: the number of parts of the curves; a curve of fewer than 21 parts has no trend.
        curves: loss name -> statistics.
        finals: curve name -> value of the last part, also for short curves.
        collapse_ratio: the share of parts in which the smoothed generator loss rises by more than
            0.1 while the smoothed discriminator loss falls by more than 0.1. Study 1 uses this
            share as a sign of mode collapse.
        saturation: the share of recorded steps in which the discriminator classified more than
            95 % of the patches correctly, or its loss was below 0.01.
        missing: why there are no statistics.
    """

    n_parts: int
    curves: Mapping[str, CurveStability]
    finals: Mapping[str, float]
    collapse_ratio: float | None
    saturation: float | None
    missing: str | None = None


@dataclass(frozen=True)
class Cell:
    """One metric of one configuration.

    Attributes:
        value: the mean over seeds on the reported split, with the best checkpoints; None if
            `missing` gives the reason.
        low: the lower end of the 95 % interval, over seeds or, with one seed, over pictures.
        high: the upper end of this interval.
        n_seeds: the number of seeds in the mean.
        n_pictures: the number of pictures per seed.
        rank: from 1; configurations without a significant difference share a rank. None if the
            ranking is undefined or would be unfair.
        best_epoch: the epoch of the best checkpoint of the first seed.
        last: the metric of the last checkpoint, if it was measured.
        reference: the metric of the targets themselves, if this value has a meaning.
        missing: the reason for an absent value.
        mark: a warning about the value.
        incomparable: why the value must not be compared with the other values of its column.
        protocol: how the value was computed.
        by_seed: seed -> value.
        epochs: seed -> epoch of the best checkpoint.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n_seeds: int = 0
    n_pictures: int = 0
    rank: int | None = None
    best_epoch: int | None = None
    last: float | None = None
    reference: float | None = None
    missing: str | None = None
    mark: str | None = None
    incomparable: str | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    by_seed: Mapping[int, float] = field(default_factory=dict)
    epochs: Mapping[int, int] = field(default_factory=dict)

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval, for display after a plus-minus sign."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def as_json(self) -> dict[str, Any]:
        """Returns the cell in the format of `table --json`."""
        return {
            **vars(self),
            "protocol": dict(self.protocol),
            "by_seed": dict(self.by_seed),
            "epochs": dict(self.epochs),
        }


@dataclass(frozen=True)
class Row:
    """One configuration in the comparison table.

    Attributes:
        seeds: the number of finished runs, one per seed.
        runs: the number of all runs.
        cells: metric name -> cell.
        generator: identifies the generator's design; equal designs have equal inference costs.
    """

    configuration: str
    seeds: int
    runs: int
    cells: Mapping[str, Cell]
    generator: str


@dataclass(frozen=True)
class Contrast:
    """The difference of two configurations in a metric, with its test.

    Attributes:
        one: the first configuration.
        other: the second configuration.
        mean: the mean difference, `one` minus `other`, over paired seeds or halves.
        low: the lower end of the 95 % interval, not corrected for the number of pairs.
        high: the upper end of this interval.
        p: the p-value of no difference.
        p_holm: the p-value corrected by Holm's method for all pairs of the metric.
        unit: what is paired: `seeds` or `pictures`.
        n: the number of seeds, or of random halves of the pictures.
    """

    metric: str
    one: str
    other: str
    mean: float
    low: float
    high: float
    p: float
    p_holm: float
    unit: str
    n: int

    @property
    def is_significant(self) -> bool:
        """Whether the difference is significant after the correction for all pairs."""
        return self.p_holm < SIGNIFICANCE_LEVEL


@dataclass(frozen=True)
class Comparison:
    """The comparison table of a study.

    Attributes:
        metrics: the names of the columns.
        unit: what the intervals are computed over: `seeds` or `pictures`.
        contrasts: every pair of configurations in every ranked metric that could be tested.
        notes: sentences to show below the table.
    """

    study: Study
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    unit: str
    contrasts: tuple[Contrast, ...]
    notes: tuple[str, ...]

    def column(self, metric: str) -> dict[str, Cell]:
        """Returns configuration -> cell of a metric, for cells with a comparable value."""
        return {
            row.configuration: cell
            for row in self.rows
            if (cell := row.cells[metric]).value is not None and cell.incomparable is None
        }

    @property
    def is_empty(self) -> bool:
        """Whether the table has no value yet."""
        return not any(cell.value is not None for row in self.rows for cell in row.cells.values())

    def as_json(self) -> list[dict[str, Any]]:
        """Returns the table in the format of `table --json`."""
        return [
            {
                "configuration": row.configuration,
                "seeds": row.seeds,
                "metrics": {name: cell.as_json() for name, cell in row.cells.items()},
            }
            for row in self.rows
        ]
