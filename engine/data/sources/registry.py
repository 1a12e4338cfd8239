"""Parses a SOURCE text, which names a source of image pairs.

    openmoji                      the embedded drawings
    sidebyside:PATH               pictures with two halves, sketch and colour, in either order
    folders:SKETCH_DIR,COLOUR_DIR two folders of files with equal names
    photos:PATH                   colour pictures; their grey versions are the sources

Options follow a question mark: `photos:PATH?limit=5000&seed=1`.
"""

import re
from functools import cache
from pathlib import Path

from engine.data.sources.exclusions import load_exclusions
from engine.data.sources.folders import Photos, SourceOptions, TwoFolders
from engine.data.sources.interface import Source
from engine.data.sources.listing import list_folder
from engine.data.sources.openmoji import OpenMoji
from engine.data.sources.sidebyside import SideBySide
from engine.errors import BadInputError
from engine.settings import Settings

SOURCE_KINDS = {
    "openmoji": "the embedded drawings: line art to colour",
    "sidebyside:PATH": "pictures with two halves, sketch and colour, in either order",
    "folders:SKETCH_DIR,COLOUR_DIR": "two folders of files with equal names",
    "photos:PATH": "colour pictures; their grey versions are the sources",
}
FOLDER_KINDS = ("sidebyside", "folders", "photos")


@cache
def _openmoji() -> OpenMoji:
    return OpenMoji()


def parse_source(text: str, settings: Settings) -> Source:
    """Parses a SOURCE text and lists the files of the folders that the text names.

    Args:
        text: the SOURCE text.
        settings: the settings with the folder of the lists of excluded files.

    Raises:
        BadInputError: the source, folder or option does not exist, the folder has no pictures, or
            the list of excluded files is damaged.
    """
    kind, colon, path_and_options = text.strip().partition(":")
    if text.strip() == "openmoji":
        return _openmoji()
    if not colon or kind not in FOLDER_KINDS:
        raise BadInputError(
            f"There is no data source {text[:80]!r}; there are {', '.join(SOURCE_KINDS)}."
        )
    path_text, options = _split_options(kind, path_and_options)
    if not path_text.strip() or "\0" in path_text:
        raise BadInputError(f"{kind}: needs a folder after the colon, as in {kind}:/my/pictures.")
    if kind == "folders":
        sketches, colours = _parse_two_folders(path_text)
        excluded = load_exclusions(f"folders:{sketches},{colours}", settings)
        return TwoFolders(list_folder(sketches), list_folder(colours), options, excluded)
    root = _parse_folder(path_text)
    excluded = load_exclusions(f"{kind}:{root}", settings)
    source_class = SideBySide if kind == "sidebyside" else Photos
    return source_class(list_folder(root), options, excluded)


def _split_options(kind: str, text: str) -> tuple[str, SourceOptions]:
    """Splits a text at the last question mark into the path and the options."""
    path_text, question_mark, query = text.rpartition("?")
    if not question_mark or not re.fullmatch(r"[a-z]+=[^&=/]*(&[a-z]+=[^&=/]*)*", query):
        return text, SourceOptions()
    keys = ("limit", "seed", "sketch") if kind == "sidebyside" else ("limit", "seed")
    values: dict[str, str] = {}
    for assignment in query.split("&"):
        key, _, value = assignment.partition("=")
        if key not in keys:
            raise BadInputError(
                f"{kind}: has no option {key!r}; its options are {', '.join(keys)}."
            )
        if key in values:
            raise BadInputError(f"{kind}: has the option {key} twice; give it one value.")
        values[key] = value
    limit = _parse_whole_number(values, "limit", 1) if "limit" in values else None
    sketch = values.get("sketch", "auto")
    if sketch not in ("auto", "left", "right"):
        raise BadInputError(f"sketch must be left, right or auto, not {sketch[:40]!r}.")
    seed = _parse_whole_number(values, "seed", 0) if "seed" in values else 0
    return path_text, SourceOptions(limit, seed, sketch)


def _parse_whole_number(values: dict[str, str], key: str, minimum: int) -> int:
    text = values[key]
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < minimum:
        raise BadInputError(f"{key} must be a whole number from {minimum}, not {text[:40]!r}.")
    return int(text)


def _parse_two_folders(text: str) -> tuple[Path, Path]:
    """Parses two folders, separated by a comma.

    If the text has several commas, the first comma between two existing folders is the separator.
    """
    parts = text.split(",")
    if len(parts) < 2 or not all(part.strip() for part in (parts[0], parts[-1])):
        raise BadInputError("folders: needs two folders, as in folders:/my/sketches,/my/colours.")
    choices = [(",".join(parts[:at]), ",".join(parts[at:])) for at in range(1, len(parts))]
    existing = [
        choice for choice in choices if all(_parse_folder(part).is_dir() for part in choice)
    ]
    sketches, colours = (_parse_folder(part) for part in (existing or choices)[0])
    if sketches == colours:
        raise BadInputError(f"folders: names {sketches} twice; it needs two different folders.")
    return sketches, colours


def _parse_folder(text: str) -> Path:
    try:
        return Path(text.strip()).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise BadInputError(f"{text[:80]!r} is not the name of a folder ({error}).") from error
