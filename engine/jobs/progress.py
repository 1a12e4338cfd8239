"""Estimates the time until a running run or its study ends, from the recorded steps."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from engine.records.curves import MetricPoint
from engine.records.runs import Run, RunState

Span = tuple[MetricPoint, MetricPoint]  # the first and the last point of a part of a run


@dataclass(frozen=True)
class RunProgress:
    """Progress estimate of a running run.

    Attributes:
        seconds_left: seconds until the end of the run, including its evaluation; None before it
            can be estimated.
        images_per_second: training images per second of wall-clock time, which includes validation
            and samples; None before it can be estimated.
        total_s: seconds that a run of this configuration takes from its first step to its end;
            None before it can be estimated.
    """

    seconds_left: float | None = None
    images_per_second: float | None = None
    total_s: float | None = None


def window_start(run: Run, from_step: int) -> int:
    """Returns the first step of the window in which the time per step is measured.

    The window is the newest part of this attempt that contains one epoch with its validation. If
    only some epochs are validated, it contains as many epochs as lie between two validations.
    Earlier steps are ignored, because the load of the machine may have been different.

    Args:
        run: the running run.
        from_step: the step from which this attempt continued.
    """
    budget = run.config.budget
    epochs = max(1, budget.epochs // budget.evaluations) if budget.evaluations > 1 else 1
    return max(from_step, run.step - run.steps // run.epochs * epochs)


def measure_progress(
    run: Run, span: Span | None, evaluation_s: float | None, now: datetime
) -> RunProgress:
    """Estimates the progress of a running run.

    The time per step is measured between two recorded points. This time includes the validation of
    an epoch, but neither the start of the process nor the preparation of the data.

    Args:
        run: the running run.
        span: the first and the last point since `window_start`; None if there are none.
        evaluation_s: the seconds that the evaluation of the run will take; None if unknown.
        now: the current time.
    """
    if span is None or not run.steps:
        return RunProgress()
    first, last = span
    if first.at is None or last.at is None:
        return RunProgress()
    since_last_s = max(0.0, now.timestamp() - last.at)
    if run.phase is not None and run.phase.startswith("evaluating"):
        return RunProgress(None if evaluation_s is None else max(0.0, evaluation_s - since_last_s))
    if last.step <= first.step or last.at <= first.at:
        return RunProgress()
    step_s = (last.at - first.at) / (last.step - first.step)
    images_per_second = run.config.budget.batch / step_s
    if evaluation_s is None:
        return RunProgress(None, images_per_second)
    training_s = max(0.0, (run.steps - last.step) * step_s - since_last_s)
    total_s = run.steps * step_s + evaluation_s
    return RunProgress(training_s + evaluation_s, images_per_second, total_s)


def study_seconds_left(runs: Sequence[Run], progress: Mapping[int, RunProgress]) -> float | None:
    """Estimates the seconds until all runs of a study have ended.

    A queued run is expected to take as long as the other runs of its configuration. If there are
    none, the runs of the other configurations are used.

    Args:
        runs: the runs of the study.
        progress: run id -> progress of a running run.

    Returns:
        The seconds; None before they can be estimated.
    """
    active = [run for run in runs if run.state.is_active()]
    queued = [run for run in runs if run.state == RunState.QUEUED]
    durations: dict[str, list[float]] = {}  # by configuration
    for run in runs:
        if run.state == RunState.DONE and run.started_at and run.ended_at and run.attempt == 1:
            seconds = (run.ended_at - run.started_at).total_seconds()
            durations.setdefault(run.configuration, []).append(seconds)
    active_s = []
    for run in active:
        run_progress = progress.get(run.id, RunProgress())
        seconds_left = run_progress.seconds_left
        if seconds_left is None:
            if run.configuration not in durations:
                return None
            seconds_left = statistics.mean(durations[run.configuration])
        active_s.append(seconds_left)
        if run_progress.total_s is not None:
            durations.setdefault(run.configuration, []).append(run_progress.total_s)
    all_durations = [seconds for group in durations.values() for seconds in group]
    if queued and not all_durations:
        return None
    queued_s = sum(
        statistics.mean(durations.get(run.configuration, all_durations)) for run in queued
    )
    return (sum(active_s) + queued_s) / max(1, len(active)) if active_s or queued else 0.0
