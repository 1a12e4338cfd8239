"""What was found out: comparisons, differences, stability, timings; frozen records, no torch."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.records.runs import Study

RESULTS_FORMAT = 1  # of results.json


@dataclass(frozen=True)
class CurveStability:
    """One loss of one run.

    Attributes:
        variance: mean over all windows of 10 parts of the population variance.
        convergence_rate: slope of the line fitted to the trend, absolute, per part.
        oscillation: population standard deviation about the trend.
        improvement: mean of the first tenth less mean of the last tenth.
        final: the last part's value.
    """

    variance: float
    convergence_rate: float
    oscillation: float
    improvement: float
    final: float


@dataclass(frozen=True)
class RunStability:
    """How steadily a run trained.

    Attributes:
        n_parts: parts of its curves; fewer than 21 have no trend and so no figures.
        curves: by the loss's name.
        finals: the last part's value of every curve, however short.
        collapse_ratio: share of the parts in which the generator's smoothed loss rises by over
            0.1 while the discriminator's falls by over 0.1: study 1's sign of mode collapse.
        saturation: share of the recorded steps in which the discriminator was right about over
            95 % of the patches, or its loss under 0.01.
        missing: why there are no figures.
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
        value: mean over seeds on the reported split, with the chosen checkpoints; None when
            `missing` says why.
        low, high: 95 % interval, over seeds or, with one seed, over pictures.
        n_seeds: how many seeds the value is the mean of.
        n_pictures: how many pictures each seed's value rests on.
        rank: from 1, shared inside the noise; None where it cannot be told or is not fair.
        best_epoch: the chosen checkpoint's, of the first seed; `epochs` has each seed's.
        last: the same metric of the last checkpoint, where it was measured.
        reference: the same figure of the targets, where it has a meaning.
        mark: why the value needs care.
        incomparable: why it must not be compared with the rest of its column.
        protocol: how the value was made.
        by_seed: each seed's value.
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
        """Half of the interval, as it stands behind a plus-minus sign."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def as_json(self) -> dict[str, Any]:
        """The cell as the `table --json` contract has it."""
        return {
            **vars(self),
            "protocol": dict(self.protocol),
            "by_seed": dict(self.by_seed),
            "epochs": dict(self.epochs),
        }


@dataclass(frozen=True)
class Row:
    """One configuration: how many seeds are done, and its cells by metric."""

    configuration: str
    seeds: int
    runs: int
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Contrast:
    """Whether two configurations differ in a metric.

    Attributes:
        mean: one's value less the other's, over what they have in common.
        low, high: its 95 % interval, not corrected for the number of pairs.
        p: of no difference; `p_holm` is corrected for all pairs of the same metric.
        n: how many seeds, or how many halves of the pictures, it rests on.
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
    def is_clear(self) -> bool:
        """Whether it is more than noise, at 5 % for all pairs of the metric together."""
        return self.p_holm < 0.05


@dataclass(frozen=True)
class Comparison:
    """The comparison table of a study.

    Attributes:
        unit: what the intervals are over: `seeds` or `pictures`.
        contrasts: every pair of configurations in every ranked metric, where it could be tested.
        notes: sentences that belong under the table.
    """

    study: Study
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    unit: str
    contrasts: tuple[Contrast, ...]
    notes: tuple[str, ...]

    def column(self, metric: str) -> dict[str, Cell]:
        """Configuration -> its cell of a metric, where it has a value that may be compared."""
        return {
            row.configuration: cell
            for row in self.rows
            if (cell := row.cells[metric]).value is not None and cell.incomparable is None
        }

    @property
    def is_empty(self) -> bool:
        """Whether no run has been evaluated yet."""
        return not any(cell.value is not None for row in self.rows for cell in row.cells.values())

    def as_json(self) -> list[dict[str, Any]]:
        """The table as the `table --json` contract has it."""
        return [
            {
                "configuration": row.configuration,
                "seeds": row.seeds,
                "metrics": {name: cell.as_json() for name, cell in row.cells.items()},
            }
            for row in self.rows
        ]


@dataclass(frozen=True)
class Timing:
    """One contender on one task.

    Attributes:
        seconds: of each round.
        error: relative, against the exact value; None where there is nothing to be off from.
    """

    task: str
    contender: str
    seconds: tuple[float, ...]
    error: float | None = None

    @property
    def median(self) -> float:
        """Seconds, the median over the rounds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Speed:
    """One contender in training.

    Attributes:
        rounds: pictures per second of each.
        peak_memory_mb: of its process; on a GPU of what torch took there.
        share: of the arithmetic limit.
        limit_tflops: that limit, as measured in the same run.
        split: share of a step's time by what it is spent on; None where it was not measured.
    """

    contender: str
    rounds: tuple[float, ...]
    peak_memory_mb: float
    share: float
    limit_tflops: float
    split: Mapping[str, float] | None = None

    @property
    def median(self) -> float:
        """Pictures per second."""
        return statistics.median(self.rounds)
