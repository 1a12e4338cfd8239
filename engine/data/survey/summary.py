"""Loads the stored statistics, renders the example pairs, and checks if a survey is outdated."""

import hashlib
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.data.pairs import split_channels
from engine.data.sources.interface import Source
from engine.data.sources.registry import parse_source
from engine.data.survey.scan import DECODE_PX
from engine.data.survey.survey import SURVEY_FORMAT, ProgressCallback, survey_dir
from engine.errors import BadInputError, EngineError
from engine.images.faults import PictureFaultError
from engine.settings import Settings
from engine.system.files import replacing

EXAMPLE_PX = 192
EXAMPLE_JPEG_QUALITY = 92


def load_summary(source: Source, settings: Settings) -> dict[str, Any] | None:
    """Loads the statistics and examples of a source; None if its current version was not scanned.

    Raises:
        EngineError: the stored summary is damaged.
    """
    return _load_summary(survey_dir(source, settings))


def scanned_sources(settings: Settings) -> list[Source]:
    """Returns the scanned folder sources that are still valid, the last scanned first."""
    sources = []
    for text in scanned_titles(settings):
        # Skipped: sources that are no longer valid, for example because the folder was deleted.
        with suppress(BadInputError):
            source = parse_source(text, settings)
            source.require_valid()
            sources.append(source)
    return sources


def scanned_titles(settings: Settings) -> dict[str, str]:
    """Returns SOURCE text -> title of the scanned folder sources, the last scanned first.

    The folders themselves are not read.
    """
    folders = [
        folder
        for folder in settings.data_dir.glob(f"*-survey-{SURVEY_FORMAT}-*")
        if (folder / "survey.json").is_file() and not folder.name.startswith(".")
    ]
    titles: dict[str, str] = {}
    for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True):
        # Skipped: damaged summaries, which are reported when their source is selected.
        with suppress(EngineError):
            summary = _load_summary(folder)
            if summary is not None and summary["source"] != "openmoji":
                titles.setdefault(summary["source"], f"{summary['title']} ({summary['source']})")
    return titles


def change_since_scan(source: Source, settings: Settings) -> str | None:
    """Returns a sentence on how a source has changed since the last scan.

    Returns None if the source has not changed, or was never scanned.
    """
    if (survey_dir(source, settings) / "survey.json").is_file():
        return None
    folders = settings.data_dir.glob(f"{source.slug}-survey-{SURVEY_FORMAT}-*")
    earlier_scans = [folder for folder in folders if (folder / "survey.json").is_file()]
    if not earlier_scans:
        return None
    last_scan = max(earlier_scans, key=lambda folder: folder.stat().st_mtime)
    try:
        document = json.loads((last_scan / "survey.json").read_text(encoding="utf-8"))
        scanned_names = {pair[0] for pair in document["pairs"]} | set(document["unread"])
    except (OSError, ValueError, LookupError, TypeError):
        return f"{source.title} has changed since it was scanned."
    names = set(source.names())
    n_new, n_gone = len(names - scanned_names), len(scanned_names - names)
    changes = [f"{count:,} {label}" for count, label in ((n_new, "new"), (n_gone, "gone")) if count]
    reason = ", ".join(changes) or "files were changed"
    return f"{source.title} has changed since it was scanned ({reason})."


def shift_sentence(shift: Mapping[str, Any]) -> str:
    """Returns a sentence on how a held-out split differs from train in one measure.

    Args:
        shift: an entry of `shifts` in the summary.
    """
    return (
        f"{shift['split']} differs from train in {shift['measure']}: median {shift['median']:.3g} "
        f"against {shift['train_median']:.3g} (Kolmogorov-Smirnov distance "
        f"{shift['distance']:.2f}, p {shift['p']:.1g})"
    )


def render_all_examples(source: Source, settings: Settings, on_progress: ProgressCallback) -> None:
    """Renders all example pairs of the summary."""
    summary = load_summary(source, settings)
    splits = summary["examples"].values() if summary is not None else ()
    names = sorted({name for orders in splits for few in orders.values() for name in few})
    for n_done, name in enumerate(names, 1):
        # Skipped: examples that can no longer be read; the Data page reports them.
        with suppress(PictureFaultError):
            render_example(source, settings, name)
        on_progress(n_done, len(names))


def render_example(source: Source, settings: Settings, name: str) -> Path:
    """Returns the JPEG file with both halves of a pair; renders the file if it does not exist.

    Raises:
        PictureFaultError: the pair can no longer be read, or the source has changed since the scan.
        OSError: the file cannot be written.
    """
    folder = survey_dir(source, settings)
    if not (folder / "survey.json").is_file():
        raise PictureFaultError("unreadable", "the folder has changed since it was scanned")
    path = folder / "examples" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.jpg"
    if not path.is_file():
        content = draw_example(source, name)
        with replacing(path) as file:
            file.write(content)
    return path


def draw_example(source: Source, name: str) -> bytes:
    """Returns a JPEG file with both halves of a pair.

    Raises:
        PictureFaultError: the pair can no longer be read.
    """
    halves = split_channels(source.load_pair(name, DECODE_PX).render(EXAMPLE_PX))
    buffer = io.BytesIO()
    image = Image.fromarray(np.concatenate(halves, axis=1))
    image.save(buffer, "JPEG", quality=EXAMPLE_JPEG_QUALITY)
    return buffer.getvalue()


def _load_summary(folder: Path) -> dict[str, Any] | None:
    if not (folder / "survey.json").is_file():
        return None
    keys = {"source", "title", "about", "pairs", "splits", "shifts", "examples"}
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        if not keys <= set(summary):
            raise ValueError("keys are missing")
    except (OSError, ValueError, TypeError) as error:
        raise EngineError(
            f"{folder} is damaged ({error}). Remove it; the next scan makes it again."
        ) from error
    return summary
