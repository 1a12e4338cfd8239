"""The runs of a study while they move: state, progress, speed, what can be done with them."""

from collections.abc import Callable, Sequence
from datetime import datetime

import streamlit as st

from dashboard import actions, reads
from dashboard.components.deeds import confirmation, menu, perform, run_deeds
from dashboard.components.status import badge, doing
from dashboard.components.text import plain
from engine.metrics.catalog import CATALOG
from engine.records import Attempt, Run, RunState

PER_ROW = 3


def run_cards(runs: Sequence[Run], now: datetime) -> None:
    """A card per run, three to a row; archived runs are left out."""
    shown = [run for run in runs if run.archived_at is None] or runs
    lasts = {(it.run_id, it.name): it.last for it in reads.summaries([run.id for run in shown])}
    attempts, queue = reads.attempts(shown), reads.queue()
    for start in range(0, len(shown), PER_ROW):
        columns = st.columns(PER_ROW)
        for column, run in zip(columns, shown[start : start + PER_ROW], strict=False):
            with column.container(border=True, height="stretch"):
                newest = attempts[run.id][-1] if run.id in attempts else None
                _card(
                    run, now, lasts.get((run.id, "images_per_second")), newest, queue.get(run.id, 0)
                )


def _card(
    run: Run, now: datetime, speed: float | None, attempt: Attempt | None, before: int
) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{run.configuration}**, seed {run.seed}", width="stretch")
        badge(run)
    st.progress(1.0 if run.state == RunState.DONE else run.progress)
    parts = [doing(run, now, attempt, before)]
    if speed is not None:
        metric = CATALOG["images_per_second"]
        parts.append(f"{metric.format(speed)} {metric.unit}")
    if run.attempt > 1:
        parts.append(f"attempt {run.attempt}")
    deeds = run_deeds(run, before > 0)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(" · ".join(parts), width="stretch")
        _button(run)
        menu(f"run_{run.id}", deeds)
    confirmation(f"run_{run.id}", deeds)
    if run.reason and run.state != RunState.RUNNING:
        st.caption(plain(run.reason))
    for note in (attempt.note or "").splitlines() if attempt is not None else ():
        st.caption(f":material/info: {plain(note)}")


def _button(run: Run) -> None:
    """What one most likely wants to do with the run."""
    deed: Callable[[int], object]
    if run.state in (RunState.QUEUED, RunState.RUNNING) or run.will_retry:
        label, deed = "Stop", actions.stop_run
        help_text = "It is saved between two steps, and can be resumed there."
    elif run.state == RunState.STOPPING:
        label, deed = "Kill", actions.stop_run
        help_text = "Ends it at once; what came after its newest checkpoint is done again."
    elif run.state != RunState.DONE:
        label, deed = "Resume", actions.resume_run
        help_text = "Goes on from its newest checkpoint, as if it had not been interrupted."
    else:
        return
    if st.button(label, type="tertiary", key=f"{label.lower()}_{run.id}", help=help_text):
        perform(lambda: deed(run.id))
