"""Writes an export: the folder appears under its name only when it is whole."""

import io
import shutil
import tempfile
import zipfile
from pathlib import Path

import plotly.graph_objects as go

from engine.errors import BadInputError, EngineError
from engine.export.bundle import Bundle, Progress, build_bundle
from engine.export.figures import draw_pngs
from engine.settings import Settings
from engine.store import Store


def export_study(
    store: Store,
    settings: Settings,
    study_id: int,
    out: Path,
    on_progress: Progress = lambda doing: None,
) -> list[str]:
    """Writes a study into a folder, in the place of an earlier export of ours.

    Args:
        store: where the study is.
        settings: where its pictures lie.
        study_id: which.
        out: the folder; made if it is not there.
        on_progress: told what is being made.

    Returns:
        Remarks: sentences on what could not be made.

    Raises:
        BadInputError: the folder holds something that is not an export.
        EngineError: it cannot be written.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not _is_export(out))):
        raise BadInputError(f"{out} is there already and is no export; name a new folder.")
    bundle = build_bundle(store, settings, study_id, on_progress)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            _write(bundle, building, on_progress)
            building.chmod(0o755)
            if out.exists():
                shutil.rmtree(out)
            building.rename(out)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
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


def _write(bundle: Bundle, folder: Path, on_progress: Progress) -> None:
    """Writes everything; figures as PNG too, where a browser can draw them."""
    for name, text in bundle.texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    figures = folder / "figures"
    figures.mkdir()
    for name, picture in bundle.pictures.items():
        (figures / f"{name}.png").write_bytes(picture.png)
    drawn = {name: part for it in bundle.figures for name, part in it.parts.items()}
    for name, figure in drawn.items():
        light = go.Figure(figure).update_layout(paper_bgcolor="white")
        light.write_html(figures / f"{name}.html", include_plotlyjs="directory")
    on_progress("drawing figures as PNG")
    bundle.remarks += draw_pngs(drawn, figures)


def _is_export(folder: Path) -> bool:
    return (folder / "results.json").is_file() and (folder / "report.html").is_file()
