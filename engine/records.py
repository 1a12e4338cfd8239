"""What is known of studies, runs and their results: frozen records, no rows, no torch."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from engine.config import Budget, RunConfig


class RunState(StrEnum):
    """Where a run is in its life; the text is what commands and tables show."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    CRASHED = "crashed"
    DIVERGED = "diverged"

    def is_finished(self) -> bool:
        """Whether nothing more will happen to the run by itself."""
        return self not in (RunState.QUEUED, RunState.RUNNING, RunState.STOPPING)

    def is_active(self) -> bool:
        """Whether a process should be working on the run."""
        return self in (RunState.RUNNING, RunState.STOPPING)


@dataclass(frozen=True)
class Study:
    """One question: these configurations, on this data, with this budget, over these seeds."""

    id: int
    name: str
    data: str
    budget: Budget
    created_at: datetime


@dataclass(frozen=True)
class Run:
    """One training of one configuration with one seed.

    Attributes:
        reason: why it ended as it did, for a person; None when there is nothing to say.
        phase: what it is doing while it runs: preparing data, training, evaluating.
        config: as asked for; `resolved` with everything that was `auto` decided, once started.
        epoch, epochs, step, steps: done and in all; `steps` is 0 until the data is known.
        best_epoch: the epoch whose checkpoint validation chose so far.
        environment: versions and machine of the first attempt.
        attempt: how often a process has taken it up.
    """

    id: int
    study_id: int
    configuration: str
    seed: int
    state: RunState
    reason: str | None
    phase: str | None
    config: RunConfig
    resolved: RunConfig | None
    epoch: int
    epochs: int
    step: int
    steps: int
    best_epoch: int | None
    attempt: int
    environment: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    progress_at: datetime | None

    @property
    def progress(self) -> float:
        """The share of training done, 0 to 1."""
        return self.step / self.steps if self.steps else 0.0


@dataclass(frozen=True)
class MetricPoint:
    """One value of one curve, None where there is none. `id` is the cursor."""

    run_id: int
    step: int
    epoch: int
    name: str
    value: float | None
    id: int = 0


@dataclass(frozen=True)
class MetricSummary:
    """The last and the extreme values of one curve."""

    run_id: int
    name: str
    last: float | None
    last_epoch: int
    lowest: float | None
    lowest_epoch: int
    highest: float | None
    highest_epoch: int


@dataclass(frozen=True)
class Evaluation:
    """One metric of one run on one split, with the protocol that makes it comparable.

    Attributes:
        value: None when `missing` says why there is none.
        low, high: a 95 % interval over pictures.
        n_pictures: how many pictures the value rests on.
        epoch: the checkpoint's.
        note: a warning or mark that goes with the value.
        reference: the same figure of the targets, where it has a meaning.
        protocol: split, extractor and hash of its weights, resize rule, px, precision.
        halves: float32 values on random halves of the pictures, the same halves for every run:
            what a difference of two runs with one seed is judged by.
    """

    run_id: int
    split: str
    name: str
    value: float | None
    n_pictures: int
    epoch: int
    low: float | None = None
    high: float | None = None
    missing: str | None = None
    note: str | None = None
    reference: float | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    halves: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Predictions:
    """The fakes of a split, made by one checkpoint.

    Attributes:
        path: [N, px, px, 3] bytes as an .npy file, relative to the artifacts folder.
        names: [N] of the pairs, in the file's order.
    """

    run_id: int
    split: str
    epoch: int
    path: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class ImageScore:
    """One metric of one picture of one run."""

    run_id: int
    split: str
    epoch: int
    picture: str
    name: str
    value: float | None


@dataclass(frozen=True)
class Judgement:
    """All that one checkpoint was found worth on one split; recorded whole or not at all."""

    evaluations: tuple[Evaluation, ...]
    scores: tuple[ImageScore, ...] = ()
    predictions: Predictions | None = None


@dataclass(frozen=True)
class Sample:
    """The pictures of one epoch, the same validation pairs for every run of a study.

    Paths are relative to the artifacts folder. `grid` has a row per pair: source, target, fake;
    `source`, `target` and `fake` are its columns; `thumbnail` has a few sources above their fakes.
    """

    run_id: int
    epoch: int
    step: int
    grid: str
    source: str
    target: str
    fake: str
    thumbnail: str
    id: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A saved training state; the path is relative to the artifacts folder."""

    run_id: int
    epoch: int
    path: str
    sha256: str
    n_bytes: int
    is_best: bool


@dataclass(frozen=True)
class Job:
    """A piece of work in the queue. `token` belongs to one attempt: who holds it may write."""

    id: int
    kind: str
    run_id: int
    state: RunState
    attempt: int
    token: str | None
    process: str | None
    created_at: datetime
    heartbeat_at: datetime | None
    stop_requested_at: datetime | None


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
