"""What the Gallery may read: samples through the epochs, and evaluated pictures in any order."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st
from PIL import Image

from dashboard.queries import studies
from engine.errors import EngineError
from engine.images.grids import GUTTER
from engine.records.runs import Run, Sample, Study
from engine.report import cases, gallery

KEPT_STRIPS = 48  # in memory: a page of pictures of one column each
MOST_PICTURES = 48  # in a strip
KEPT_ORDERS = 20

METRICS = cases.judged_metrics()


def judged_runs(runs: Sequence[Run]) -> list[Run]:
    """The runs whose chosen checkpoint's pictures can be browsed."""
    return gallery.judged_runs(studies.store(), runs)


def order(
    runs: Sequence[Run], metric: str, best_first: bool
) -> tuple[tuple[str, ...], Mapping[int, Mapping[str, float | None]]]:
    """All evaluated pictures, the worst or the best for these runs first, and their scores."""
    chosen = tuple((run.id, run.best_epoch, run.attempt) for run in runs)
    return _order(studies.database(), chosen, runs, metric, best_first)


@st.cache_resource(max_entries=KEPT_ORDERS, show_spinner=False)
def _order(
    database: str,
    chosen: tuple[tuple[int, int | None, int], ...],
    _runs: Sequence[Run],
    metric: str,
    best_first: bool,
) -> tuple[tuple[str, ...], dict[int, dict[str, float | None]]]:
    """Of one choice of checkpoints; another choice is another question."""
    return gallery.read_order(studies.store(), _runs, metric, best_first)


def strip(study_id: int, of: str, names: Sequence[str], version: str) -> bytes:
    """Some evaluated pictures below each other, as a PNG; `version` is the checkpoint's.

    Raises:
        EngineError: they are not where they were.
        ValueError: so many are not shown at once.
    """
    if not 1 <= len(names) <= MOST_PICTURES:
        raise ValueError(f"a strip has 1 to {MOST_PICTURES} pictures, not {len(names)}")
    return _strip(studies.database(), study_id, of, tuple(names), version)


@st.cache_resource(max_entries=KEPT_STRIPS, show_spinner=False)
def _strip(database: str, study_id: int, of: str, names: tuple[str, ...], version: str) -> bytes:
    study = studies.store().read_study(study_id)
    return gallery.to_png(gallery.read_strip(studies.store(), studies.settings(), study, of, names))


def count_rows(samples: Sequence[Sample]) -> int:
    """How many pictures a strip of samples has."""
    path = studies.artifact(samples[0].source) if samples else None
    return _count_rows(path) if path is not None else 0


@st.cache_resource(max_entries=500, show_spinner=False)
def _count_rows(path: str) -> int:
    with Image.open(path) as strip:
        return (strip.height + GUTTER) // (strip.width + GUTTER)


def animation(study: Study, run_ids: Sequence[int], row: int, file_format: str) -> bytes:
    """One sample picture through the epochs, its runs beside each other."""
    runs = [run for run in studies.store().read_runs(study.id) if run.id in run_ids]
    samples = studies.samples([run.id for run in runs])
    columns = {
        f"{run.configuration}{f', seed {run.seed}' if run.seed else ''}": [
            it for it in samples if it.run_id == run.id
        ]
        for run in runs
    }
    kept = {name: found for name, found in columns.items() if found}
    return gallery.animate(kept, row, studies.settings(), file_format)


def sample_file(run_id: int, name: str) -> Path:
    """A file of a run's samples; raises `EngineError` where there is none."""
    folder = studies.settings().run_dir(run_id) / "samples"
    path = folder / name
    if Path(name).name != name or path.suffix != ".png" or not path.is_file():
        raise EngineError("There is no such picture.")
    return path
