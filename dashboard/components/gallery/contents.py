"""Chooses the pictures of the Gallery page: samples of all epochs, or ranked test pictures."""

from collections.abc import Sequence

import streamlit as st

from dashboard.components.gallery.gallery import (
    GalleryContent,
    evaluation_content,
    require_pictures,
    samples_content,
)
from dashboard.components.pickers import choice, choose_image_metric
from dashboard.queries import gallery_images, studies
from engine.metrics.catalog import CATALOG
from engine.records.runs import Run, Study

PICTURES_PER_PAGE = 12
ALL_RUNS = 0  # not the id of a run


def choose_samples(study: Study, runs: Sequence[Run]) -> GalleryContent | None:
    """Builds the gallery of samples, which show the same few validation pairs at every epoch.

    Returns:
        The gallery; None before the first samples.
    """
    st.caption(
        "Each row is one validation pair from the more colourful half; all runs show the same "
        "pairs. A run that has not reached the epoch shows its latest one. Click a picture to "
        "enlarge it."
    )
    samples = studies.samples([run.id for run in runs])
    return samples_content(study, runs, samples, gallery_images.count_pictures(samples))


def choose_test_pictures(study: Study, runs: Sequence[Run]) -> GalleryContent | None:
    """Draws the choice of order and page; returns the test pictures, None before any evaluation.

    Raises:
        EngineError: the test pictures cannot be read.
    """
    evaluated = gallery_images.evaluated_runs(runs)
    if not evaluated:
        return None
    run_labels = {run.id: f"{run.configuration}, seed {run.seed}" for run in evaluated}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order = choice("order", ["worst", "best"], "Show first")
        metric = choose_image_metric("sorted_by", list_width=200)
        ranked_by = choice(
            "of",
            [ALL_RUNS, *run_labels],
            "Scores of",
            labels=lambda run_id: run_labels.get(run_id, "all runs (mean)"),
            list_width=240,
        )
    ranking_runs = [run for run in evaluated if ranked_by in (ALL_RUNS, run.id)]
    names, _ = gallery_images.ranked_pictures(ranking_runs, metric, order == "best")
    _, scores = gallery_images.ranked_pictures(evaluated, metric, order == "best")
    n_pages = max(1, -(-len(names) // PICTURES_PER_PAGE))
    with st.container(horizontal=True, vertical_alignment="center"):
        page = st.pagination(n_pages, key=f"page_{study.id}", bind="query-params")
        st.caption(
            f"{len(names):,} test pictures, each run with its chosen checkpoint. Below each "
            f"picture: {CATALOG[metric].label} {CATALOG[metric].arrow}."
        )
    start = (page - 1) * PICTURES_PER_PAGE
    names_on_page = names[start : start + PICTURES_PER_PAGE]
    require_pictures(study, names_on_page)
    return evaluation_content(study, evaluated, names_on_page, metric, scores)
