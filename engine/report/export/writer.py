"""Writes the export of a study to a folder, or as a zip file.

A new folder is built under a temporary name and renamed when it is complete.
"""

import fcntl
import io
import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import plotly.graph_objects as go

from engine.errors import BadInputError, EngineError
from engine.report.export.bundle import Bundle, Progress, build_bundle
from engine.report.export.png import draw_pngs
from engine.settings import Settings
from engine.store import Store

BUILD_PREFIX = ".chromabench-export-"
STALE_S = 3600  # an older build folder was left by a killed export


def export_study(
    store: Store,
    settings: Settings,
    study_id: int,
    out: Path,
    on_progress: Progress = lambda doing: None,
) -> list[str]:
    """Writes the export of a study to a folder.

    A new folder appears only when it is complete. In the folder of an earlier export, the files and
    the folder `figures` are replaced one by one.

    Args:
        store: the store with the study.
        settings: the locations of the study's images.
        study_id: the study.
        out: the folder, created if it does not exist. Other files outside `figures` are kept.
        on_progress: called with a description of each part before the part is built.

    Returns:
        Sentences about files that could not be built.

    Raises:
        BadInputError: `out` exists and is neither an export nor an empty folder.
        EngineError: the folder cannot be written, or another export is writing to it.
    """
    try:
        out = out.resolve()
        if out.exists() and not (out.is_dir() and (_is_export(out) or not any(out.iterdir()))):
            raise BadInputError(f"{out} already exists and is no export; name a new folder.")
        bundle = build_bundle(store, settings, study_id, on_progress)
        out.parent.mkdir(parents=True, exist_ok=True)
        with _build_folder(out if out.exists() else out.parent) as build:
            _write(bundle, build, on_progress)
            if not out.exists():
                (build / "export").rename(out)
            else:
                _replace_files(build / "export", out)
    except OSError as error:
        raise EngineError(f"{out} cannot be written ({error.strerror or error}).") from error
    return bundle.remarks


def export_zip(store: Store, settings: Settings, study_id: int) -> bytes:
    """Exports a study as the content of a zip file.

    Raises:
        EngineError: the temporary folder cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        name = f"study-{study_id}"
        export_study(store, settings, study_id, Path(folder) / name)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((Path(folder) / name).rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(folder))
        return buffer.getvalue()


@contextmanager
def _build_folder(parent: Path) -> Iterator[Path]:
    """Creates a hidden build folder, and deletes the build folders of killed exports."""
    for path in parent.glob(f"{BUILD_PREFIX}*"):
        if time.time() - path.stat().st_mtime > STALE_S:
            shutil.rmtree(path, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=BUILD_PREFIX, dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace_files(new: Path, out: Path) -> None:
    """Replaces the files and folders of an old export by the new ones, under a lock."""
    handle = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EngineError(f"Another export is writing to {out}; try again.") from error
        for path in sorted(new.iterdir()):
            target = out / path.name
            if target.is_dir():
                target.rename(new.parent / f"old-{path.name}")  # deleted with the build folder
            path.replace(target)
    finally:
        os.close(handle)


def _write(bundle: Bundle, build: Path, on_progress: Progress) -> None:
    """Writes all files of an export; figures are also written as PNG if there is a browser."""
    folder = build / "export"
    figures_folder = folder / "figures"
    figures_folder.mkdir(parents=True)
    for name, text in bundle.texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, image in bundle.images.items():
        (figures_folder / f"{name}.png").write_bytes(image.png)
    figures = {name: figure for group in bundle.figures for name, figure in group.figures.items()}
    for name, figure in figures.items():
        on_white = go.Figure(figure).update_layout(paper_bgcolor="white")
        on_white.write_html(figures_folder / f"{name}.html", include_plotlyjs="directory")
    on_progress("drawing figures as PNG")
    bundle.remarks += draw_pngs(figures, figures_folder)


def _is_export(folder: Path) -> bool:
    """Returns whether the folder contains the `results.json` of an export."""
    try:
        document = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and {"chromabench", "format", "runs"} <= set(document)
