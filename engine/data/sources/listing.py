"""What lies in a folder of pictures: names, sizes and dates of files, and the splits it was given.

Nothing is decoded here, and nothing in the folder is ever changed.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from textwrap import shorten

from engine.data.splits import HELD_OUT
from engine.errors import BadInputError
from engine.images.decoding import EXTENSIONS
from engine.images.faults import Fault, Severity, first_names

# Folders of these names say which split their pictures belong to.
_SPLIT_FOLDERS = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val", "dev": "val"},
    **{"test": "test", "testing": "test"},
}
# Somebody thought of these as pictures, so they are not passed over in silence.
_OTHER_PICTURES = frozenset(
    {".svg", ".psd", ".heic", ".heif", ".raw", ".cr2", ".nef", ".arw", ".dng", ".pdf", ".eps"}
)
# Control characters, line separators, and bytes that are no UTF-8.
_UNKEEPABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_IGNORED = frozenset({"thumbs.db", "desktop.ini"})
_IGNORED_FOLDERS = frozenset({"__macosx"})


@dataclass(frozen=True)
class Listing:
    """The files of a folder tree, by names relative to it, with forward slashes.

    Attributes:
        root: the folder.
        pictures: name -> (bytes, time of change in ns), sorted by name.
        faults: of files that are no pictures by their names, or whose names cannot be kept.
    """

    root: Path
    pictures: Mapping[str, tuple[int, int]]
    faults: tuple[Fault, ...]

    def digest(self) -> bytes:
        """Changes when a file comes, goes or changes."""
        lines = (f"{name}\0{size}\0{at}\n" for name, (size, at) in self.pictures.items())
        return hashlib.blake2b("".join(lines).encode(), digest_size=16).digest()


def list_folder(root: Path) -> Listing:
    """Lists all pictures below a folder; hidden files and folders are passed over.

    Raises:
        BadInputError: there is no such folder, it cannot be read, or holds no picture.
    """
    try:
        root.stat()
        str(root).encode()
    except OSError as error:
        raise BadInputError(f"There is no folder {_shown(root)} ({error.strerror}).") from error
    except UnicodeEncodeError as error:
        raise BadInputError(
            f"The name of the folder {_shown(root)} is no UTF-8; rename it."
        ) from error
    if not root.is_dir():
        raise BadInputError(f"{root} is a file; a folder of pictures is meant.")
    pictures: dict[str, tuple[int, int]] = {}
    faults: list[Fault] = []
    for name, entry in _walk(root):
        suffix = PurePosixPath(name).suffix.lower()
        if _UNKEEPABLE.search(name):
            shown = _UNKEEPABLE.sub("?", name)
            detail = "its name has characters that cannot be stored; rename it"
            faults.append(Fault(shown, "unreadable", "error", detail))
        elif suffix in EXTENSIONS:
            try:
                stat = entry.stat()
                pictures[name] = (stat.st_size, stat.st_mtime_ns)
            except OSError as error:  # it went while the folder was read
                faults.append(Fault(name, "unreadable", "error", error.strerror or str(error)))
        else:
            severity: Severity = "warning" if suffix in _OTHER_PICTURES else "note"
            detail = f"{suffix or 'no'} files are not read" if suffix else "it has no extension"
            faults.append(Fault(name, "not_a_picture", severity, detail))
    if not pictures:
        raise BadInputError(
            f"There are no pictures in {root}; looked for {', '.join(sorted(EXTENSIONS))}."
        )
    return Listing(root, dict(sorted(pictures.items())), tuple(sorted(faults, key=_by_file)))


def given_splits(names: Sequence[str], root: Path) -> dict[str, str]:
    """The split of each name where the folder says so: `train` beside `val` or `test`, or both.

    One of these alone is `HELD_OUT`, to be halved by groups. Empty where no split is given.

    Raises:
        BadInputError: some pictures lie beside the split folders.
    """
    splits = {name: _SPLIT_FOLDERS.get(_top(name)) for name in names}
    found = set(splits.values()) - {None}
    if "train" not in found or len(found) < 2:
        return {}
    if strays := [name for name, split in splits.items() if split is None]:
        raise BadInputError(
            f"{root} has train and val or test folders, and pictures beside them "
            f"({first_names(strays)}): move these, or point at one of the folders."
        )
    alone = len(found) == 2
    return {
        name: HELD_OUT if alone and split != "train" else split
        for name, split in splits.items()
        if split is not None
    }


def read_left_out(path: Path) -> dict[str, str]:
    """Name -> reason in a list of what to leave out; empty where there is no list.

    Raises:
        BadInputError: somebody made it a file that is no text.
    """
    if not path.exists():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"The list of what to leave out is damaged: {path} ({error}). Remove it to take all "
            "back."
        ) from error
    parts = [line.partition("\t") for line in lines if "\t" in line or not line.startswith("# ")]
    return {name: reason for name, _, reason in parts if name}


def format_left_out(reasons: Mapping[str, str], about: str) -> str:
    """A list of what to leave out: a name, a tab and the reason in each line."""
    lines = [f"{name}\t{reason}" for name, reason in sorted(reasons.items())]
    heading = f"# Left out of {about}. Remove a line to take a picture back."
    return "\n".join([heading, *lines, ""])


def _walk(root: Path) -> Iterable[tuple[str, "os.DirEntry[str]"]]:
    waiting, seen = [(root, "")], set()
    while waiting:
        folder, prefix = waiting.pop()
        if (real := os.path.realpath(folder)) in seen:  # a link that leads back
            continue
        seen.add(real)
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as error:
            raise BadInputError(f"{folder} cannot be read ({error.strerror}).") from error
        for entry in found:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                if entry.name.lower() not in _IGNORED_FOLDERS:
                    waiting.append((folder / entry.name, f"{prefix}{entry.name}/"))
            elif entry.name.lower() not in _IGNORED:
                yield prefix + entry.name, entry


def _shown(root: Path) -> str:
    return shorten(str(root).encode("utf-8", "replace").decode(), 200)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle; reading it says so
        return False


def _top(name: str) -> str:
    return name.partition("/")[0].lower() if "/" in name else ""


def _by_file(fault: Fault) -> str:
    return fault.file
