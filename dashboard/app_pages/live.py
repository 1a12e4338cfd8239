"""Live: curves and newest samples of all runs of a study, as they move."""

from datetime import UTC, datetime

import streamlit as st

from dashboard import reads
from dashboard.components.live_chart import View, live_chart
from dashboard.components.picker import pick_study
from dashboard.components.run_cards import run_cards
from dashboard.components.strips import newest_samples
from engine.metrics.catalog import CATALOG, CURVES

REFRESH_S = 1.0
DEFAULT_CURVE = "l1"

st.title("Live", anchor=False)
study = pick_study()

with st.container(horizontal=True, vertical_alignment="bottom"):
    metric = st.selectbox(
        "Curve",
        CURVES,
        index=CURVES.index(DEFAULT_CURVE),
        format_func=lambda name: CATALOG[name].label,
        key="curve",
        bind="query-params",
        width=220,
    )
    axis = st.segmented_control("Horizontal axis", ["step", "epoch"], default="step", key="axis")
    scale = st.segmented_control("Scale", ["linear", "log"], default="linear", key="scale")
    smoothing = st.slider("Smoothing", 0.0, 0.99, 0.6, key="smoothing", width=220)

st.caption(CATALOG[metric].about)
view = View(metric, smoothing, axis or "step", scale == "log")


def tick() -> None:
    """Everything that moves; asks only for rows that are new."""
    runs = reads.runs(study.id)
    live_chart(study.id, runs, view, reads.new_points)
    run_cards(runs, datetime.now(UTC))
    newest_samples(runs, reads.samples([run.id for run in runs]))
    if all(run.is_over for run in runs) and not finished:
        st.rerun()


finished = all(run.is_over for run in reads.runs(study.id))
if finished:
    st.caption("All runs have ended.")
else:
    st.caption(f":material/sensors: Live: looks for new rows every {REFRESH_S:.0f} s.")
st.fragment(tick, run_every=None if finished else REFRESH_S)()

with st.expander("Logs", icon=":material/terminal:", on_change="rerun") as logs:
    if logs.open:
        for run in reads.runs(study.id):
            st.caption(f"run {run.id}: {run.configuration}, seed {run.seed}")
            st.code(reads.log_tail(run.id) or "no log yet", language=None, height=160)
