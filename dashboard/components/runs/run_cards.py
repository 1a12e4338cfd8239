"""A card per run, as it moves: state, progress, pace, memory, and what can be done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape

import streamlit as st

from dashboard import actions
from dashboard.components.escape import plain
from dashboard.components.runs.action_menu import confirmation, menu, perform, run_deeds
from dashboard.components.runs.status import badge, doing, standstill
from engine.jobs.progress import Going
from engine.metrics.catalog import CATALOG
from engine.records.curves import Alert, MetricSummary
from engine.records.runs import Attempt, Run, RunState
from engine.report import theme

PER_ROW = 3


@dataclass(frozen=True)
class Now:
    """What is known of some runs at a moment, each part by run."""

    at: datetime
    attempts: Mapping[int, Sequence[Attempt]] = field(default_factory=dict)
    queue: Mapping[int, int] = field(default_factory=dict)
    goings: Mapping[int, Going] = field(default_factory=dict)
    alerts: Mapping[int, Sequence[Alert]] = field(default_factory=dict)
    summaries: Mapping[tuple[int, str], MetricSummary] = field(default_factory=dict)

    def attempt(self, run: Run) -> Attempt | None:
        """The newest at a run."""
        found = self.attempts.get(run.id)
        return found[-1] if found else None

    def last(self, run: Run, name: str) -> float | None:
        """The newest value of a curve."""
        found = self.summaries.get((run.id, name))
        return found.last if found is not None else None


def run_cards(runs: Sequence[Run], now: Now) -> None:
    """A card per run, three to a row."""
    for start in range(0, len(runs), PER_ROW):
        columns = st.columns(PER_ROW)
        for column, run in zip(columns, runs[start : start + PER_ROW], strict=False):
            with column.container(border=True, height="stretch", gap="small"):
                _card(run, now)


def run_name(run: Run) -> None:
    """The run's configuration with its colour, and its seed; leads to the run."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        colour = theme.colour(run.configuration)
        dot = f"<span aria-hidden='true' style='color:{colour};font-size:1.2rem'>●</span>"
        st.html(f"{dot} <b>{escape(run.configuration)}</b>, seed {run.seed}", width="stretch")
        badge(run)


def _card(run: Run, now: Now) -> None:
    run_name(run)
    st.progress(1.0 if run.state == RunState.DONE else run.progress)
    attempt, before = now.attempt(run), now.queue.get(run.id, 0)
    st.markdown(doing(run, now.goings.get(run.id), before))
    figures = _figures(run, now)
    st.caption(" · ".join(figures) if figures else "\u00a0")
    deeds = run_deeds(run, before > 0)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        main_deed(run)
        st.page_link(
            "app_pages/run.py",
            label="Details",
            icon=":material/info:",
            query_params={"run": str(run.id)},
        )
        menu(f"run_{run.id}", deeds)
    confirmation(f"run_{run.id}", deeds)
    remarks(run, now, attempt)


def _figures(run: Run, now: Now) -> list[str]:
    """Speed and memory, with their units."""
    going = now.goings.get(run.id)
    speed = going.images_per_second if going is not None else None
    if speed is None:
        speed = now.last(run, "images_per_second")
    figures = []
    for name, value in (
        ("images_per_second", speed),
        ("peak_memory_mb", now.last(run, "peak_memory_mb")),
    ):
        if value is not None:
            figures.append(f"{CATALOG[name].format(value)} {CATALOG[name].unit}")
    if run.attempt > 1:
        figures.append(f"attempt {run.attempt}")
    return figures


def remarks(run: Run, now: Now, attempt: Attempt | None) -> None:
    """Why it ended, what was seen in its curves, and what its process had to say."""
    if run.reason and run.state != RunState.RUNNING:
        st.caption(plain(run.reason))
    if (silence := standstill(run, now.at)) is not None:
        st.markdown(f":small[:orange[:material/hourglass_disabled: {silence}]]")
    for alert in now.alerts.get(run.id, ()):
        words = f":material/warning: Step {alert.step:,}: {plain(alert.text)}"
        st.markdown(f":small[:orange[{words}]]")
    for note in (attempt.note or "").splitlines() if attempt is not None else ():
        st.caption(f":material/info: {plain(note)}")


def main_deed(run: Run) -> None:
    """What one most likely wants to do with the run."""
    deed: Callable[[int], object]
    if run.state in (RunState.QUEUED, RunState.RUNNING) or run.will_retry:
        label, icon, deed = "Stop", "stop", actions.stop_run
        help_text = "It is saved between two steps, and can be resumed there."
    elif run.state == RunState.STOPPING:
        label, icon, deed = "Kill", "cancel", actions.stop_run
        help_text = "Ends it at once; what came after its newest checkpoint is done again."
    elif run.state != RunState.DONE:
        label, icon, deed = "Resume", "play_arrow", actions.resume_run
        help_text = "Goes on from its newest checkpoint, as if it had not been interrupted."
    else:
        return
    key = f"{label.lower()}_{run.id}"
    if st.button(label, type="tertiary", icon=f":material/{icon}:", key=key, help=help_text):
        perform(lambda: deed(run.id))
