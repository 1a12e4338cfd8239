"""Measures files and free disk space."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import EngineError
from engine.settings import Settings

# A folder is renamed to a name with this prefix before its files are deleted.
PENDING_DELETE_PREFIX = ".aside-"
SPARE_BYTES = 200 * 2**20


@dataclass(frozen=True)
class Usage:
    """Disk usage of some runs.

    Attributes:
        parts: name of a folder inside the run folders -> its bytes; `other`: all other files.
    """

    parts: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """The bytes of all parts."""
        return sum(self.parts.values())


def usage_of_runs(run_ids: Sequence[int], settings: Settings) -> Usage:
    """Measures the disk usage of some runs."""
    parts: dict[str, int] = {}
    for run_id in run_ids:
        folder = settings.run_dir(run_id)
        for path, size in iterate_files(folder):
            folders = path.relative_to(folder).parts[:-1]
            part = folders[0] if folders else "other"
            parts[part] = parts.get(part, 0) + size
    return Usage(parts)


def usage_of(path: Path) -> int:
    """Measures the bytes of a file or of all files in a folder; 0 if the path does not exist."""
    if path.is_file():
        return path.stat().st_size
    return sum(size for _, size in iterate_files(path))


def iterate_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yields all files below a folder with their sizes; skips files that are deleted meanwhile."""
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                yield path, path.stat().st_size
        except FileNotFoundError:
            continue


def free_bytes(folder: Path) -> int:
    """Measures the free bytes on the disk of a folder, which may not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def require_room(n_bytes: int, folder: Path, purpose: str, hint: str) -> None:
    """Checks that a folder's disk has room for a number of bytes and `SPARE_BYTES` more.

    Args:
        n_bytes: the bytes to be written.
        folder: the folder to write to; it may not exist yet.
        purpose: the activity that needs the room, as the first words of the error message.
        hint: the last sentence of the error message, which names ways to need less room.

    Raises:
        EngineError: the disk has too little room.
    """
    n_free = free_bytes(folder)
    if n_bytes + SPARE_BYTES > n_free:
        raise EngineError(
            f"{purpose} takes up to {n_bytes / 1e9:.1f} GB, and {n_free / 1e9:.1f} GB are free in "
            f"{folder}. {hint}"
        )


def format_bytes(count: float) -> str:
    """Formats a number of bytes with a unit."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
