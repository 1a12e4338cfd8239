"""The runs of a study while they move: state, progress, speed, Stop."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from dashboard import actions, reads
from dashboard.components.status import badge, doing
from dashboard.components.text import plain
from engine.errors import EngineError
from engine.metrics.catalog import CATALOG
from engine.records import Run, RunState

PER_ROW = 3


def run_cards(runs: Sequence[Run], now: datetime) -> None:
    """A card per run, three to a row."""
    lasts = {(it.run_id, it.name): it.last for it in reads.summaries([run.id for run in runs])}
    for start in range(0, len(runs), PER_ROW):
        columns = st.columns(PER_ROW)
        for column, run in zip(columns, runs[start : start + PER_ROW], strict=False):
            with column.container(border=True, height="stretch"):
                _card(run, now, lasts.get((run.id, "images_per_second")))


def _card(run: Run, now: datetime, speed: float | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{run.configuration}**, seed {run.seed}", width="stretch")
        badge(run)
    st.progress(1.0 if run.state == RunState.DONE else run.progress)
    parts = [doing(run, now)]
    if speed is not None:
        metric = CATALOG["images_per_second"]
        parts.append(f"{metric.format(speed)} {metric.unit}")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(" · ".join(parts), width="stretch")
        if run.state in (RunState.QUEUED, RunState.RUNNING):
            _stop_button(run)
    if run.reason:
        st.caption(plain(run.reason))


def _stop_button(run: Run) -> None:
    help_text = "Stop this run; its last finished epoch is kept."
    if st.button("Stop", type="tertiary", key=f"stop_{run.id}", help=help_text):
        try:
            actions.stop_run(run.id)
        except EngineError as error:
            st.toast(plain(str(error)))
