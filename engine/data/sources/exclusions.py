"""Loads and changes the list of a source's excluded files.

The list is a text file in Chromabench's data folder, and users may edit the list. The folders of
the source are never changed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.data.sources.folders import FolderSource
from engine.data.sources.interface import Source
from engine.errors import BadInputError
from engine.images.faults import Fault
from engine.settings import Settings
from engine.system.files import replacing


def exclusions_dir(settings: Settings) -> Path:
    """Returns the folder of the lists of excluded files, one file for each source."""
    return settings.data_dir / "left-out"


def exclusions_path(text_without_options: str, settings: Settings) -> Path:
    """Returns the path of a source's list, which is the same for all options of the source."""
    digest = hashlib.sha256(text_without_options.encode("utf-8", "replace")).hexdigest()[:12]
    kind = text_without_options.partition(":")[0]
    return exclusions_dir(settings) / f"{kind}-{digest}.txt"


def load_exclusions(text_without_options: str, settings: Settings) -> dict[str, str]:
    """Loads a source's list: file name -> reason; empty if there is no list.

    Raises:
        BadInputError: the list is not a readable text file.
    """
    path = exclusions_path(text_without_options, settings)
    if not path.exists():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"The list of excluded files is damaged: {path} ({error}). Remove the list to include "
            "all files again."
        ) from error
    entries = [line.partition("\t") for line in lines if "\t" in line or not line.startswith("# ")]
    return {name: reason for name, _, reason in entries if name}


def exclude_faulty(source: Source, faults: Sequence[Fault], settings: Settings) -> tuple[Path, int]:
    """Adds every file with an error or a warning to the source's list.

    Returns:
        The file with the list, and the number of files in the list.

    Raises:
        BadInputError: the source is built in, or its list is damaged.
    """
    _require_folder_source(source)
    reasons = load_exclusions(source.text_without_options, settings)
    for fault in faults:
        if fault.severity != "note":
            reasons.setdefault(fault.file, f"{fault.kind}: {fault.detail}")
    settings.require_writable_artifacts()
    path = exclusions_path(source.text_without_options, settings)
    with replacing(path) as file:
        file.write(_format(reasons, source.text_without_options).encode())
    return path, len(reasons)


def include_all(source: Source, settings: Settings) -> int:
    """Deletes the source's list; returns the number of files that were excluded.

    Raises:
        BadInputError: the source is built in, or its list is damaged.
    """
    _require_folder_source(source)
    n_excluded = len(load_exclusions(source.text_without_options, settings))
    exclusions_path(source.text_without_options, settings).unlink(missing_ok=True)
    return n_excluded


def _format(reasons: Mapping[str, str], text_without_options: str) -> str:
    """Formats a list, with a file name, a tab and the reason in each line."""
    lines = [f"{name}\t{reason}" for name, reason in sorted(reasons.items())]
    heading = f"# Excluded from {text_without_options}. Delete a line to include its file again."
    return "\n".join([heading, *lines, ""])


def _require_folder_source(source: Source) -> None:
    if not isinstance(source, FolderSource):
        raise BadInputError(f"{source.title} is built in; its files cannot be excluded.")
