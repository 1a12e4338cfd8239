"""Gallery: the same pictures side by side, through the epochs or by their scores."""

import streamlit as st

from dashboard.components.empty_states import nothing_here
from dashboard.components.escape import plain
from dashboard.components.gallery.gallery import (
    Chosen,
    Shown,
    gallery,
    of_evaluation,
    require_pictures,
    through_epochs,
)
from dashboard.components.pickers import pick_runs, pick_study
from dashboard.queries import gallery_images, studies
from engine.errors import EngineError
from engine.metrics.catalog import CATALOG
from engine.records.runs import Run

PER_PAGE = 12
RUNS_AT_FIRST = 6
KINDS = {"samples": "Samples through the epochs", "test": "All test pictures"}

st.title("Gallery", anchor=False)
study = pick_study()
runs = pick_runs(study, studies.runs(study.id), RUNS_AT_FIRST)
if not runs:
    nothing_here("Choose at least one run.")
    st.stop()
kind = st.segmented_control(
    "Pictures",
    list(KINDS),
    default="samples",
    required=True,
    format_func=lambda it: KINDS[it],
    key="pictures",
    bind="query-params",
    label_visibility="collapsed",
)
# What was looked at of another study, or of other pictures, says nothing here.
looked_at = (study.id, kind)
if st.session_state.setdefault("gallery_of", looked_at) != looked_at:
    st.session_state["gallery_of"] = looked_at
    for name in ("epoch", "pinned", "look"):
        st.query_params.pop(name, None)


def choose_samples() -> Shown | None:
    """A few validation pairs, at every epoch."""
    st.caption(
        "Each row is one validation pair, taken from the more colourful half, the same for all "
        "runs. A run that is not as far shows its latest epoch. Click a picture to see it large."
    )
    samples = studies.samples([run.id for run in runs])
    return through_epochs(study, runs, samples, None, gallery_images.count_rows(samples))


def choose_evaluated() -> Shown | None:
    """A page of the test split, in the order of a metric."""
    judged = gallery_images.judged_runs(runs)
    if not judged:
        return None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order = st.segmented_control(
            "First the",
            ["worst", "best"],
            default="worst",
            required=True,
            key="order",
            bind="query-params",
        )
        metric = st.selectbox(
            "by",
            gallery_images.METRICS,
            format_func=lambda name: CATALOG[name].label,
            key="sorted_by",
            bind="query-params",
            width=200,
        )
        everybody = {0: "the mean of these runs"}
        judges = everybody | {run.id: f"{run.configuration}, seed {run.seed}" for run in judged}
        judge = st.selectbox(
            "of",
            list(judges),
            format_func=lambda run_id: judges[run_id],
            key="of",
            bind="query-params",
            width=240,
        )
    names, _ = gallery_images.order(_judging(judged, judge), metric, order == "best")
    _, scores = gallery_images.order(judged, metric, order == "best")
    pages = max(1, -(-len(names) // PER_PAGE))
    with st.container(horizontal=True, vertical_alignment="center"):
        page = st.pagination(pages, key=f"page_{study.id}", bind="query-params")
        st.caption(
            f"{len(names):,} test pictures, each run with its chosen checkpoint; "
            f"{CATALOG[metric].label} {CATALOG[metric].arrow} below each picture."
        )
    start = (page - 1) * PER_PAGE
    require_pictures(study, names[start : start + PER_PAGE])
    return of_evaluation(study, judged, names[start : start + PER_PAGE], metric, scores)


def _judging(judged: list[Run], judge: int) -> list[Run]:
    return [run for run in judged if judge in (0, run.id)]


try:
    shown = choose_samples() if kind == "samples" else choose_evaluated()
except EngineError as error:
    st.warning(plain(str(error)), icon=":material/broken_image:")
    st.stop()
if shown is None:
    nothing_here(
        "The first samples appear after the first epoch."
        if kind == "samples"
        else "Test pictures appear when a run has been evaluated."
    )
    st.stop()


def show(shown: Shown) -> None:
    """The pictures; what is looked at goes into the address."""
    asked = st.query_params
    epoch = asked.get("epoch", "")
    chosen = gallery(
        f"gallery_{study.id}_{kind}",
        shown,
        Chosen(
            epoch=int(epoch) if epoch.isdecimal() else None,
            pinned=tuple(asked.get_all("pinned")),
            look="difference" if asked.get("look") == "difference" else "pictures",
        ),
    )
    for name, value in (
        ("epoch", str(chosen.epoch) if chosen.epoch and kind == "samples" else ""),
        ("pinned", list(chosen.pinned)),
        ("look", "" if chosen.look == "pictures" else chosen.look),
    ):
        if value:
            asked[name] = value
        else:
            asked.pop(name, None)


st.fragment(show)(shown)
