"""How long runs will still take, by what they have done so far. Torch-free."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from engine.points import MetricPoint
from engine.records import Run, RunState

Span = tuple[MetricPoint, MetricPoint]  # the first and last recorded points of an attempt


@dataclass(frozen=True)
class Going:
    """How a run that is at work gets on.

    Attributes:
        seconds_left: to its end, its evaluation included; None before there is a pace.
        images_per_second: wall-clock, validation and samples included.
    """

    seconds_left: float | None
    images_per_second: float | None


def going(run: Run, span: Span | None, tail_s: float, now: datetime) -> Going:
    """How a run gets on.

    The pace is that of whole steps between two recorded moments of this attempt: neither starting
    nor preparing data is in it, validating every epoch is.

    Args:
        run: at work.
        span: the first and last points that this attempt recorded.
        tail_s: how long its evaluation will take.
        now: the moment.
    """
    if run.phase is not None and run.phase.startswith("evaluating"):
        since = (now - run.progress_at).total_seconds() if run.progress_at else 0.0
        return Going(max(0.0, tail_s - since), None)
    if span is None or not run.steps:
        return Going(None, None)
    first, last = span
    if first.at is None or last.at is None or last.step <= first.step:
        return Going(None, None)
    pace = (last.at - first.at) / (last.step - first.step)
    if pace <= 0:
        return Going(None, None)
    spent = max(0.0, now.timestamp() - last.at)
    training = max(0.0, (run.steps - last.step) * pace - spent)
    return Going(training + tail_s, run.config.budget.batch / pace)


def study_seconds_left(runs: Sequence[Run], left: Mapping[int, Going]) -> float | None:
    """To the end of all runs of a study; None before there is anything to go by.

    A run that waits will take as long as one of its configuration did, else as the others do.
    """
    active = [run for run in runs if run.state.is_active()]
    waiting = [run for run in runs if run.state == RunState.QUEUED]
    whole: dict[str, list[float]] = {}
    for run in runs:
        if run.state == RunState.DONE and run.started_at and run.ended_at and run.attempt == 1:
            seconds = (run.ended_at - run.started_at).total_seconds()
            whole.setdefault(run.configuration, []).append(seconds)
    remaining = []
    for run in active:
        seconds_left = left[run.id].seconds_left if run.id in left else None
        if seconds_left is None:
            if run.configuration not in whole:
                return None
            seconds_left = statistics.mean(whole[run.configuration])
        remaining.append(seconds_left)
        if run.started_at is not None and run.progress:
            whole.setdefault(run.configuration, []).append(
                seconds_left / max(0.01, 1 - run.progress)
            )
    everything = [seconds for found in whole.values() for seconds in found]
    if waiting and not everything:
        return None
    queued = sum(statistics.mean(whole.get(run.configuration, everything)) for run in waiting)
    return (sum(remaining) + queued) / max(1, len(active)) if remaining or waiting else 0.0
