"""Reads curve points, alerts and the progress of runs for live views."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import streamlit as st

from dashboard.queries import access, studies
from engine.config import Budget
from engine.data.packing import count_pairs
from engine.data.sources.registry import parse_source
from engine.errors import EngineError
from engine.jobs import progress
from engine.jobs.estimates import EVALUATED_IMAGES_PER_SECOND
from engine.jobs.progress import RunProgress
from engine.records.curves import Alert, CurveBucket, MetricSummary
from engine.records.runs import Attempt, Run, RunState

MAX_BUCKETS = 1000  # maximum number of buckets that the server sends per line


@dataclass(frozen=True)
class RunsSnapshot:
    """Data of some runs at one point in time, for the live views.

    Attributes:
        now: the time of the snapshot.
        attempts: run id -> attempts at the run, newest last.
        queue: run id -> number of runs before it in the queue.
        progress: run id -> progress of an active run.
        alerts: run id -> alerts on the curves of the run.
        summaries: (run id, curve) -> last and extreme values.
    """

    now: datetime
    attempts: Mapping[int, Sequence[Attempt]]
    queue: Mapping[int, int]
    progress: Mapping[int, RunProgress]
    alerts: Mapping[int, Sequence[Alert]]
    summaries: Mapping[tuple[int, str], MetricSummary]

    def newest_attempt(self, run: Run) -> Attempt | None:
        """Returns the newest attempt at a run; None before the first attempt."""
        attempts = self.attempts.get(run.id)
        return attempts[-1] if attempts else None

    def last_value(self, run: Run, curve: str) -> float | None:
        """Returns the newest value of a curve; None if there is none or if it is not finite."""
        summary = self.summaries.get((run.id, curve))
        return summary.last if summary is not None else None


def snapshot(runs: Sequence[Run], members: Sequence[Run], now: datetime) -> RunsSnapshot:
    """Reads the attempts, progress, alerts and summaries of some runs.

    Args:
        runs: the runs that the view shows.
        members: all runs of the study. Progress is estimated for active runs; finished runs
            show how long an evaluation takes.
        now: the current time.
    """
    attempts = studies.attempts(runs)
    return RunsSnapshot(
        now=now,
        attempts=attempts,
        queue=studies.queue_positions(),
        progress=run_progress(members, attempts, now),
        alerts=alerts(runs),
        summaries=studies.summaries([run.id for run in runs]),
    )


def bucket_stride(n_steps: int) -> int:
    """Returns the number of steps per bucket so that a line has at most `MAX_BUCKETS` buckets.

    The stride is a power of two, so that the chart can merge pairs of buckets when a run gets
    more steps.

    Args:
        n_steps: the planned number of steps of the run.
    """
    stride = 1
    while n_steps > stride * MAX_BUCKETS:
        stride *= 2
    return stride


def curve(name: str, cursors: Mapping[int, int]) -> dict[str, Any] | None:
    """Reads the new points of one curve for the live chart; None without new points.

    Args:
        name: the metric of the curve.
        cursors: run id -> id of the last point that the chart has; 0 before the first point.

    Returns:
        A dictionary with two keys. `lines` maps the id of each run with cursor 0 to its `stride`
        and its `buckets`; a bucket is [part, n, step, at, mean, low, high, last step, cursor], see
        `CurveBucket`. `points` lists the new points of all other runs, each as [run id, cursor,
        step, at, value].
    """
    new_runs = [run_id for run_id, cursor in cursors.items() if not cursor]
    known_runs = {run_id: cursor for run_id, cursor in cursors.items() if cursor}
    by_stride: dict[int, list[int]] = {}
    for run_id, n_steps in (access.store().runs.read_steps(new_runs) if new_runs else {}).items():
        by_stride.setdefault(bucket_stride(n_steps), []).append(run_id)
    lines: dict[int, dict[str, Any]] = {}
    for stride, run_ids in by_stride.items():
        for bucket in access.store().curves.read_buckets(run_ids, name, stride):
            line = lines.setdefault(bucket.run_id, {"stride": stride, "buckets": []})
            line["buckets"].append(_bucket_values(bucket))
    points = access.store().curves.read_new_points(known_runs, name) if known_runs else []
    if not lines and not points:
        return None
    return {
        "lines": lines,
        "points": [[point.run_id, point.id, point.step, point.at, point.value] for point in points],
    }


def _bucket_values(bucket: CurveBucket) -> list[float | None]:
    return [
        *(bucket.part, bucket.n, bucket.step, bucket.at),
        *(bucket.value, bucket.low, bucket.high, bucket.last_step, bucket.id),
    ]


def alerts(runs: Sequence[Run]) -> dict[int, list[Alert]]:
    """Reads the alerts of some runs: run id -> alerts. Runs without alerts are absent."""
    by_run: dict[int, list[Alert]] = {}
    for alert in access.store().curves.read_alerts([run.id for run in runs]):
        by_run.setdefault(alert.run_id, []).append(alert)
    return by_run


def run_progress(
    runs: Sequence[Run], attempts: Mapping[int, Sequence[Attempt]], now: datetime
) -> dict[int, RunProgress]:
    """Maps the id of each active run to its progress: speed and time left.

    Args:
        runs: runs of one study.
        attempts: run id -> attempts at the run, newest last.
        now: the current time.
    """
    active = [run for run in runs if run.state.is_active()]
    if not active:
        return {}
    evaluation_s = _evaluation_seconds(runs)
    by_run = {}
    for run in active:
        newest = attempts[run.id][-1] if run.id in attempts else None
        start = progress.window_start(run, newest.from_step if newest is not None else 0)
        since = newest.started_at if newest is not None else None
        span = access.store().curves.read_first_and_last(run.id, start, since)
        by_run[run.id] = progress.measure_progress(run, span, evaluation_s, now)
    return by_run


def _evaluation_seconds(runs: Sequence[Run]) -> float | None:
    """Estimates how long the evaluation of a run takes.

    Returns:
        The seconds that the evaluation of a finished run took. Without a finished run, an estimate
        from the number of test pairs, or None if the data source cannot be read.
    """
    done = [run for run in runs if run.state == RunState.DONE and run.attempt == 1]
    for run in reversed(done):
        if run.ended_at is not None:
            measured = _measured_evaluation_seconds(
                access.database_id(), run.id, run.ended_at.timestamp()
            )
            if measured is not None:
                return measured
    first = runs[0].config
    n_pairs = _count_test_pairs(access.database_id(), first.data, first.budget.model_dump_json())
    return None if n_pairs is None else n_pairs / EVALUATED_IMAGES_PER_SECOND


@st.cache_resource(max_entries=200, show_spinner=False)
def _measured_evaluation_seconds(database_id: str, run_id: int, ended_at: float) -> float | None:
    """Measures the seconds from the last point of a run's curves to the end of the run."""
    span = access.store().curves.read_first_and_last(run_id, 0)
    if span is None or span[1].at is None:
        return None
    return max(0.0, ended_at - span[1].at)


@st.cache_resource(max_entries=200, show_spinner=False)
def _count_test_pairs(database_id: str, data: str, budget_json: str) -> int | None:
    try:
        source = parse_source(data, access.settings())
        budget = Budget.model_validate_json(budget_json)
        return count_pairs(source, budget, access.settings())["test"]
    except EngineError:  # The source's folder was removed; training continues on packed pairs.
        return None


def psnr_by_epoch(run_ids: Sequence[int]) -> dict[int, list[float]]:
    """Reads validation PSNR by epoch: run id -> values. Runs without values are absent."""
    by_run: dict[int, list[float]] = {}
    for point in access.store().curves.read(run_ids, names=["val_psnr"]):
        if point.value is not None:
            by_run.setdefault(point.run_id, []).append(point.value)
    return by_run
