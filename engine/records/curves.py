"""Records of curves: metric points, summaries, buckets, alerts, measured speeds."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from engine.config import RunConfig


@dataclass(frozen=True)
class MetricPoint:
    """One point of one curve.

    Attributes:
        value: the value; None if it is not finite.
        id: the row id, which readers use as a cursor.
        at: the Unix time of the measurement; None if unknown.
    """

    run_id: int
    step: int
    epoch: int
    name: str
    value: float | None
    id: int = 0
    at: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class MetricSummary:
    """The last, the lowest and the highest value of one curve, with their epochs."""

    run_id: int
    name: str
    last: float | None
    last_epoch: int
    lowest: float | None
    lowest_epoch: int
    highest: float | None
    highest_epoch: int


@dataclass(frozen=True)
class CurveBucket:
    """A summary of consecutive points of one curve; all buckets span the same number of steps.

    Attributes:
        part: the index of the bucket in the run, from 0.
        n: the number of points with a value.
        step: the mean step.
        at: the mean Unix time; None if no time is known.
        value: the mean value; None if no point has a value.
        low: the lowest value.
        high: the highest value.
        last_step: the last step.
        id: the highest row id of the points.
    """

    run_id: int
    part: int
    n: int
    step: float
    at: float | None
    value: float | None
    low: float | None
    high: float | None
    last_step: int
    id: int


@dataclass(frozen=True)
class Alert:
    """A warning about the curves of a run, with the step at which it was triggered."""

    run_id: int
    step: int
    kind: Literal["saturated", "plateau"]
    text: str
    id: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Probe:
    """The measured training speed and memory of one host for one workload.

    Attributes:
        host: the host that ran the speed probe, as in `Job.host`.
        work: the workload, see `estimates.workload_key`.
        images_per_second: the training speed.
        memory_mb: the memory of the process or of the GPU, in MiB.
        measured_at: the time of the measurement.
    """

    host: str
    work: str
    images_per_second: float
    memory_mb: float
    measured_at: datetime


@dataclass(frozen=True)
class Cost:
    """The measured speed and memory of a run.

    Attributes:
        host: the host that claimed the newest attempt, as in `Job.host`; None if not recorded.
        memory_mb: the peak memory; None if it was not measured.
    """

    config: RunConfig
    host: str | None
    images_per_second: float
    memory_mb: float | None
