"""Reading back what a survey stored for people: figures, examples, and whether it still holds."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.data.pairs import split_pixels
from engine.data.sources.registry import Source, read_source
from engine.data.survey.scan import NEEDED
from engine.data.survey.survey import FORMAT, Progress, survey_dir
from engine.errors import BadInputError, EngineError
from engine.images.faults import PictureFaultError
from engine.images.pillow import lenient_pillow
from engine.settings import Settings
from engine.system.files import replacing

EXAMPLE_PX = 192


def load_summary(source: Source, settings: Settings) -> dict[str, Any] | None:
    """The source in figures and examples; None where no survey was made of it as it is now."""
    return _read_summary(survey_dir(source, settings))


def known_sources(settings: Settings) -> list[Source]:
    """The folders that were looked at and are still there, the latest first."""
    found = []
    for text in known_titles(settings):
        with suppress(BadInputError):  # the folder is gone, or its halves are alike by now
            source = read_source(text, settings)
            source.require_sound()
            found.append(source)
    return found


def known_titles(settings: Settings) -> dict[str, str]:
    """SOURCE text -> title of the folders that were looked at, the latest first; none is read."""
    folders = settings.data_dir.glob(f"*-survey-{FORMAT}-*")
    whole = [it for it in folders if (it / "survey.json").is_file() and it.name[0] != "."]
    found: dict[str, str] = {}
    for folder in sorted(whole, key=lambda it: it.stat().st_mtime, reverse=True):
        with suppress(EngineError):  # a damaged one is told when its source is chosen
            summary = _read_summary(folder)
            if summary is not None and summary["source"] != "openmoji":
                found.setdefault(summary["source"], f"{summary['title']} ({summary['source']})")
    return found


def changed_since(source: Source, settings: Settings) -> str | None:
    """In a sentence how the folder differs from when it was last looked at; None if not at all."""
    if (survey_dir(source, settings) / "survey.json").is_file():
        return None
    folders = settings.data_dir.glob(f"{source.slug}-survey-{FORMAT}-*")
    before = [it for it in folders if (it / "survey.json").is_file()]
    if not before:
        return None
    latest = max(before, key=lambda it: it.stat().st_mtime)
    try:
        known = json.loads((latest / "survey.json").read_text(encoding="utf-8"))
        then = {pair[0] for pair in known["pairs"]} | set(known["unread"])
    except (OSError, ValueError, LookupError, TypeError):
        return f"{source.title} has changed since it was looked at."
    now = set(source.names())
    changes = [
        f"{len(it):,} {what}" for it, what in ((now - then, "new"), (then - now, "gone")) if it
    ]
    what = ", ".join(changes) or "files were changed"
    return f"{source.title} has changed since it was looked at ({what})."


def say_shift(shift: Mapping[str, Any]) -> str:
    """In what a held-out split differs from training, in a sentence."""
    return (
        f"{shift['split']} differs from train in {shift['measure']}: median {shift['median']:.3g} "
        f"against {shift['train_median']:.3g} (Kolmogorov-Smirnov distance "
        f"{shift['distance']:.2f}, p {shift['p']:.1g})"
    )


def _read_summary(folder: Path) -> dict[str, Any] | None:
    if not (folder / "survey.json").is_file():
        return None
    try:
        found: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        if not {"source", "title", "about", "pairs", "splits", "shifts", "examples"} <= set(found):
            raise ValueError("its parts are missing")
    except (OSError, ValueError, TypeError) as error:
        raise EngineError(f"{folder} is damaged ({error}). Remove it; it is made again.") from error
    return found


def draw_all_examples(source: Source, settings: Settings, on_progress: Progress) -> None:
    """Draws every example that the summary names, as long as its file is there."""
    summary = load_summary(source, settings)
    orders = summary["examples"].values() if summary is not None else ()
    names = sorted({name for order in orders for few in order.values() for name in few})
    for done, name in enumerate(names, 1):
        with suppress(PictureFaultError):  # it went since; the page says so where it is shown
            draw_example(source, settings, name)
        on_progress(done, len(names))


def draw_example(source: Source, settings: Settings, name: str) -> Path:
    """A picture of both halves of a pair, drawn once and kept with the survey.

    Raises:
        PictureFaultError: the file has gone, or the folder has changed since the survey.
    """
    folder = survey_dir(source, settings)
    if not (folder / "survey.json").is_file():
        raise PictureFaultError("unreadable", "the folder has changed since it was looked at")
    path = folder / "examples" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.jpg"
    if not path.is_file():
        with lenient_pillow():
            halves = split_pixels(source.open(name, NEEDED).draw(EXAMPLE_PX))
        with replacing(path) as file:
            Image.fromarray(np.concatenate(halves, axis=1)).save(file, "JPEG", quality=92)
    return path
