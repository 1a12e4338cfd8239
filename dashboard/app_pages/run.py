"""Run: curves, samples, metrics, settings and history of one run."""

from datetime import UTC, datetime

import streamlit as st

from dashboard.components.empty_states import empty_state
from dashboard.components.gallery.gallery import GalleryState, gallery, samples_content
from dashboard.components.live_chart.live_chart import ChartView, live_chart
from dashboard.components.live_chart.view_controls import choose_curve
from dashboard.components.pickers import pick_run
from dashboard.components.queue_banner import watch_queue
from dashboard.components.runs import run_sections as sections
from dashboard.components.runs.annotations import edit_run
from dashboard.components.runs.run_cards import run_card
from dashboard.components.runs.run_log import show_log
from dashboard.components.runs.status import tab_title
from dashboard.queries import curves, gallery_images, studies

REFRESH_S = 1.0
SMOOTHING = 0.6

st.title("Run", anchor=False)
first_run = pick_run()
study = studies.study(first_run.study_id)
sections.show_links(first_run)
refresh_s = None if first_run.is_over else REFRESH_S


def refresh_card() -> None:
    """Draws the state of the run; redraws the page when the run ends or starts again."""
    watch_queue()
    run = studies.run(first_run.id)
    run_card(run, curves.snapshot([run], [run], datetime.now(UTC)))
    if run.is_over != first_run.is_over:
        st.rerun()


def refresh_chart() -> None:
    """Draws the curve; the chart fetches its points itself."""
    run, members = studies.run(first_run.id), studies.runs(study.id)
    live_chart(
        study.id,
        [run],
        ChartView(metric, SMOOTHING),
        studies.attempts([run]),
        curves.alerts([run]),
        is_live=not run.is_over,
        is_over=run.is_over,
        title=tab_title(study, members, f"run {run.id}"),
    )


st.fragment(refresh_card, run_every=refresh_s)()
metric = choose_curve("run_curve", list_width=260)
st.fragment(refresh_chart, run_every=refresh_s)()

samples_tab, evaluation, settings, history, log, environment, note = st.tabs(
    ["Samples", "Evaluation", "Settings", "History", "Log", "Environment", "Note"]
)
with samples_tab:
    samples = studies.samples([first_run.id])
    n_rows = gallery_images.count_pictures(samples)
    content = samples_content(study, [first_run], samples, n_rows)
    if content is None:
        empty_state("The first samples appear after the first epoch.")
    else:
        gallery(f"samples_of_run_{first_run.id}", content, GalleryState())
with evaluation:
    sections.show_evaluation(first_run)
with settings:
    sections.show_settings(first_run)
with history:
    sections.show_history(first_run)
with log:
    show_log(first_run.id, is_live=not first_run.is_over)
with environment:
    sections.show_environment(first_run)
with note:
    edit_run(first_run, sorted({tag for run in studies.runs(study.id) for tag in run.tags}))
