"""Shows states, progress and times of runs as badges and short texts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from dashboard.components.escape import escape_markdown
from engine.jobs.progress import RunProgress, study_seconds_left
from engine.records.runs import Run, RunState, Study

STALL_WARNING_S = 60.0

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


def state_badge(run: Run) -> None:
    """Shows the state of a run, with the reason for the state as tooltip."""
    colour, icon = BADGES[run.state]
    help_text = escape_markdown(run.reason or "") or None
    st.badge(str(run.state), color=colour, icon=icon, help=help_text)


def state_badges(runs: Sequence[Run]) -> None:
    """Shows how many runs are in each state, as a row of badges."""
    with st.container(horizontal=True, gap="small"):
        for state, (colour, icon) in BADGES.items():
            count = sum(run.state == state for run in runs)
            if count:
                st.badge(f"{count} {state}", color=colour, icon=icon)


def activity(run: Run, progress: RunProgress | None = None, n_before: int = 0) -> str:
    """Describes the current activity of a run in a few words.

    Args:
        run: the run.
        progress: the progress of the run, for the time left.
        n_before: the number of runs before this run in the queue.
    """
    if run.state == RunState.QUEUED:
        return f"queued, {n_before} run{'s' * (n_before > 1)} ahead" if n_before else "queued, next"
    if run.will_retry:
        return "retries automatically in a moment"
    if not run.state.is_active():
        return f"epoch {run.epoch} of {run.epochs}"
    parts = [run.phase or "starting"]
    if run.phase == "training":
        parts = [f"epoch {min(run.epoch + 1, run.epochs)} of {run.epochs}"]
    if progress is not None and progress.seconds_left is not None:
        parts.append(f"{format_duration(progress.seconds_left)} left")
    return ", ".join(parts)


def study_progress(runs: Sequence[Run], progress: Mapping[int, RunProgress]) -> None:
    """Shows the progress of a study and the time left as a progress bar.

    Args:
        runs: all runs of the study.
        progress: run id -> progress of an active run.
    """
    seconds_left = study_seconds_left(runs, progress)
    left = f", about {format_duration(seconds_left)} left" if seconds_left is not None else ""
    share = _mean_progress(runs)
    st.progress(share, f"{share:.0%} of {len(runs)} runs{left}")


def _mean_progress(runs: Sequence[Run]) -> float:
    return sum(1.0 if run.is_over else run.progress for run in runs) / len(runs)


def stall_warning(run: Run, now: datetime) -> str | None:
    """Returns a warning if a run in training has made no step for `STALL_WARNING_S` seconds."""
    if run.state != RunState.RUNNING or run.phase != "training" or run.progress_at is None:
        return None
    seconds = (now - run.progress_at).total_seconds()
    if seconds < STALL_WARNING_S:
        return None
    return f"No step for {format_duration(seconds)}. The machine may be busy; see the log."


def format_duration(seconds: float) -> str:
    """Formats a duration with its unit: seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def format_time(time: datetime) -> str:
    """Formats a date and time in the time zone of the user's browser."""
    try:
        zone = ZoneInfo(st.context.timezone or "UTC")
    except ZoneInfoNotFoundError:
        zone = ZoneInfo("UTC")
    return f"{time.astimezone(zone):%d %b %Y, %H:%M}"


def tab_title(study: Study, runs: Sequence[Run], page: str) -> str:
    """Builds the title of the browser tab: the progress of a study, or `done` or `ended`."""
    if all(run.state == RunState.DONE for run in runs):
        return f"done · {study.name}"
    if all(run.is_over for run in runs):
        return f"ended · {study.name}"
    return f"{_mean_progress(runs):.0%} · {study.name} · {page}"
