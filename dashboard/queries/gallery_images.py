"""Reads pictures for the Gallery page: samples by epoch and evaluated pictures by score."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st
from PIL import Image

from dashboard.queries import access, studies
from engine.errors import EngineError
from engine.images.grids import GUTTER_PX
from engine.records.runs import Run, Sample, Study
from engine.report import gallery

MAX_STRIP_PICTURES = 48
STRIP_CACHE_SIZE = 48  # strips; a strip has the pictures of one column on one page
RANKING_CACHE_SIZE = 20


def evaluated_runs(runs: Sequence[Run]) -> list[Run]:
    """Returns the runs whose chosen checkpoint has stored test pictures."""
    return gallery.runs_with_images(access.store(), runs)


def ranked_pictures(
    runs: Sequence[Run], metric: str, best_first: bool
) -> tuple[tuple[str, ...], Mapping[int, Mapping[str, float | None]]]:
    """Orders all evaluated pictures by the mean score of some runs.

    Args:
        runs: the runs whose scores decide, each with its chosen checkpoint.
        metric: one of `catalog.PER_IMAGE_METRICS`.
        best_first: whether the best pictures come first instead of the worst.

    Returns:
        The names of the pictures in order, and run id -> name -> score.
    """
    checkpoints = tuple((run.id, run.best_epoch, run.attempt) for run in runs)
    return _ranked_pictures(access.database_id(), checkpoints, runs, metric, best_first)


@st.cache_resource(max_entries=RANKING_CACHE_SIZE, show_spinner=False)
def _ranked_pictures(
    database_id: str,
    checkpoints: tuple[tuple[int, int | None, int], ...],
    _runs: Sequence[Run],
    metric: str,
    best_first: bool,
) -> tuple[tuple[str, ...], dict[int, dict[str, float | None]]]:
    """Caches the ranking by the chosen checkpoints; Streamlit does not hash `_runs`."""
    return gallery.read_image_order(access.store(), _runs, metric, best_first)


def address_version(record: Study | Run) -> str:
    """Returns a part of the addresses of pictures of a study or run, which browsers keep for good.

    Ids repeat after the restore of another database. The version differs, because it depends on the
    database file and on the time when the study or run was created.
    """
    text = f"{access.database_id()} {record.created_at.isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def strip(study_id: int, of: str, names: Sequence[str], version: str) -> bytes:
    """Draws evaluated pictures below each other as one PNG file.

    Args:
        study_id: the study.
        of: `source`, `target` or the id of a run.
        names: the names of the pictures, from top to bottom.
        version: a cache key that changes with the pictures, for example with the chosen checkpoint.

    Raises:
        EngineError: the pictures cannot be read.
        ValueError: `names` is empty or has more than `MAX_STRIP_PICTURES` names.
    """
    if not 1 <= len(names) <= MAX_STRIP_PICTURES:
        raise ValueError(f"a strip has 1 to {MAX_STRIP_PICTURES} pictures, not {len(names)}")
    return _strip(access.database_id(), study_id, of, tuple(names), version)


@st.cache_resource(max_entries=STRIP_CACHE_SIZE, show_spinner=False)
def _strip(database_id: str, study_id: int, of: str, names: tuple[str, ...], version: str) -> bytes:
    study = access.store().studies.read(study_id)
    return gallery.strip_to_png(
        gallery.load_strip(access.store(), access.settings(), study, of, names)
    )


def count_pictures(samples: Sequence[Sample]) -> int:
    """Counts the pictures in a strip of samples."""
    path = access.artifact_path(samples[0].source) if samples else None
    return _count_pictures(path) if path is not None else 0


@st.cache_resource(max_entries=500, show_spinner=False)
def _count_pictures(path: str) -> int:
    with Image.open(path) as strip:
        return (strip.height + GUTTER_PX) // (strip.width + GUTTER_PX)


def animation(study_id: int, run_ids: Sequence[int], row: int, file_format: str) -> bytes:
    """Builds an animation of one sample picture over the epochs, with the runs side by side.

    Args:
        study_id: the study.
        run_ids: the runs to show; runs without samples are left out.
        row: the position of the picture among the samples, from 0.
        file_format: `gif` or `webp`.

    Raises:
        EngineError: the study does not exist.
    """
    study = studies.study(study_id)
    runs = [run for run in access.store().runs.read_all(study.id) if run.id in run_ids]
    samples = studies.samples([run.id for run in runs])
    columns = {
        f"{run.configuration}{f', seed {run.seed}' if run.seed else ''}": [
            sample for sample in samples if sample.run_id == run.id
        ]
        for run in runs
    }
    with_samples = {name: column for name, column in columns.items() if column}
    return gallery.animate(with_samples, row, access.settings(), file_format)


def sample_file(run_id: int, name: str) -> Path:
    """Returns the path of a sample file of a run; raises `EngineError` if it does not exist."""
    folder = access.settings().run_dir(run_id) / "samples"
    path = folder / name
    if Path(name).name != name or path.suffix != ".png" or not path.is_file():
        raise EngineError("There is no such picture.")
    return path
