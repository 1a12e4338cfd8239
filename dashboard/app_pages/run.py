"""Run: one run: what it is, how it went, what it left behind."""

from datetime import UTC, datetime

import streamlit as st

from dashboard.components.empty_states import nothing_here
from dashboard.components.gallery.gallery import Chosen, gallery, through_epochs
from dashboard.components.live_chart.live_chart import View, live_chart
from dashboard.components.pickers import pick_run
from dashboard.components.runs import run_sections as sections
from dashboard.components.runs.action_menu import confirmation, menu, run_deeds
from dashboard.components.runs.annotations import edit_run, show_tags
from dashboard.components.runs.run_cards import Now, main_deed, remarks, run_name
from dashboard.components.runs.status import doing, duration, moment, tab_title
from dashboard.queries import curves, gallery_images, studies
from engine.metrics.catalog import CATALOG, CURVES
from engine.records.runs import RunState

REFRESH_S = 1.0

st.title("Run", anchor=False)
at_first = pick_run()
study = studies.study(at_first.study_id)

with st.container(horizontal=True):
    link = {"study": str(study.id)}
    st.page_link(
        "app_pages/live.py", label=f"Study {study.id}, live", icon=":material/monitoring:",
        query_params=link,
    )  # fmt: skip
    st.page_link(
        "app_pages/compare.py", label="Comparison", icon=":material/table_chart:", query_params=link
    )
    clone = {"clone_run": str(at_first.id)}
    st.page_link(
        "app_pages/launch.py", label="Clone", icon=":material/content_copy:", query_params=clone
    )
    if at_first.state == RunState.DONE:
        st.page_link(
            "app_pages/colorize.py",
            label="Colorize",
            icon=":material/palette:",
            query_params={"models": str(at_first.id)},
        )


def show_card() -> None:
    """How it stands."""
    now, run = datetime.now(UTC), studies.run(at_first.id)
    attempts, alerts = studies.attempts([run]), curves.alerts([run])
    known = Now(
        now,
        attempts,
        studies.queue(),
        curves.goings([run], attempts, now),
        alerts,
        studies.summaries([run.id]),
    )
    with st.container(border=True):
        run_name(run)
        st.progress(1.0 if run.state == RunState.DONE else run.progress)
        show_tags(run.tags)
        before = known.queue.get(run.id, 0)
        deeds = run_deeds(run, before > 0)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(doing(run, known.goings.get(run.id), before), width="stretch")
            main_deed(run)
            menu(f"run_{run.id}", deeds)
        confirmation(f"run_{run.id}", deeds)
        if run.is_over and run.ended_at is not None and run.started_at is not None:
            took = duration((run.ended_at - run.started_at).total_seconds())
            st.caption(f"ended {moment(run.ended_at)}, {took} after it began")
        remarks(run, known, known.attempt(run))
    if run.is_over != at_first.is_over:
        st.rerun()


def show_chart() -> None:
    """The curve; the chart fetches its points by itself."""
    run, members = studies.run(at_first.id), studies.runs(study.id)
    attempts, alerts = studies.attempts([run]), curves.alerts([run])
    view = View(metric, smoothing=0.6)
    title = tab_title(study, members, f"run {run.id}")
    live_chart(
        study.id,
        [run],
        view,
        attempts,
        alerts,
        is_live=not run.is_over,
        is_over=run.is_over,
        title=title,
    )


every = None if at_first.is_over else REFRESH_S
st.fragment(show_card, run_every=every)()
metric = st.selectbox(
    "Curve",
    CURVES,
    index=CURVES.index("l1"),
    format_func=lambda name: CATALOG[name].label,
    key="run_curve",
    bind="query-params",
    width=260,
)
st.fragment(show_chart, run_every=every)()

samples, evaluation, settings, history, environment, note = st.tabs(
    ["Samples", "Evaluation", "Settings", "History", "Environment", "Note"]
)
with samples:
    found = studies.samples([at_first.id])
    shown = through_epochs(study, [at_first], found, None, gallery_images.count_rows(found))
    if shown is None:
        nothing_here("The first samples appear after the first epoch.")
    else:
        gallery(f"samples_of_run_{at_first.id}", shown, Chosen())
with evaluation:
    sections.show_evaluation(at_first)
with settings:
    sections.show_settings(at_first)
with history:
    sections.show_history(at_first)
with environment:
    sections.show_environment(at_first)
with note:
    edit_run(at_first, sorted({tag for run in studies.runs(study.id) for tag in run.tags}))
