"""How long runs will still take, by what they have done so far. Torch-free."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from engine.records.curves import MetricPoint
from engine.records.runs import Run, RunState

Span = tuple[MetricPoint, MetricPoint]  # the first and last recorded points of a stretch


@dataclass(frozen=True)
class Going:
    """How a run that is at work gets on.

    Attributes:
        seconds_left: to its end, its evaluation included; None before there is a pace.
        images_per_second: wall-clock, validation and samples included.
        whole_s: what a run like it takes from its first step to its end.
    """

    seconds_left: float | None = None
    images_per_second: float | None = None
    whole_s: float | None = None


def window_start(run: Run, from_step: int) -> int:
    """The step from which on the pace is taken: so long ago, in this attempt, as all happens once.

    That is an epoch with its validation; where checkpoints are judged now and then, as many epochs
    as lie between. What else the machine did before that has passed.
    """
    budget = run.config.budget
    cycle = max(1, budget.epochs // budget.evaluations) if budget.evaluations > 1 else 1
    return max(from_step, run.step - run.steps // run.epochs * cycle)


def going(run: Run, span: Span | None, tail_s: float | None, now: datetime) -> Going:
    """How a run gets on.

    The pace is that of steps between two recorded moments: neither starting nor preparing data is
    in it, validating an epoch is.

    Args:
        run: at work.
        span: the first and last points since `window_start`.
        tail_s: how long its evaluation will take; None where that is not known.
        now: the moment.
    """
    if span is None or not run.steps:
        return Going()
    first, last = span
    if first.at is None or last.at is None:
        return Going()
    spent = max(0.0, now.timestamp() - last.at)
    if run.phase is not None and run.phase.startswith("evaluating"):
        return Going(None if tail_s is None else max(0.0, tail_s - spent))
    if last.step <= first.step or last.at <= first.at:
        return Going()
    pace = (last.at - first.at) / (last.step - first.step)
    speed = run.config.budget.batch / pace
    if tail_s is None:
        return Going(None, speed)
    training = max(0.0, (run.steps - last.step) * pace - spent)
    return Going(training + tail_s, speed, run.steps * pace + tail_s)


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
        known = left.get(run.id, Going())
        seconds_left = known.seconds_left
        if seconds_left is None:
            if run.configuration not in whole:
                return None
            seconds_left = statistics.mean(whole[run.configuration])
        remaining.append(seconds_left)
        if known.whole_s is not None:
            whole.setdefault(run.configuration, []).append(known.whole_s)
    everything = [seconds for found in whole.values() for seconds in found]
    if waiting and not everything:
        return None
    queued = sum(statistics.mean(whole.get(run.configuration, everything)) for run in waiting)
    return (sum(remaining) + queued) / max(1, len(active)) if remaining or waiting else 0.0
