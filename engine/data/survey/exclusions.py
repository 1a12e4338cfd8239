"""Leaving pictures out of a source: by a list of ours, never by changing the user's folder."""

from collections.abc import Sequence
from pathlib import Path

from engine.data.sources.listing import format_left_out, read_left_out
from engine.data.sources.registry import FOLDER_KINDS, Source, left_out_path
from engine.errors import BadInputError
from engine.images.faults import Fault
from engine.settings import Settings
from engine.system.files import replacing


def clean(source: Source, faults: Sequence[Fault], settings: Settings) -> tuple[Path, int]:
    """Adds every file with an error or a warning to the list of what is left out.

    Returns:
        The list, which a person may edit, and how many names it holds.
    """
    path = _list_of(source, settings)
    reasons = read_left_out(path)
    for fault in faults:
        if fault.severity != "note":
            reasons.setdefault(fault.file, f"{fault.kind}: {fault.detail}")
    settings.require_writable_artifacts()
    with replacing(path) as file:
        file.write(format_left_out(reasons, source.where).encode())
    return path, len(reasons)


def restore(source: Source, settings: Settings) -> int:
    """Takes back all that was left out; says how many names that were."""
    path = _list_of(source, settings)
    count = len(read_left_out(path))
    path.unlink(missing_ok=True)
    return count


def _list_of(source: Source, settings: Settings) -> Path:
    if not source.text.startswith(FOLDER_KINDS):
        raise BadInputError(f"{source.title} is built in; nothing is left out of it.")
    return left_out_path(source.where, settings)
