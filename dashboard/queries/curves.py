"""What live views may read: points that are new, alerts, and how runs get on."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import streamlit as st

from dashboard.queries import studies
from engine.config import Budget
from engine.data.packing import count_pairs
from engine.data.sources.registry import read_source
from engine.errors import EngineError
from engine.jobs import progress
from engine.jobs.estimates import JUDGED_PER_SECOND
from engine.jobs.progress import Going
from engine.records.curves import Alert, Stretch
from engine.records.runs import Attempt, Run, RunState

MOST_STRETCHES = 1000  # of a line; each is drawn as its mean, or from its least to its greatest


def stride_of(steps: int) -> int:
    """How many steps a stretch has: a power of two, so that a line does not jitter as it grows."""
    stride = 1
    while steps > stride * MOST_STRETCHES:
        stride *= 2
    return stride


def curve(name: str, cursors: Mapping[int, int]) -> dict[str, Any] | None:
    """What is new in one curve of some runs, for the live chart; None where nothing is.

    Args:
        name: of the curve.
        cursors: run -> the id of the last point that the chart has; 0: it has none.

    Returns:
        `lines`: run -> its stride and its stretches as [part, n, step, at, mean, low, high, last
        step, cursor], for runs without a cursor. `points`: [run, cursor, step, at, value].
    """
    fresh = [run_id for run_id, after in cursors.items() if not after]
    known = {run_id: after for run_id, after in cursors.items() if after}
    by_stride: dict[int, list[int]] = {}
    for run_id, steps in (studies.store().read_steps(fresh) if fresh else {}).items():
        by_stride.setdefault(stride_of(steps), []).append(run_id)
    lines: dict[int, dict[str, Any]] = {}
    for stride, run_ids in by_stride.items():
        for it in studies.store().read_stretches(run_ids, name, stride):
            line = lines.setdefault(it.run_id, {"stride": stride, "stretches": []})
            line["stretches"].append(_as_row(it))
    points = studies.store().read_points(known, name) if known else []
    if not lines and not points:
        return None
    return {
        "lines": lines,
        "points": [[it.run_id, it.id, it.step, it.at, it.value] for it in points],
    }


def _as_row(it: Stretch) -> list[float | None]:
    return [it.part, it.n, it.step, it.at, it.value, it.low, it.high, it.last_step, it.id]


def alerts(runs: Sequence[Run]) -> dict[int, list[Alert]]:
    """Run -> what was seen in its curves."""
    found: dict[int, list[Alert]] = {}
    for alert in studies.store().read_alerts([run.id for run in runs]):
        found.setdefault(alert.run_id, []).append(alert)
    return found


def goings(
    runs: Sequence[Run], attempts: Mapping[int, Sequence[Attempt]], now: datetime
) -> dict[int, Going]:
    """How the runs of a study that are at work get on."""
    active = [run for run in runs if run.state.is_active()]
    if not active:
        return {}
    tail_s = _tail_s(runs)
    found = {}
    for run in active:
        newest = attempts[run.id][-1] if run.id in attempts else None
        start = progress.window_start(run, newest.from_step if newest is not None else 0)
        since = newest.started_at if newest is not None else None
        span = studies.store().read_span(run.id, start, since)
        found[run.id] = progress.going(run, span, tail_s, now)
    return found


def _tail_s(runs: Sequence[Run]) -> float | None:
    """How long a run of the study is evaluated: as one that is done was, else by the pictures.

    None where nothing is done yet and the pictures are not where they were.
    """
    done = [run for run in runs if run.state == RunState.DONE and run.attempt == 1]
    for run in reversed(done):
        if run.ended_at is not None:
            measured = _measured_tail(studies.database(), run.id, run.ended_at.timestamp())
            if measured is not None:
                return measured
    first = runs[0].config
    count = _count_judged(studies.database(), first.data, first.budget.model_dump_json())
    return None if count is None else count / JUDGED_PER_SECOND


@st.cache_resource(max_entries=200, show_spinner=False)
def _measured_tail(database: str, run_id: int, ended_at: float) -> float | None:
    span = studies.store().read_span(run_id, 0)
    if span is None or span[1].at is None:
        return None
    return max(0.0, ended_at - span[1].at)


@st.cache_resource(max_entries=200, show_spinner=False)
def _count_judged(database: str, data: str, budget: str) -> int | None:
    try:
        source = read_source(data, studies.settings())
        spent = Budget.model_validate_json(budget)
        return count_pairs(source, spent, studies.settings())["test"]
    except EngineError:  # its folder has gone; training goes on from packed pairs
        return None


def sparks(run_ids: Sequence[int]) -> dict[int, list[float]]:
    """Run -> its validation PSNR, epoch by epoch."""
    found: dict[int, list[float]] = {}
    for it in studies.store().read_metrics(run_ids, names=["val_psnr"]):
        if it.value is not None:
            found.setdefault(it.run_id, []).append(it.value)
    return found
