"""Lists the files of a folder with sizes and modification times, and finds the given splits.

No file is decoded, and nothing in the folder is changed.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from textwrap import shorten

from engine.data.pairs import HELD_OUT
from engine.errors import BadInputError
from engine.images.decoding import EXTENSIONS
from engine.images.faults import Fault, Severity, first_names

# Names of subfolders that give the split of their pictures.
_SPLIT_FOLDERS = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val", "dev": "val"},
    **{"test": "test", "testing": "test"},
}
# Picture formats that are not supported; a file in such a format gets a warning.
_UNSUPPORTED_FORMATS = frozenset(
    {".svg", ".psd", ".heic", ".heif", ".raw", ".cr2", ".nef", ".arw", ".dng", ".pdf", ".eps"}
)
# Control characters, line separators, and bytes that are not UTF-8.
_UNSTORABLE_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_IGNORED_FILES = frozenset({"thumbs.db", "desktop.ini"})
_IGNORED_FOLDERS = frozenset({"__macosx"})


@dataclass(frozen=True)
class Listing:
    """The files of a folder tree. Names are relative paths with forward slashes.

    Attributes:
        root: the folder.
        pictures: name -> (bytes, modification time in ns), sorted by name.
        faults: the faults of files without a picture extension, of files that cannot be accessed,
            and of file names that cannot be stored.
    """

    root: Path
    pictures: Mapping[str, tuple[int, int]]
    faults: tuple[Fault, ...]

    def digest(self) -> bytes:
        """Returns a digest that changes when a file is added, deleted or modified."""
        lines = (f"{name}\0{size}\0{mtime}\n" for name, (size, mtime) in self.pictures.items())
        return hashlib.blake2b("".join(lines).encode(), digest_size=16).digest()


def list_folder(root: Path) -> Listing:
    """Lists all pictures below a folder; hidden files and folders are ignored.

    Raises:
        BadInputError: the folder does not exist, cannot be read, or has no pictures.
    """
    try:
        root.stat()
        str(root).encode()
    except OSError as error:
        raise BadInputError(f"There is no folder {_printable(root)} ({error.strerror}).") from error
    except UnicodeEncodeError as error:
        raise BadInputError(
            f"The name of the folder {_printable(root)} is not UTF-8; rename it."
        ) from error
    if not root.is_dir():
        raise BadInputError(f"{root} is a file; give a folder of pictures.")
    pictures: dict[str, tuple[int, int]] = {}
    faults: list[Fault] = []
    for name, entry in _walk(root):
        suffix = PurePosixPath(name).suffix.lower()
        if _UNSTORABLE_CHARACTERS.search(name):
            printable_name = _UNSTORABLE_CHARACTERS.sub("?", name)
            detail = "its name has characters that cannot be stored; rename it"
            faults.append(Fault(printable_name, "unreadable", "error", detail))
        elif suffix in EXTENSIONS:
            try:
                stat = entry.stat()
                pictures[name] = (stat.st_size, stat.st_mtime_ns)
            except OSError as error:  # for example, deleted after the folder was listed
                faults.append(Fault(name, "unreadable", "error", error.strerror or str(error)))
        else:
            severity: Severity = "warning" if suffix in _UNSUPPORTED_FORMATS else "note"
            detail = f"{suffix} files are not supported" if suffix else "it has no extension"
            faults.append(Fault(name, "not_a_picture", severity, detail))
    if not pictures:
        raise BadInputError(
            f"There are no pictures in {root}; supported are {', '.join(sorted(EXTENSIONS))}."
        )
    return Listing(root, dict(sorted(pictures.items())), tuple(sorted(faults, key=_file_of)))


def given_splits(names: Sequence[str], root: Path) -> dict[str, str]:
    """Returns name -> split if the folder has a `train` and a `val` or `test` subfolder.

    If only one of `val` and `test` exists, the split of the pictures in that subfolder is
    `HELD_OUT`. Without `train`, or without both `val` and `test`, the result is empty.

    Raises:
        BadInputError: some pictures are not in a split's subfolder.
    """
    splits = {name: _SPLIT_FOLDERS.get(_top_folder(name)) for name in names}
    existing = set(splits.values()) - {None}
    if "train" not in existing or len(existing) < 2:
        return {}
    if strays := [name for name, split in splits.items() if split is None]:
        raise BadInputError(
            f"{root} has train and val or test folders, and pictures beside them "
            f"({first_names(strays)}): move these pictures, or name one of the folders as source."
        )
    has_one_held_out_folder = len(existing) == 2
    return {
        name: HELD_OUT if has_one_held_out_folder and split != "train" else split
        for name, split in splits.items()
        if split is not None
    }


def _walk(root: Path) -> Iterable[tuple[str, "os.DirEntry[str]"]]:
    """Yields (relative name, entry) of all files below a folder; visits linked folders once."""
    pending, visited = [(root, "")], set()
    while pending:
        folder, prefix = pending.pop()
        if (real_path := os.path.realpath(folder)) in visited:
            continue
        visited.add(real_path)
        try:
            with os.scandir(folder) as iterator:
                entries = list(iterator)
        except OSError as error:
            raise BadInputError(f"{folder} cannot be read ({error.strerror}).") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                if entry.name.lower() not in _IGNORED_FOLDERS:
                    pending.append((folder / entry.name, f"{prefix}{entry.name}/"))
            elif entry.name.lower() not in _IGNORED_FILES:
                yield prefix + entry.name, entry


def _printable(root: Path) -> str:
    return shorten(str(root).encode("utf-8", "replace").decode(), 200)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links; `list_folder` reports the entry as a fault
        return False


def _top_folder(name: str) -> str:
    return name.partition("/")[0].lower() if "/" in name else ""


def _file_of(fault: Fault) -> str:
    return fault.file
