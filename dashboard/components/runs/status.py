"""A run's state as a badge, and its progress in words."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from dashboard.components.escape import plain
from engine.jobs.progress import Going
from engine.records.runs import Run, RunState, Study

STANDSTILL_S = 60.0  # without a step, from which on it is said

Colour = Literal["red", "orange", "blue", "green", "gray"]

BADGES: dict[RunState, tuple[Colour, str]] = {
    RunState.QUEUED: ("gray", ":material/schedule:"),
    RunState.RUNNING: ("blue", ":material/play_arrow:"),
    RunState.STOPPING: ("orange", ":material/pause:"),
    RunState.DONE: ("green", ":material/check:"),
    RunState.STOPPED: ("orange", ":material/stop:"),
    RunState.FAILED: ("red", ":material/error:"),
    RunState.CRASHED: ("red", ":material/error:"),
    RunState.DIVERGED: ("red", ":material/trending_up:"),
}


def badge(run: Run) -> None:
    """The run's state; the reason on hover."""
    colour, icon = BADGES[run.state]
    st.badge(str(run.state), color=colour, icon=icon, help=plain(run.reason or "") or None)


def doing(run: Run, going: Going | None = None, before: int = 0) -> str:
    """What the run is doing, in a few words.

    Args:
        run: whose.
        going: how it gets on, by which the time left is told.
        before: how many runs wait before it.
    """
    if run.state == RunState.QUEUED:
        return f"queued, {before} before it" if before else "queued, the next in turn"
    if run.will_retry:
        return "goes on by itself in a moment"
    if not run.state.is_active():
        return f"epoch {run.epoch} of {run.epochs}"
    parts = [run.phase or "starting"]
    if run.phase == "training":
        parts = [f"epoch {min(run.epoch + 1, run.epochs)} of {run.epochs}"]
    if going is not None and going.seconds_left is not None:
        parts.append(f"{duration(going.seconds_left)} left")
    return ", ".join(parts)


def standstill(run: Run, now: datetime) -> str | None:
    """A sentence where a run that trains has made no step for a while."""
    if run.state != RunState.RUNNING or run.phase != "training" or run.progress_at is None:
        return None
    seconds = (now - run.progress_at).total_seconds()
    if seconds < STANDSTILL_S:
        return None
    return f"No step for {duration(seconds)}: the machine may be busy; the log says more."


def duration(seconds: float) -> str:
    """A length of time with units."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def moment(when: datetime) -> str:
    """A moment in the reader's own time zone."""
    try:
        zone = ZoneInfo(st.context.timezone or "UTC")
    except ZoneInfoNotFoundError:
        zone = ZoneInfo("UTC")
    return f"{when.astimezone(zone):%d %b %Y, %H:%M}"


def tab_title(study: Study, runs: Sequence[Run], page: str) -> str:
    """What the browser's tab says: how far a study is, or how it has ended."""
    if all(run.state == RunState.DONE for run in runs):
        return f"done · {study.name}"
    if all(run.is_over for run in runs):
        return f"ended · {study.name}"
    share = sum(1.0 if run.is_over else run.progress for run in runs) / len(runs)
    return f"{share:.0%} · {study.name} · {page}"


def state_badges(runs: Sequence[Run]) -> None:
    """How many runs are in each state, as badges in a row."""
    with st.container(horizontal=True, gap="small"):
        for state, (colour, icon) in BADGES.items():
            count = sum(run.state == state for run in runs)
            if count:
                st.badge(f"{count} {state}", color=colour, icon=icon)
