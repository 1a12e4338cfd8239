"""Reading back what a survey stored for people: figures, examples, and whether it still holds."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.data.faults import PictureFaultError
from engine.data.opened import split_pixels
from engine.data.pictures import decoding
from engine.data.reading import NEEDED
from engine.data.sources import Source, read_source
from engine.data.survey import FORMAT, Progress, survey_dir
from engine.errors import BadInputError, EngineError
from engine.files import replacing
from engine.settings import Settings

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
            if source.about:
                found.append(source)
    return found


def known_titles(settings: Settings) -> dict[str, str]:
    """SOURCE text -> title of the folders that were looked at, the latest first; none is read."""
    folders = [it for it in settings.data_dir.glob("*-survey-*") if it.is_dir()]
    folders.sort(key=lambda it: it.stat().st_mtime, reverse=True)
    found = [it for it in map(_read_summary, folders) if it is not None]
    return {
        it["source"]: f"{it['title']} ({it['source']})"
        for it in found
        if it["source"] != "openmoji"
    }


def changed_since(source: Source, settings: Settings) -> str | None:
    """In a sentence how the folder differs from when it was last looked at; None if not at all."""
    if survey_dir(source, settings).is_dir():
        return None
    before = [
        it for it in settings.data_dir.glob(f"{source.slug}-survey-{FORMAT}-*") if it.is_dir()
    ]
    if not before:
        return None
    latest = max(before, key=lambda it: it.stat().st_mtime)
    try:
        known = json.loads((latest / "survey.json").read_text(encoding="utf-8"))
        then = {pair[0] for pair in known["pairs"]} | set(known["unread"])
    except (OSError, ValueError, KeyError):
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
    try:
        found: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EngineError(f"{folder} is damaged ({error}). Remove it; it is made again.") from error
    return found


def draw_all_examples(source: Source, settings: Settings, on_progress: Progress) -> None:
    """Draws every example that the summary names, as long as its file is there."""
    summary = load_summary(source, settings)
    orders = summary["examples"].values() if summary is not None else ()
    names = sorted({name for order in orders for few in order.values() for name in few})
    for done, name in enumerate(names, 1):
        with suppress(PictureFaultError):  # it went since; the page says so where it is shown
            draw_examples(source, settings, [name])
        on_progress(done, len(names))


def draw_examples(source: Source, settings: Settings, names: Sequence[str]) -> list[Path]:
    """Pictures of both halves of some pairs, drawn once and kept with the survey.

    Raises:
        PictureFaultError: a file has gone or changed since the survey.
    """
    folder = survey_dir(source, settings) / "examples"
    found = []
    with decoding():
        for name in names:
            path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.jpg"
            if not path.is_file():
                halves = split_pixels(source.open(name, NEEDED).draw(EXAMPLE_PX))
                with replacing(path) as file:
                    picture = Image.fromarray(np.concatenate(halves, axis=1))
                    picture.save(file, "JPEG", quality=92)
            found.append(path)
    return found
