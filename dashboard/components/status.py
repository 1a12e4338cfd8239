"""A run's state as a badge, and its progress in words."""

from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from dashboard.components.text import plain
from engine.records import Attempt, Run, RunState

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


def doing(run: Run, now: datetime, attempt: Attempt | None = None, before: int = 0) -> str:
    """What the run is doing, in a few words.

    Args:
        run: whose.
        now: the moment.
        attempt: the newest at it, by which the time left is told.
        before: how many runs wait before it.
    """
    if run.state == RunState.QUEUED:
        return f"waits, {before} before it" if before else "waits, the next in turn"
    if run.will_retry:
        return "goes on by itself in a moment"
    if not run.state.is_active():
        return f"epoch {run.epoch} of {run.epochs}"
    parts = [run.phase or "starting"]
    if run.phase == "training":
        parts = [f"epoch {min(run.epoch + 1, run.epochs)} of {run.epochs}"]
        left = seconds_left(run, now, attempt)
        if left is not None:
            parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def seconds_left(run: Run, now: datetime, attempt: Attempt | None) -> float | None:
    """By the pace of this attempt; None before there is one."""
    if attempt is None or attempt.ended_at is not None:
        return None
    done = run.step - attempt.from_step
    if done <= 0 or run.step >= run.steps:
        return None
    return (now - attempt.started_at).total_seconds() * (run.steps - run.step) / done


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
