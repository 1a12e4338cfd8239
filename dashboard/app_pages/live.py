"""Live: curves, runs and newest samples of a study while it runs."""

from datetime import UTC, datetime

import streamlit as st

from dashboard.components.empty_states import empty_state
from dashboard.components.gallery.gallery import GalleryState, gallery, samples_content
from dashboard.components.live_chart.live_chart import live_chart
from dashboard.components.live_chart.view_controls import view_controls
from dashboard.components.pickers import pick_runs, pick_study
from dashboard.components.queue_banner import watch_queue
from dashboard.components.runs.run_cards import run_cards
from dashboard.components.runs.run_log import show_log
from dashboard.components.runs.status import study_progress, tab_title
from dashboard.queries import curves, gallery_images, studies
from engine.metrics.catalog import CATALOG
from engine.report import charts

REFRESH_S = 1.0
MAX_SAMPLES = 2

st.title("Live", anchor=False)
study = pick_study()
first_members = studies.runs(study.id)
selected = pick_runs(study, first_members)
selected_ids = {run.id for run in selected}
if not selected:
    empty_state("Choose at least one run.")
    st.stop()
view, is_paused = view_controls()
was_over = all(run.is_over for run in first_members)
is_live = not (was_over or is_paused)


def refresh() -> None:
    """Draws everything that changes during training; the chart fetches its points itself."""
    watch_queue()
    members = studies.runs(study.id)
    runs = [run for run in members if run.id in selected_ids]
    is_over = all(run.is_over for run in members)
    snapshot = curves.snapshot(runs, members, datetime.now(UTC))
    live_chart(
        study.id,
        runs,
        view,
        snapshot.attempts,
        snapshot.alerts,
        is_live=is_live,
        is_over=is_over,
        title=tab_title(study, members, "Live"),
    )
    st.caption(CATALOG[view.metric].description)
    if missing_lines := charts.explain_missing_lines(runs, view.metric):
        st.caption(missing_lines)
    if not was_over:
        study_progress(members, snapshot.progress)
    run_cards(runs, snapshot)
    st.subheader("Newest samples", anchor=False)
    samples = studies.newest_samples([run.id for run in runs])
    n_rows = min(gallery_images.count_pictures(samples), MAX_SAMPLES)
    content = samples_content(study, runs, samples, n_rows)
    if content is None:
        empty_state("The first samples appear after the first epoch.")
    else:
        gallery(f"newest_{study.id}", content, GalleryState(), is_compact=True)
    if is_over and not was_over:
        st.rerun()


st.fragment(refresh, run_every=REFRESH_S if is_live else None)()

with st.expander("Logs", icon=":material/terminal:", on_change="rerun", key="logs") as logs:
    if logs.open:
        names = {run.id: f"run {run.id}: {run.config.label}" for run in selected}
        logged_run = st.selectbox(
            "Run", list(names), format_func=lambda run_id: names[run_id], key=f"log_{study.id}"
        )
        show_log(logged_run, is_live=is_live)
