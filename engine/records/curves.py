"""What was measured while runs trained: points of curves and what is known of them. No torch."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from engine.config import RunConfig


@dataclass(frozen=True)
class MetricPoint:
    """One value of one curve, None where there is none.

    Attributes:
        id: the cursor.
        at: when it was measured, in seconds since 1970; None where that is not known.
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
class Stretch:
    """Neighbouring points of one curve, drawn as one.

    Attributes:
        part: which stretch of the run; all of a curve's have the same number of steps.
        n: how many of its points have a value.
        step: the mean of its steps. `at` likewise; None where no time is known.
        value, low, high: mean, least and greatest; None where no point has a value.
        last_step: the greatest of its steps.
        id: the greatest of its points' cursors.
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
    """Something in a run's curves that a person should look at, where it happened."""

    run_id: int
    step: int
    kind: Literal["saturated", "plateau"]
    text: str
    id: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Probe:
    """What one host needs for one kind of work, as a short probe measured it."""

    host: str
    work: str
    images_per_second: float
    memory_mb: float
    measured_at: datetime


@dataclass(frozen=True)
class Cost:
    """What a run needed on the machine of its first attempt; `memory_mb`: None where unknown."""

    config: RunConfig
    host: str | None
    images_per_second: float
    memory_mb: float | None
