"""What is on the disk, and whether there is room for more. Torch-free."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import EngineError
from engine.settings import Settings

ASIDE = ".aside-"  # how the names of folders begin that are about to be removed
SPARE_BYTES = 200 * 2**20  # that a start leaves free


@dataclass(frozen=True)
class Usage:
    """What some runs take, in bytes.

    Attributes:
        parts: checkpoints, samples, predictions and other files.
    """

    parts: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.parts.values())


def usage_of_runs(run_ids: Sequence[int], settings: Settings) -> Usage:
    """What the files of some runs take."""
    parts: dict[str, int] = {}
    for run_id in run_ids:
        folder = settings.run_dir(run_id)
        for path, size in walk(folder):
            inside = path.relative_to(folder)
            part = inside.parts[0] if len(inside.parts) > 1 else "other"
            parts[part] = parts.get(part, 0) + size
    return Usage(parts)


def usage_of(path: Path) -> int:
    """What a file takes, or all files in a folder; 0 of what is not there."""
    if path.is_file():
        return path.stat().st_size
    return sum(size for _, size in walk(path))


def walk(folder: Path) -> Iterator[tuple[Path, int]]:
    """All files below a folder with their sizes; those that vanish meanwhile are left out."""
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                yield path, path.stat().st_size
        except FileNotFoundError:
            continue


def free_bytes(settings: Settings) -> int:
    """What is free where the artifacts lie, or will lie."""
    place = next(it for it in (settings.artifacts, *settings.artifacts.parents) if it.exists())
    return shutil.disk_usage(place).free


def require_room(wanted: int, settings: Settings) -> None:
    """Raises `EngineError` unless so many bytes fit, with something to spare."""
    free = free_bytes(settings)
    if wanted + SPARE_BYTES > free:
        raise EngineError(
            f"This takes up to {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in "
            f"{settings.artifacts}. `python -m engine prune` makes room; fewer epochs do not, "
            "fewer runs or a smaller network do."
        )


def say_bytes(count: float) -> str:
    """A number of bytes with a unit."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
