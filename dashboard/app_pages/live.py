"""Live: curves, runs and newest samples of a study as they move."""

from datetime import UTC, datetime

import streamlit as st

from dashboard.components.empty_states import nothing_here
from dashboard.components.gallery.gallery import Chosen, gallery, through_epochs
from dashboard.components.live_chart.live_chart import AXES, AXIS_TITLES, View, live_chart
from dashboard.components.pickers import pick_runs, pick_study
from dashboard.components.runs.run_cards import Now, run_cards
from dashboard.components.runs.status import duration, tab_title
from dashboard.queries import curves, gallery_images, studies
from engine.jobs import progress
from engine.metrics.catalog import CATALOG, CURVES

REFRESH_S = 1.0
LOG_REFRESH_S = 2.0
DEFAULT_CURVE = "l1"
SAMPLES_SHOWN = 2

st.title("Live", anchor=False)
study = pick_study()
everything = studies.runs(study.id)
chosen = {run.id for run in pick_runs(study, everything)}
if not chosen:
    nothing_here("Choose at least one run.")
    st.stop()

with st.container(horizontal=True, vertical_alignment="bottom"):
    metric = st.selectbox(
        "Curve",
        CURVES,
        index=CURVES.index(DEFAULT_CURVE),
        format_func=lambda name: CATALOG[name].label,
        key="curve",
        bind="query-params",
        width=210,
    )
    axis = st.segmented_control(
        "Along",
        AXES,
        default="step",
        required=True,
        format_func=lambda it: AXIS_TITLES[it],
        key="axis",
        bind="query-params",
        help="Time at work leaves out what lies between stop and resume.",
    )
    scale = st.segmented_control(
        "Scale",
        ["linear", "log"],
        default="linear",
        required=True,
        key="scale",
        bind="query-params",
    )
    by = st.segmented_control(
        "A line for each",
        ["run", "configuration"],
        default="run",
        required=True,
        key="by",
        bind="query-params",
        help="For each configuration: the mean over its seeds, and its 95 % interval. Along the "
        "clock runs stay single: seeds that ran one after another have no moment in common.",
    )
    smoothing = st.slider(
        "Smoothing", 0.0, 0.99, 0.6, key="smoothing", bind="query-params", width=170
    )
    is_paused = st.toggle("Pause", key="paused", help="The page stands still; the runs go on.")

assert axis in AXES
view = View(metric, smoothing, axis, scale == "log", "runs" if by == "run" else "configurations")
is_over = all(run.is_over for run in everything)
is_live = not (is_over or is_paused)


def tick() -> None:
    """Everything that moves; the chart fetches its points by itself."""
    now, members = datetime.now(UTC), studies.runs(study.id)
    runs = [run for run in members if run.id in chosen]
    ids = [run.id for run in runs]
    attempts, alerts = studies.attempts(runs), curves.alerts(runs)
    goings = curves.goings(members, attempts, now)
    live_chart(
        study.id,
        runs,
        view,
        attempts,
        alerts,
        is_live=is_live,
        is_over=all(run.is_over for run in members),
        title=tab_title(study, members, "Live"),
    )
    st.caption(CATALOG[metric].about)
    if not is_over:
        share = sum(1.0 if run.is_over else run.progress for run in members) / len(members)
        left = progress.study_seconds_left(members, goings)
        about = f", about {duration(left)} left" if left is not None else ""
        st.progress(share, f"{share:.0%} of {len(members)} runs{about}")
    summaries = studies.summaries(ids)
    run_cards(runs, Now(now, attempts, studies.queue(), goings, alerts, summaries))
    st.subheader("Newest samples", anchor=False)
    newest = studies.newest_samples(ids)
    shown = through_epochs(study, runs, newest, SAMPLES_SHOWN, gallery_images.count_rows(newest))
    if shown is None:
        nothing_here("The first samples appear after the first epoch.")
    else:
        gallery(f"newest_{study.id}", shown, Chosen(), is_compact=True)
    if all(run.is_over for run in members) and not is_over:
        st.rerun()


st.fragment(tick, run_every=REFRESH_S if is_live else None)()

with st.expander("Logs", icon=":material/terminal:", on_change="rerun", key="logs") as logs:
    if logs.open:
        names = {
            run.id: f"run {run.id}: {run.config.label}" for run in everything if run.id in chosen
        }
        log_of = st.selectbox(
            "Log of", list(names), format_func=lambda run_id: names[run_id], key=f"log_{study.id}"
        )

        def show_log() -> None:
            """The end of a run's log, as it grows."""
            st.code(studies.log_tail(log_of) or "no log yet", language=None, height=320)

        st.fragment(show_log, run_every=LOG_REFRESH_S if is_live else None)()
