"""Writes an export: the folder appears under its name only when it is whole."""

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

BUILDING, STALE_S = ".chromabench-export-", 3600


def export_study(
    store: Store,
    settings: Settings,
    study_id: int,
    out: Path,
    on_progress: Progress = lambda doing: None,
) -> list[str]:
    """Writes a study into a folder: a new one whole or not at all, an earlier export file by file.

    Args:
        store: where the study is.
        settings: where its pictures lie.
        study_id: which.
        out: the folder; made if it is not there. Files in it that are not ours stay.
        on_progress: told what is being made.

    Returns:
        Remarks: sentences on what could not be made.

    Raises:
        BadInputError: the folder holds something that is not an export.
        EngineError: it cannot be written, or another export is writing there.
    """
    try:
        out = out.resolve()
        if out.exists() and not (out.is_dir() and (_is_export(out) or not any(out.iterdir()))):
            raise BadInputError(f"{out} is there already and is no export; name a new folder.")
        bundle = build_bundle(store, settings, study_id, on_progress)
        out.parent.mkdir(parents=True, exist_ok=True)
        with _building(out if out.exists() else out.parent) as building:
            _write(bundle, building, on_progress)
            if not out.exists():
                (building / "export").rename(out)
            else:
                _replace(building / "export", out)
    except OSError as error:
        raise EngineError(f"{out} cannot be written ({error.strerror or error}).") from error
    return bundle.remarks


def export_zip(store: Store, settings: Settings, study_id: int) -> bytes:
    """The same as a zip file's content."""
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
def _building(place: Path) -> Iterator[Path]:
    """A hidden folder to build in, gone in the end; what killed exports left is swept away."""
    for left in place.glob(f"{BUILDING}*"):
        if time.time() - left.stat().st_mtime > STALE_S:
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=BUILDING, dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(new: Path, out: Path) -> None:
    """Puts each file of a new export in the place of the old one's; one export at a time."""
    handle = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EngineError(f"Another export is writing to {out}; try again.") from error
        for path in sorted(new.iterdir()):
            target = out / path.name
            if target.is_dir():
                target.rename(new.parent / f"old-{path.name}")  # swept with the building
            path.replace(target)
    finally:
        os.close(handle)


def _write(bundle: Bundle, building: Path, on_progress: Progress) -> None:
    """Writes everything; figures as PNG too, where a browser can draw them."""
    folder = building / "export"
    figures = folder / "figures"
    figures.mkdir(parents=True)
    for name, text in bundle.texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, picture in bundle.pictures.items():
        (figures / f"{name}.png").write_bytes(picture.png)
    drawn = {name: part for it in bundle.figures for name, part in it.parts.items()}
    for name, figure in drawn.items():
        light = go.Figure(figure).update_layout(paper_bgcolor="white")
        light.write_html(figures / f"{name}.html", include_plotlyjs="directory")
    on_progress("drawing figures as PNG")
    bundle.remarks += draw_pngs(drawn, figures)


def _is_export(folder: Path) -> bool:
    """Whether a folder was written by us: its results.json says so."""
    try:
        document = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and {"chromabench", "format", "runs"} <= set(document)
