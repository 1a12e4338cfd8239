"""Where pairs come from: what every source can do, and which one a SOURCE text names.

    openmoji                      the embedded drawings
    sidebyside:PATH               pictures with two halves, sketch and colour, in either order
    folders:SKETCH_DIR,COLOUR_DIR partners of the same name in two folders
    photos:PATH                   colour pictures, made grey on the way in

Options follow a question mark: `photos:PATH?limit=5000&seed=1`.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

from engine.data.pairs import Opened
from engine.data.sources.folders import Options, Photos, TwoFolders
from engine.data.sources.listing import list_folder, read_left_out
from engine.data.sources.openmoji import OpenMoji
from engine.data.sources.sidebyside import SideBySide
from engine.errors import BadInputError
from engine.images.faults import Fault
from engine.settings import Settings

KINDS = {
    "openmoji": "the embedded drawings: line art to colour",
    "sidebyside:PATH": "pictures with two halves, sketch and colour, in either order",
    "folders:SKETCH_DIR,COLOUR_DIR": "partners of the same name in two folders",
    "photos:PATH": "colour pictures; the source is made grey on the way in",
}
FOLDER_KINDS = ("sidebyside", "folders", "photos")


class Source(Protocol):
    """What packing, checking and the pages need to know of a source of pairs."""

    @property
    def text(self) -> str:
        """How it is stored with runs; with absolute paths."""

    @property
    def where(self) -> str:
        """The same without its options."""

    @property
    def title(self) -> str:
        """What people call it."""

    @property
    def slug(self) -> str:
        """The same as part of a folder's name."""

    @property
    def about(self) -> str:
        """One line on what it is."""

    @property
    def source_label(self) -> str:
        """What the models are given: `sketch` or `grey`."""

    @property
    def is_cut(self) -> bool:
        """Whether pairs are cut from pictures with two halves."""

    @property
    def channels(self) -> int:
        """Of a drawn pair: 6, 4 with a grey source, 3 where the source is the target's grey."""

    @property
    def version(self) -> str:
        """Changes when the pictures may have changed."""

    def names(self) -> Sequence[str]:
        """The names of all pairs, sorted."""

    def group(self, name: str) -> str:
        """What near-copies of this pair are known by its name to have in common."""

    def given_split(self, name: str) -> str | None:
        """The split that the user gave it; None: by the hash of its group."""

    def structure_faults(self) -> Sequence[Fault]:
        """What is wrong with the files as a set, told without decoding any."""

    def require_sound(self) -> None:
        """Raises `BadInputError` with the first names where pairs do not fit together."""

    def open(self, name: str, needed: int) -> Opened:
        """Reads a pair that will be drawn at sides of at least `needed` pixels.

        Raises:
            PictureFaultError: it is no pair; says the kind and the reason.
        """


@cache
def _openmoji() -> OpenMoji:
    return OpenMoji()


def read_source(text: str, settings: Settings) -> Source:
    """The source that `text` names, less what its list of what to leave out names.

    Raises:
        BadInputError: there is no such source, folder or option, or no picture in it.
    """
    kind, colon, rest = text.strip().partition(":")
    if text.strip() == "openmoji":
        return _openmoji()
    if not colon or kind not in FOLDER_KINDS:
        raise BadInputError(f"There is no data source {text[:80]!r}; there is {', '.join(KINDS)}.")
    where, options = _split_options(kind, rest)
    if not where.strip() or "\0" in where:
        raise BadInputError(f"{kind}: needs a folder after the colon, as in {kind}:/my/pictures.")
    if kind == "folders":
        first, second = _two_folders(where)
        canonical = f"folders:{first},{second}"
        left_out = read_left_out(left_out_path(canonical, settings))
        return TwoFolders(list_folder(first), list_folder(second), options, left_out)
    root = _folder(where)
    left_out = read_left_out(left_out_path(f"{kind}:{root}", settings))
    make = SideBySide if kind == "sidebyside" else Photos
    return make(list_folder(root), options, left_out)


def left_out_path(where: str, settings: Settings) -> Path:
    """The list of what to leave out of a source.

    Args:
        where: the source without its options, for which the list is the same.
        settings: where it is kept.
    """
    digest = hashlib.sha256(where.encode("utf-8", "replace")).hexdigest()[:12]
    return settings.data_dir / "left-out" / f"{where.partition(':')[0]}-{digest}.txt"


def _split_options(kind: str, rest: str) -> tuple[str, Options]:
    """The path, and the options after its last question mark."""
    where, mark, query = rest.rpartition("?")
    if not mark or not re.fullmatch(r"[a-z]+=[^&=/]*(&[a-z]+=[^&=/]*)*", query):
        return rest, Options()
    known = ("limit", "seed", "sketch") if kind == "sidebyside" else ("limit", "seed")
    found: dict[str, str] = {}
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key not in known:
            raise BadInputError(f"{kind}: does not know {key!r}; it takes {', '.join(known)}.")
        if key in found:
            raise BadInputError(f"{key} stands twice in {kind}:; give it one value.")
        found[key] = value
    limit = _whole(found, "limit", 1) if "limit" in found else None
    sketch = found.get("sketch", "auto")
    if sketch not in ("auto", "left", "right"):
        raise BadInputError(f"sketch must be left, right or auto, not {sketch[:40]!r}.")
    return where, Options(limit, _whole(found, "seed", 0) if "seed" in found else 0, sketch)


def _whole(found: dict[str, str], key: str, least: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", found[key]) or int(found[key]) < least:
        raise BadInputError(f"{key} must be a whole number from {least}, not {found[key][:40]!r}.")
    return int(found[key])


def _two_folders(where: str) -> tuple[Path, Path]:
    """Two folders with a comma between; a comma in a name is no harm where both are there."""
    parts = where.split(",")
    if len(parts) < 2 or not all(part.strip() for part in (parts[0], parts[-1])):
        raise BadInputError("folders: needs two folders, as in folders:/my/sketches,/my/colours.")
    choices = [(",".join(parts[:at]), ",".join(parts[at:])) for at in range(1, len(parts))]
    there = [pair for pair in choices if all(_folder(part).is_dir() for part in pair)]
    first, second = (_folder(part) for part in (there or choices)[0])
    if first == second:
        raise BadInputError(f"folders: names {first} twice; sketches and colours lie apart.")
    return first, second


def _folder(text: str) -> Path:
    try:
        return Path(text.strip()).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise BadInputError(f"{text[:80]!r} is no folder's name ({error}).") from error
