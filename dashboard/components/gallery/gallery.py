"""The gallery component: rows of pictures, columns of runs, one slider over the epochs.

`gallery.js` is its other half: it fetches strips of pictures by itself and cuts
them, so that scrubbing asks nothing of Streamlit.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dashboard import routes
from dashboard.components.js_component import component
from dashboard.queries import gallery_images
from engine.config import source_label
from engine.metrics.catalog import CATALOG
from engine.records.runs import Run, Sample, Study
from engine.report import theme

_component = component(
    "gallery",
    html="""<div class="gallery">
<div class="bar"></div>
<div class="grid"></div>
<dialog aria-label="One picture, large"></dialog>
</div>
""",
)


@dataclass(frozen=True)
class Chosen:
    """What the reader looks at, as an address holds it."""

    epoch: int | None = None
    pinned: tuple[str, ...] = ()
    look: str = "pictures"


@dataclass(frozen=True)
class Shown:
    """Rows and columns of pictures, and where their strips lie."""

    rows: list[dict[str, Any]]
    columns: list[dict[str, Any]]
    epochs: list[int] = field(default_factory=list)
    animation: str | None = None


def gallery(key: str, shown: Shown, chosen: Chosen, *, is_compact: bool = False) -> Chosen:
    """Draws it; what the reader has chosen by now."""
    result = _component(
        key=key,
        data={
            "rows": shown.rows,
            "columns": shown.columns,
            "epochs": shown.epochs,
            "epoch": chosen.epoch,
            "pinned": list(chosen.pinned),
            "look": chosen.look,
            "animation": shown.animation,
            "compact": is_compact,
        },
        on_epoch_change=lambda: None,
        on_pinned_change=lambda: None,
        on_look_change=lambda: None,
    )
    pinned = result.pinned
    return Chosen(
        epoch=result.epoch if result.epoch is not None else chosen.epoch,
        pinned=tuple(pinned) if pinned is not None else chosen.pinned,
        look=result.look or chosen.look,
    )


def through_epochs(
    study: Study, runs: Sequence[Run], samples: Sequence[Sample], most: int | None, rows: int
) -> Shown | None:
    """Samples of runs through the epochs; None before there are any.

    Args:
        study: whose.
        runs: a column each.
        samples: of these runs, by epoch.
        most: at most so many rows; None: all.
        rows: how many pictures a strip has.
    """
    if not samples:
        return None
    of_run = {run.id: [it for it in samples if it.run_id == run.id] for run in runs}
    first = samples[0]
    columns = [
        _fixed("source", source_label(study.data), "given", _sample_url(first, "source")),
        _fixed("target", "target", "wanted", _sample_url(first, "target")),
        *(
            _of_run(run, [[it.epoch, _sample_url(it, "fake")] for it in of_run[run.id]])
            for run in runs
        ),
    ]
    ids = ",".join(str(run.id) for run in runs)
    return Shown(
        rows=[{"key": str(row), "label": f"picture {row + 1}"} for row in range(rows)][:most],
        columns=columns,
        epochs=sorted({it.epoch for it in samples}),
        animation=f"{routes.address('animation')}?study={study.id}&runs={ids}",
    )


def require_pictures(study: Study, names: Sequence[str]) -> None:
    """Raises `EngineError` with the reason where the pictures of a page cannot be shown."""
    if names:
        gallery_images.strip(study.id, "target", names, _version(study))


def _version(study: Study) -> str:
    return f"{study.budget.px}"


def of_evaluation(
    study: Study,
    runs: Sequence[Run],
    names: Sequence[str],
    metric: str,
    scores: Mapping[int, Mapping[str, float | None]],
) -> Shown:
    """Evaluated pictures, each run's with its score.

    Args:
        study: whose.
        runs: a column each, with their chosen checkpoints.
        names: of the pictures, in the order of the rows.
        metric: what the scores are of.
        scores: run -> picture -> score.
    """
    about = CATALOG[metric]

    def strip(of: str, version: object) -> str:
        asked = quote(json.dumps(list(names)))
        return f"{routes.address('strip')}?study={study.id}&of={of}&v={version}&names={asked}"

    rows = [
        {
            "key": name,
            "label": name,
            "captions": {
                str(run.id): f"{about.format(scores[run.id].get(name))} {about.unit}".strip()
                for run in runs
            },
        }
        for name in names
    ]
    version = _version(study)
    columns = [
        _fixed("source", source_label(study.data), "given", strip("source", version)),
        _fixed("target", "target", "wanted", strip("target", version)),
        *(
            {
                **_of_run(run, [[0, strip(str(run.id), f"{run.best_epoch}-{run.attempt}")]]),
                "detail": f"chosen epoch {run.best_epoch}",
            }
            for run in runs
        ),
    ]
    return Shown(rows, columns)


def _sample_url(sample: Sample, part: str) -> str:
    name = Path(str(getattr(sample, part))).name
    return f"{routes.address(f'sample/{sample.run_id}/{name}')}?v={sample.id}"


def _fixed(key: str, label: str, detail: str, url: str) -> dict[str, Any]:
    return {"key": key, "label": label, "detail": detail, "isRun": False, "strips": [[0, url]]}


def _of_run(run: Run, strips: list[list[object]]) -> dict[str, Any]:
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
