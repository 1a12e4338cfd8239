"""Pairs packed once per source and size: one memory-mapped array of bytes and an index.

A packed folder appears under its name only when it is whole. Two processes that want the same
one take turns: the second finds it there. The array is written as a stream, so that packing takes
little memory however many pairs there are.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash
from filelock import FileLock
from numpy.lib import format as npy
from numpy.typing import NDArray

from engine.config import Budget
from engine.data.pairs import Pixels
from engine.data.sources.registry import Source
from engine.data.splits import SPLITS, Pair, draw_order, split_pairs
from engine.data.survey.scan import NEEDED, Portion, Wanted, read_portions
from engine.data.survey.survey import Progress, Seen, Surveyor, load_survey, make_survey
from engine.errors import EngineError
from engine.images.faults import Fault, first_names
from engine.settings import Settings
from engine.system.files import replacing_folder, sweep_folders

FORMAT = 3  # raised when packed folders of before must not be used any more
MOST_LEFT_OUT = 0.05  # of the pairs; with more that cannot be read the source is refused
SPARE_BYTES = 200 * 2**20  # that packing leaves free on the disk


@dataclass(frozen=True)
class PackedPairs:
    """A source at one size.

    Attributes:
        source: how the source is stored with runs.
        px: side of the pictures.
        fingerprint: hash of names, splits and pixels: the same data, the same fingerprint.
        pairs: the index, in the order of `pixels`.
        left_out: errors of the files that could not be used.
        pixels: [N, px, px, C] bytes, as `opened` has it.
    """

    source: str
    px: int
    fingerprint: str
    pairs: tuple[Pair, ...]
    left_out: tuple[Fault, ...]
    pixels: NDArray[np.uint8] = field(repr=False, compare=False)

    def require(self, environment: Mapping[str, Any] | None) -> None:
        """Raises `EngineError` unless these are the pairs that a run began with."""
        began_with = (environment or {}).get("data_fingerprint", self.fingerprint)
        if began_with != self.fingerprint:
            raise EngineError(
                f"The pictures of {self.source} have changed since the run began: its numbers and "
                "these would not be comparable. Start a new study."
            )

    def members(self, split: str, at_most: int | None = None) -> list[int]:
        """The positions of a split's pairs, in an order that a limit does not change."""
        found = [index for index, pair in enumerate(self.pairs) if pair.split == split]
        found.sort(key=lambda index: draw_order(self.pairs[index].name))
        return found[:at_most]


def count_pairs(source: Source, budget: Budget, settings: Settings) -> dict[str, int]:
    """How many pairs of each split a budget uses.

    Exact where the source was surveyed; before that by the names alone, look-alikes not yet
    known.
    """
    known = load_survey(source, settings)
    if known is not None:
        splits = known.splits
    else:
        names = source.names()
        given = [source.given_split(name) for name in names]
        splits = split_pairs(given, [source.group(name) for name in names])
    found = {split: splits.count(split) for split in SPLITS}
    limits = {"train": budget.n_train, "val": budget.n_val, "test": budget.n_test}
    return {split: min(found[split], limits[split] or found[split]) for split in SPLITS}


def packed_dir(source: Source, px: int, settings: Settings) -> Path:
    """The folder of a source at a size; the version of its pictures is part of its name."""
    return settings.data_dir / f"{source.slug}-{px}px-{FORMAT}-{source.version}"


def is_packed(source: Source, px: int, settings: Settings) -> bool:
    """Whether the source is packed at this size."""
    return (packed_dir(source, px, settings) / "index.json").is_file()


def packed_sizes(source: Source, settings: Settings) -> list[int]:
    """The sizes at which the source is packed, smallest first."""
    found = settings.data_dir.glob(f"{source.slug}-*px-{FORMAT}-{source.version}")
    sizes = (folder.name.removeprefix(f"{source.slug}-").partition("px")[0] for folder in found)
    return sorted(
        int(it) for it in sizes if it.isdecimal() and is_packed(source, int(it), settings)
    )


def prepare(
    source: Source,
    px: int,
    settings: Settings,
    on_progress: Progress = lambda done, total: None,
) -> PackedPairs:
    """Packs the source at a size unless that was done before, and opens it.

    Args:
        source: where the pairs come from.
        px: side of the square pictures.
        settings: where packed data lies.
        on_progress: told pairs done and in all.

    Raises:
        BadInputError: its files do not fit together.
        EngineError: too many of them cannot be used, or the disk is full.
    """
    folder = packed_dir(source, px, settings)
    if not is_packed(source, px, settings):
        source.require_sound()
        settings.require_writable_artifacts()
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                if not is_packed(source, px, settings):
                    sweep_folders(folder)
                    _require_space(source, px, settings)
                    _pack(source, px, settings, on_progress)
        except OSError as error:
            raise EngineError(f"The pairs could not be packed into {folder} ({error}).") from error
    return load_packed(source, px, settings)


def load_packed(source: Source, px: int, settings: Settings) -> PackedPairs:
    """Opens a packed folder; the pixels stay on the disk until they are read."""
    folder = packed_dir(source, px, settings)
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        packed = PackedPairs(
            source=source.text,
            px=px,
            fingerprint=index["fingerprint"],
            pairs=tuple(Pair(**pair) for pair in index["pairs"]),
            left_out=tuple(Fault(**fault) for fault in index["left_out"]),
            # Copy on write: torch takes no array for its own that cannot be written.
            pixels=np.load(folder / "pixels.npy", mmap_mode="c"),
        )
        if packed.pixels.shape[:3] != (len(packed.pairs), px, px):
            raise ValueError(f"pixels of shape {packed.pixels.shape}")
        return packed
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise EngineError(
            f"The packed pairs in {folder} are damaged ({error}). "
            "Remove that folder; they are packed again."
        ) from error


def require_usable(source: Source, names: Sequence[str], unusable: Sequence[Fault]) -> None:
    """Refuses a source of which too much cannot be used, or that repeats pairs across splits.

    Args:
        source: whose pairs.
        names: of those that can be read.
        unusable: an error of each file that cannot be used.

    Raises:
        EngineError: says the first few files and the way out.
    """
    asked = set(source.names())
    wrong = {it.file: it for it in unusable if it.file in asked}
    if not names:
        first = next(iter(wrong.values()), None)
        why = f": {first.file}: {first.detail}" if first is not None else ""
        raise EngineError(f"Not one pair of {source.title} can be read{why}.")
    way_out = f"`python -m engine data check {source.text}` lists all, --clean leaves them out."
    repeated = [name for name, fault in wrong.items() if fault.kind == "duplicate"]
    if repeated:
        raise EngineError(
            f"{len(repeated):,} pairs of {source.title} stand in two of its splits: "
            f"{first_names(repeated)}; {way_out}"
        )
    count = len(asked)
    if len(wrong) > MOST_LEFT_OUT * count:
        raise EngineError(
            f"{len(wrong):,} of {count:,} pairs of {source.title} cannot be used "
            f"({len(wrong) / count:.0%}, at most {MOST_LEFT_OUT:.0%} are left out): "
            f"{first_names(list(wrong))}; {way_out}"
        )


@dataclass(frozen=True)
class _Part:
    """What one thread made of a portion: bytes to be written, and what was seen."""

    names: tuple[str, ...]
    drawn: tuple[Pixels, ...]
    fingerprints: tuple[str, ...]
    faults: tuple[Fault, ...]
    seen: Seen | None


def _pack(source: Source, px: int, settings: Settings, on_progress: Progress) -> None:
    # Beyond that size pictures are decoded otherwise, and would be seen otherwise.
    looked_at = load_survey(source, settings) if px <= NEEDED else None
    known = make_survey(source, settings, on_progress) if px > NEEDED else looked_at
    surveyor = None if known is not None else Surveyor(source)
    names = source.names() if known is None else known.names
    wanted = Wanted(px, glance=known is None)

    def finish(portion: Portion) -> _Part:
        prints = tuple(xxhash.xxh3_64_hexdigest(pixels.data) for pixels in portion.drawn)
        seen = surveyor.look(portion) if surveyor is not None else None
        return _Part(portion.names, portion.drawn, prints, portion.faults, seen)

    with replacing_folder(packed_dir(source, px, settings)) as folder:
        packed: dict[str, str] = {}
        faults: list[Fault] = []
        done = 0
        shape = (px, px, source.channels)
        with (folder / "pixels.npy").open("w+b") as file:
            _write_header(file, (len(names), *shape))
            for part in read_portions(source, names, wanted, finish):
                file.writelines(pixels.data for pixels in part.drawn)
                packed |= dict(zip(part.names, part.fingerprints, strict=True))
                faults += part.faults
                if surveyor is not None and part.seen is not None:
                    surveyor.take(part.seen)
                done += len(part.names) + len(part.faults)
                on_progress(done, len(names))
            file.seek(0)
            _write_header(file, (len(packed), *shape))
        survey = surveyor.conclude(settings) if surveyor is not None else known
        assert survey is not None
        left_out = {it.file: it for it in (*survey.unusable, *faults)}
        require_usable(source, tuple(packed), tuple(left_out.values()))
        pairs = [
            Pair(name, group, split, packed[name])
            for name, group, split in zip(survey.names, survey.groups, survey.splits, strict=True)
            if name in packed
        ]
        document = {
            "source": source.text,
            "version": source.version,
            "px": px,
            "fingerprint": _fingerprint(pairs),
            "pairs": [asdict(pair) for pair in pairs],
            "left_out": [asdict(fault) for fault in left_out.values()],
        }
        (folder / "index.json").write_text(json.dumps(document), encoding="utf-8")


def _write_header(file: BinaryIO, shape: Sequence[int]) -> None:
    """The head of an .npy file; of one length for all numbers of pairs."""
    header = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
    npy.write_array_header_1_0(file, header)


def bytes_to_pack(source: Source, px: int, settings: Settings) -> int:
    """What packing the source would write; nothing where that was done before."""
    return 0 if is_packed(source, px, settings) else len(source.names()) * px**2 * source.channels


def _require_space(source: Source, px: int, settings: Settings) -> None:
    wanted = bytes_to_pack(source, px, settings)
    free = shutil.disk_usage(settings.data_dir).free
    if wanted + SPARE_BYTES > free:
        raise EngineError(
            f"Packing {len(source.names()):,} pairs at {px} px takes {wanted / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free in {settings.data_dir}. Use fewer pairs (?limit=), "
            "fewer pixels, or set CHROMABENCH_ARTIFACTS to a larger disk."
        )


def _fingerprint(pairs: list[Pair]) -> str:
    lines = (f"{pair.name} {pair.split} {pair.fingerprint}\n" for pair in pairs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
