"""Cards of runs: state, progress, speed, memory and actions."""

from collections.abc import Callable, Sequence

import streamlit as st

from dashboard import actions
from dashboard.components.configuration_label import configuration_label
from dashboard.components.escape import escape_markdown
from dashboard.components.runs.action_menu import confirmation, menu, perform, run_actions
from dashboard.components.runs.annotations import show_tags
from dashboard.components.runs.status import (
    activity,
    format_duration,
    format_time,
    stall_warning,
    state_badge,
)
from dashboard.queries.curves import RunsSnapshot
from engine.metrics.catalog import CATALOG
from engine.records.runs import Run, RunState

CARDS_PER_ROW = 3


def run_cards(runs: Sequence[Run], snapshot: RunsSnapshot) -> None:
    """Draws one small card per run."""
    for start in range(0, len(runs), CARDS_PER_ROW):
        columns = st.columns(CARDS_PER_ROW)
        for column, run in zip(columns, runs[start : start + CARDS_PER_ROW], strict=False):
            with column.container(border=True, height="stretch", gap="small"):
                _small_card(run, snapshot)


def _small_card(run: Run, snapshot: RunsSnapshot) -> None:
    _heading(run)
    n_before = snapshot.queue.get(run.id, 0)
    st.markdown(activity(run, snapshot.progress.get(run.id), n_before))
    # Without figures, an empty line keeps the buttons of neighbouring cards aligned.
    st.caption(" · ".join(_figures(run, snapshot)) or "&nbsp;")
    menu_actions = run_actions(run, n_before > 0)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        _main_action(run)
        st.page_link(
            "app_pages/run.py",
            label="Details",
            icon=":material/info:",
            query_params={"run": str(run.id)},
        )
        menu(f"run_{run.id}", menu_actions)
    confirmation(f"run_{run.id}", menu_actions)
    _remarks(run, snapshot)


def run_card(run: Run, snapshot: RunsSnapshot) -> None:
    """Draws the large card at the top of the Run page."""
    with st.container(border=True):
        _heading(run)
        show_tags(run.tags)
        n_before = snapshot.queue.get(run.id, 0)
        menu_actions = run_actions(run, n_before > 0)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(activity(run, snapshot.progress.get(run.id), n_before), width="stretch")
            _main_action(run)
            menu(f"run_{run.id}", menu_actions)
        confirmation(f"run_{run.id}", menu_actions)
        if run.is_over and run.ended_at is not None and run.started_at is not None:
            seconds = (run.ended_at - run.started_at).total_seconds()
            st.caption(f"ended {format_time(run.ended_at)}, after {format_duration(seconds)}")
        _remarks(run, snapshot)


def _heading(run: Run) -> None:
    """Shows configuration, seed, state and progress."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        configuration_label(run.configuration, f", seed {run.seed}", dot_size="1.2rem")
        state_badge(run)
    st.progress(1.0 if run.state == RunState.DONE else run.progress)


def _figures(run: Run, snapshot: RunsSnapshot) -> list[str]:
    """Formats speed and memory with their units, and the number of a second or later attempt."""
    progress = snapshot.progress.get(run.id)
    speed = progress.images_per_second if progress is not None else None
    if speed is None:
        speed = snapshot.last_value(run, "images_per_second")
    memory = snapshot.last_value(run, "peak_memory_mb")
    figures = [
        f"{CATALOG[name].format(value)} {CATALOG[name].unit}"
        for name, value in (("images_per_second", speed), ("peak_memory_mb", memory))
        if value is not None
    ]
    if run.attempt > 1:
        figures.append(f"attempt {run.attempt}")
    return figures


def _remarks(run: Run, snapshot: RunsSnapshot) -> None:
    """Shows the reason for the state, warnings, alerts and the notes of the newest attempt."""
    if run.reason and run.state != RunState.RUNNING:
        st.caption(escape_markdown(run.reason))
    if (warning := stall_warning(run, snapshot.now)) is not None:
        st.markdown(f":small[:orange[:material/hourglass_disabled: {warning}]]")
    for alert in snapshot.alerts.get(run.id, ()):
        text = f":material/warning: Step {alert.step:,}: {escape_markdown(alert.text)}"
        st.markdown(f":small[:orange[{text}]]")
    attempt = snapshot.newest_attempt(run)
    for note in (attempt.note or "").splitlines() if attempt is not None else ():
        st.caption(f":material/info: {escape_markdown(note)}")


def _main_action(run: Run) -> None:
    """Draws the button of the most likely action: Stop, Kill or Resume; none if the run is done."""
    action: Callable[[int], object]
    if run.state in (RunState.QUEUED, RunState.RUNNING) or run.will_retry:
        label, icon, action = "Stop", "stop", actions.stop_run
        help_text = "Saves a checkpoint and stops. You can resume the run later."
    elif run.state == RunState.STOPPING:
        label, icon, action = "Kill", "cancel", actions.stop_run
        help_text = "Ends the process now. Resume repeats the steps after the newest checkpoint."
    elif run.state != RunState.DONE:
        label, icon, action = "Resume", "play_arrow", actions.resume_run
        help_text = (
            "Continues from the newest checkpoint, with the same result as without the "
            "interruption."
        )
    else:
        return
    key = f"{label.lower()}_{run.id}"
    if st.button(label, type="tertiary", icon=f":material/{icon}:", key=key, help=help_text):
        perform(lambda: action(run.id))
