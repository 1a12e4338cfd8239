"""Pairs packed once per source and size: one memory-mapped array of bytes and an index.

A packed folder appears under its name only when it is whole. Two processes that want the same
one take turns: the second finds it there.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from engine.config import Budget
from engine.data.index import SPLITS, Pair, draw_order, split_of
from engine.data.sources import Source
from engine.errors import EngineError
from engine.settings import Settings

FORMAT = 1  # raised when packed folders of before must not be used any more


@dataclass(frozen=True)
class PackedPairs:
    """A source at one size.

    Attributes:
        source: its name.
        px: side of the pictures.
        fingerprint: hash of names, splits and pixels: the same data, the same fingerprint.
        pairs: the index, in the order of `pixels`.
        pixels: [N, 2, px, px, 3] bytes: source, target.
    """

    source: str
    px: int
    fingerprint: str
    pairs: tuple[Pair, ...]
    pixels: NDArray[np.uint8] = field(repr=False, compare=False)

    def members(self, split: str, at_most: int | None = None) -> list[int]:
        """The positions of a split's pairs, in an order that a limit does not change."""
        found = [index for index, pair in enumerate(self.pairs) if pair.split == split]
        found.sort(key=lambda index: draw_order(self.pairs[index].name))
        return found[:at_most]


def count_pairs(source: Source, budget: Budget) -> dict[str, int]:
    """How many pairs of each split a budget uses, told by the names alone."""
    splits = [split_of(source.group(name)) for name in source.names()]
    limits = {"train": budget.n_train, "val": budget.n_val, "test": budget.n_test}
    found = {split: splits.count(split) for split in SPLITS}
    return {split: min(found[split], limits[split] or found[split]) for split in SPLITS}


def packed_dir(source: Source, px: int, settings: Settings) -> Path:
    """The folder of a source at a size; the package version is part of its name."""
    version = hashlib.sha256(f"{FORMAT} {source.version}".encode()).hexdigest()[:8]
    return settings.data_dir / f"{source.name}-{px}px-{version}"


def is_packed(source: Source, px: int, settings: Settings) -> bool:
    """Whether the source is packed at this size."""
    return (packed_dir(source, px, settings) / "index.json").is_file()


def packed_sizes(source: Source, settings: Settings) -> list[int]:
    """The sizes at which the source is packed, smallest first."""
    folders = settings.data_dir.glob(
        f"{packed_dir(source, 0, settings).name.replace('-0px-', '-*px-')}"
    )
    sizes = (folder.name.removeprefix(f"{source.name}-").partition("px")[0] for folder in folders)
    return sorted(
        int(size) for size in sizes if size.isdecimal() and is_packed(source, int(size), settings)
    )


def prepare(
    source: Source,
    px: int,
    settings: Settings,
    track: Callable[[Iterable[str], int], Iterable[str]] = lambda names, total: names,
) -> PackedPairs:
    """Packs the source at a size unless that was done before, and opens it.

    Args:
        source: where the pairs come from.
        px: side of the square pictures.
        settings: where packed data lies.
        track: wraps the iteration over names, for a progress bar.
    """
    folder = packed_dir(source, px, settings)
    if not is_packed(source, px, settings):
        settings.require_writable_artifacts()
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                if not is_packed(source, px, settings):
                    _pack(source, px, folder, track)
        except OSError as error:
            raise EngineError(f"The pairs could not be packed into {folder} ({error}).") from error
    return load_packed(source, px, settings)


def load_packed(source: Source, px: int, settings: Settings) -> PackedPairs:
    """Opens a packed folder; the pixels stay on the disk until they are read."""
    folder = packed_dir(source, px, settings)
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        packed = PackedPairs(
            source=source.name,
            px=px,
            fingerprint=index["fingerprint"],
            pairs=tuple(Pair(**pair) for pair in index["pairs"]),
            pixels=np.load(folder / "pixels.npy", mmap_mode="r"),
        )
        if packed.pixels.shape != (len(packed.pairs), 2, px, px, 3):
            raise ValueError(f"pixels of shape {packed.pixels.shape}")
        return packed
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise EngineError(
            f"The packed pairs in {folder} are damaged ({error}). "
            "Remove that folder; they are drawn again."
        ) from error


def _pack(
    source: Source, px: int, folder: Path, track: Callable[[Iterable[str], int], Iterable[str]]
) -> None:
    names = source.names()
    building = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        pixels = open_memmap(
            building / "pixels.npy", mode="w+", dtype=np.uint8, shape=(len(names), 2, px, px, 3)
        )
        pairs = []
        for index, name in enumerate(track(names, len(names))):
            pixels[index] = source.draw(name, px)
            group = source.group(name)
            fingerprint = hashlib.sha256(pixels[index].tobytes()).hexdigest()[:16]
            pairs.append(Pair(name, group, split_of(group), fingerprint))
        pixels.flush()
        document = {
            "source": source.name,
            "version": source.version,
            "px": px,
            "fingerprint": _fingerprint(pairs),
            "pairs": [asdict(pair) for pair in pairs],
        }
        (building / "index.json").write_text(json.dumps(document), encoding="utf-8")
        building.chmod(0o755)
        if folder.exists():  # without an index: the rest of one that was removed in part
            shutil.rmtree(folder)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building)
        raise


def _fingerprint(pairs: list[Pair]) -> str:
    lines = (f"{pair.name} {pair.split} {pair.fingerprint}\n" for pair in pairs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
