"""The gallery component: one row per picture, one column per run, one slider over the epochs.

A strip is one file with the pictures of a column below each other. `gallery.js` fetches strips
itself and cuts pictures out of them, so that moving the slider does not rerun the page.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import streamlit as st

from dashboard import routes
from dashboard.components.js_component.component import component
from dashboard.queries import gallery_images
from engine.config import source_label
from engine.metrics.catalog import CATALOG
from engine.records.runs import Run, Sample, Study
from engine.report import theme

_component = component(
    "gallery",
    html="""<div class="gallery">
<div class="bar"></div>
<p class="failure" role="alert" hidden></p>
<div class="grid"></div>
<dialog aria-label="Enlarged picture"></dialog>
</div>
""",
    subject="The gallery",
)


@dataclass(frozen=True)
class GalleryState:
    """The selection of the user in a gallery.

    Attributes:
        epoch: the epoch; None for the newest one.
        pinned: keys of the rows at the top.
        view: `pictures`, or `difference` for heat maps of the differences from the target.
    """

    epoch: int | None = None
    pinned: tuple[str, ...] = ()
    view: str = "pictures"


@dataclass(frozen=True)
class GalleryContent:
    """The rows and columns of a gallery, as `gallery.js` expects them.

    Attributes:
        rows: key, label and captions of each picture.
        columns: key, label and strips of each column.
        epochs: all epochs with samples; empty for test pictures.
        animation: the URL of the animations; None for test pictures.
    """

    rows: list[dict[str, Any]]
    columns: list[dict[str, Any]]
    epochs: list[int] = field(default_factory=list)
    animation: str | None = None


def gallery(
    key: str, content: GalleryContent, state: GalleryState, *, is_compact: bool = False
) -> GalleryState:
    """Draws a gallery.

    Args:
        key: the key of the component.
        content: the pictures.
        state: the selection at first.
        is_compact: whether to leave out the controls and the names of the rows.

    Returns:
        The selection of the user.
    """
    result = _component(
        key=key,
        data={
            "rows": content.rows,
            "columns": content.columns,
            "epochs": content.epochs,
            "epoch": state.epoch,
            "pinned": list(state.pinned),
            "view": state.view,
            "animation": content.animation,
            "compact": is_compact,
        },
        on_epoch_change=lambda: None,
        on_pinned_change=lambda: None,
        on_view_change=lambda: None,
    )
    pinned = result.pinned
    return GalleryState(
        epoch=result.epoch if result.epoch is not None else state.epoch,
        pinned=tuple(pinned) if pinned is not None else state.pinned,
        view=result.view or state.view,
    )


def gallery_in_url(key: str, content: GalleryContent) -> None:
    """Draws a gallery whose state is part of the URL: `epoch`, `pinned` and `look`."""
    query = st.query_params
    epoch = query.get("epoch", "")
    state = gallery(
        key,
        content,
        GalleryState(
            epoch=int(epoch) if epoch.isdecimal() else None,
            pinned=tuple(query.get_all("pinned")),
            view="difference" if query.get("look") == "difference" else "pictures",
        ),
    )
    for name, value in (
        ("epoch", str(state.epoch) if state.epoch and content.epochs else ""),
        ("pinned", list(state.pinned)),
        ("look", "" if state.view == "pictures" else state.view),
    ):
        if value:
            query[name] = value
        else:
            query.pop(name, None)


def samples_content(
    study: Study,
    runs: Sequence[Run],
    samples: Sequence[Sample],
    n_rows: int,
) -> GalleryContent | None:
    """Builds a gallery of samples; None if there are no samples.

    Args:
        study: the study.
        runs: the runs, each shown in one column.
        samples: the samples of these runs, ordered by epoch.
        n_rows: the number of pictures to show from the top of each strip.
    """
    if not samples:
        return None
    by_run = {run.id: [sample for sample in samples if sample.run_id == run.id] for run in runs}
    first = samples[0]
    versions = {run.id: gallery_images.address_version(run) for run in runs}

    def url(sample: Sample, part: str) -> str:
        name = Path(str(getattr(sample, part))).name
        path = routes.route_url(f"sample/{sample.run_id}/{name}")
        return f"{path}?v={versions[sample.run_id]}-{sample.id}"

    columns = [
        _pair_column("source", source_label(study.data), "input", url(first, "source")),
        _pair_column("target", "target", "ground truth", url(first, "target")),
        *(
            _run_column(run, [[sample.epoch, url(sample, "fake")] for sample in by_run[run.id]])
            for run in runs
        ),
    ]
    run_ids = ",".join(str(run.id) for run in runs)
    return GalleryContent(
        rows=[{"key": str(row), "label": f"picture {row + 1}"} for row in range(n_rows)],
        columns=columns,
        epochs=sorted({sample.epoch for sample in samples}),
        animation=f"{routes.route_url('animation')}?study={study.id}&runs={run_ids}",
    )


def require_pictures(study: Study, names: Sequence[str]) -> None:
    """Raises `EngineError` with the reason if test pictures cannot be read."""
    if names:
        gallery_images.strip(study.id, "target", names, _pairs_version(study))


def _pairs_version(study: Study) -> str:
    return f"{gallery_images.address_version(study)}-{study.budget.px}"


def _fakes_version(run: Run) -> str:
    return f"{gallery_images.address_version(run)}-{run.best_epoch}-{run.attempt}"


def evaluation_content(
    study: Study,
    runs: Sequence[Run],
    names: Sequence[str],
    metric: str,
    scores: Mapping[int, Mapping[str, float | None]],
) -> GalleryContent:
    """Builds a gallery of test pictures with the score of each run.

    Args:
        study: the study.
        runs: the runs, each shown in one column with its chosen checkpoint.
        names: the names of the pictures, in the order of the rows.
        metric: the metric of the scores.
        scores: run id -> name -> score.
    """
    scored = CATALOG[metric]

    def strip_url(of: str, version: str) -> str:
        quoted_names = quote(json.dumps(list(names)))
        query = f"study={study.id}&of={of}&v={version}&names={quoted_names}"
        return f"{routes.route_url('strip')}?{query}"

    rows = [
        {
            "key": name,
            "label": name,
            "captions": {
                str(run.id): f"{scored.format(scores[run.id].get(name))} {scored.unit}".strip()
                for run in runs
            },
        }
        for name in names
    ]
    version = _pairs_version(study)
    columns = [
        _pair_column("source", source_label(study.data), "input", strip_url("source", version)),
        _pair_column("target", "target", "ground truth", strip_url("target", version)),
        *(
            {
                **_run_column(run, [[0, strip_url(str(run.id), _fakes_version(run))]]),
                "detail": f"chosen epoch {run.best_epoch}",
            }
            for run in runs
        ),
    ]
    return GalleryContent(rows, columns)


def _pair_column(key: str, label: str, detail: str, url: str) -> dict[str, Any]:
    """Builds the column of sources or targets, which are the same for all runs and epochs."""
    return {"key": key, "label": label, "detail": detail, "isRun": False, "strips": [[0, url]]}


def _run_column(run: Run, strips: list[list[object]]) -> dict[str, Any]:
    """Builds the column of a run from [epoch, URL] of its strips, ordered by epoch."""
    seed = f", seed {run.seed}" if run.seed else ""
    return {
        "key": str(run.id),
        "label": f"{run.configuration}{seed}",
        "name": run.configuration,
        "seed": f"seed {run.seed}",
        "colour": theme.colour(run.configuration),
        "isRun": True,
        "strips": strips,
    }
