"""Packs a source once per size into a memory-mapped array of pixels and an index.

A packed folder gets its final name only when the folder is complete. If two processes need the same
folder, the second process waits for the first and uses the folder that the first has packed. The
array is written chunk by chunk, so packing needs little memory for any number of pairs.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash
from filelock import FileLock
from numpy.lib import format as npy
from numpy.typing import NDArray

from engine.config import Budget
from engine.data.pairs import SPLITS, Pair, Pixels, assign_splits, shuffle_key
from engine.data.sources.interface import Source
from engine.data.survey.scan import DECODE_PX, PairChunk, ScanOptions, iterate_chunks
from engine.data.survey.survey import (
    ChunkResult,
    ProgressCallback,
    Survey,
    SurveyBuilder,
    load_survey,
    make_survey,
)
from engine.errors import EngineError
from engine.images.faults import Fault, first_names
from engine.settings import PROGRAM, Settings
from engine.system import disk
from engine.system.files import delete_unfinished_folders, replacing_folder

PACKED_FORMAT = 3  # increase when folders packed by older versions must not be used
MAX_UNUSABLE_SHARE = 0.05  # a source with a larger share of unusable pairs is refused


@dataclass(frozen=True)
class PackedPairs:
    """A source packed at one size.

    Attributes:
        source_text: the SOURCE text, as it is stored with runs.
        px: the side of the pictures.
        fingerprint: a hash of names, splits and pixels; equal for equal data.
        pairs: the index, in the order of `pixels`.
        unusable: an error for each file that could not be packed.
        pixels: [N, px, px, C] bytes; `pairs` describes the channels.
        renderer: the library, with its version, that rendered the pictures; None if the pictures
            were decoded, or if an earlier version of this project packed them.
    """

    source_text: str
    px: int
    fingerprint: str
    pairs: tuple[Pair, ...]
    unusable: tuple[Fault, ...]
    pixels: NDArray[np.uint8] = field(repr=False, compare=False)
    renderer: str | None = None

    def describe(self) -> dict[str, str]:
        """Returns the entries of a run's environment with which `has_changed` compares later."""
        fingerprint = {"data_fingerprint": self.fingerprint}
        return fingerprint | ({"data_renderer": self.renderer} if self.renderer else {})

    def has_changed(self, environment: Mapping[str, Any] | None) -> bool:
        """Returns whether the pairs differ from those that a run used.

        Args:
            environment: the environment recorded when the run began; None if the run has not begun.
        """
        recorded = (environment or {}).get("data_fingerprint", self.fingerprint)
        return bool(recorded != self.fingerprint)

    def renderer_change(self, environment: Mapping[str, Any] | None) -> str:
        """Returns the old and the new renderer in brackets, for messages; empty if not both known.

        Args:
            environment: the environment recorded when a run began; None if the run has not begun.
        """
        recorded = (environment or {}).get("data_renderer")
        if None in (recorded, self.renderer) or recorded == self.renderer:
            return ""
        return f" (rendered with {recorded}, now with {self.renderer})"

    def require_unchanged(self, environment: Mapping[str, Any] | None) -> None:
        """Checks that the pairs are the same as when a run began.

        Args:
            environment: the environment recorded when the run began; None if the run has not begun.

        Raises:
            EngineError: the pairs have changed since the run began.
        """
        if self.has_changed(environment):
            raise EngineError(
                f"The pictures of {self.source_text} have changed since the run began"
                f"{self.renderer_change(environment)}, so that new numbers would not be comparable "
                "to its earlier ones. Start a new study."
            )

    def positions(self, split: str, limit: int | None = None) -> list[int]:
        """Returns the positions of a split's pairs, shuffled; a limit keeps the first."""
        positions = [index for index, pair in enumerate(self.pairs) if pair.split == split]
        positions.sort(key=lambda index: shuffle_key(self.pairs[index].name))
        return positions[:limit]


def count_pairs(source: Source, budget: Budget, settings: Settings) -> dict[str, int]:
    """Counts the pairs of each split that a budget uses.

    The counts are exact if the source was scanned. Otherwise the counts are derived from the file
    names only, because unreadable files and near duplicates are not yet known.
    """
    survey = load_survey(source, settings)
    if survey is not None:
        splits = survey.splits
    else:
        names = source.names()
        given = [source.given_split(name) for name in names]
        splits = assign_splits(given, [source.group(name) for name in names])
    limits = {"train": budget.n_train, "val": budget.n_val, "test": budget.n_test}
    counts = {split: splits.count(split) for split in SPLITS}
    return {split: min(counts[split], limits[split] or counts[split]) for split in SPLITS}


def packed_dir(source: Source, px: int, settings: Settings) -> Path:
    """Returns the folder of a source packed at a size; the folder name contains the version."""
    return settings.data_dir / f"{source.slug}-{px}px-{PACKED_FORMAT}-{source.version}"


def is_packed(source: Source, px: int, settings: Settings) -> bool:
    """Returns whether the source is packed at this size."""
    return (packed_dir(source, px, settings) / "index.json").is_file()


def packed_sizes(source: Source, settings: Settings) -> list[int]:
    """Returns the sizes at which the source is packed, in ascending order."""
    folders = settings.data_dir.glob(f"{source.slug}-*px-{PACKED_FORMAT}-{source.version}")
    texts = [folder.name.removeprefix(f"{source.slug}-").partition("px")[0] for folder in folders]
    sizes = [int(text) for text in texts if text.isdecimal()]
    return sorted(px for px in sizes if is_packed(source, px, settings))


def prepare(
    source: Source,
    px: int,
    settings: Settings,
    on_progress: ProgressCallback = lambda done, total: None,
) -> PackedPairs:
    """Packs a source at a size unless it is packed already, and loads the packed pairs.

    Args:
        source: the source of the pairs.
        px: the side of the square pictures.
        settings: the settings with the folder of packed data.
        on_progress: called with the numbers of packed pairs and of all pairs.

    Raises:
        BadInputError: the source's files do not form pairs.
        EngineError: too many pairs are unusable, or the disk is full.
    """
    folder = packed_dir(source, px, settings)
    if not is_packed(source, px, settings):
        source.require_valid()
        settings.require_writable_artifacts()
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                delete_unfinished_folders(folder)
                if not is_packed(source, px, settings):
                    _require_room(source, px, settings)
                    _pack(source, px, settings, on_progress)
        except OSError as error:
            raise EngineError(f"The pairs could not be packed into {folder} ({error}).") from error
    return load_packed(source, px, settings)


def load_packed(source: Source, px: int, settings: Settings) -> PackedPairs:
    """Loads a packed folder; pixels are read from the disk only when they are used.

    Raises:
        EngineError: the folder does not exist, or is damaged.
    """
    folder = packed_dir(source, px, settings)
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        packed = PackedPairs(
            source_text=source.text,
            px=px,
            fingerprint=index["fingerprint"],
            pairs=tuple(Pair(**pair) for pair in index["pairs"]),
            unusable=tuple(Fault(**fault) for fault in index["left_out"]),
            # Copy on write, because torch warns about read-only arrays.
            pixels=np.load(folder / "pixels.npy", mmap_mode="c"),
            renderer=index.get("renderer"),
        )
        if packed.pixels.shape[:3] != (len(packed.pairs), px, px):
            raise ValueError(f"pixels of shape {packed.pixels.shape}")
        return packed
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise EngineError(
            f"The packed pairs in {folder} are damaged ({error}). "
            "Remove that folder; the pairs are packed again when they are needed."
        ) from error


def require_usable(source: Source, names: Sequence[str], unusable: Sequence[Fault]) -> None:
    """Refuses a source with no readable pair, too many unusable pairs, or copies across splits.

    Args:
        source: the source of the pairs.
        names: the names of the pairs that can be read.
        unusable: an error for each file that cannot be used.

    Raises:
        EngineError: the source is refused; the message contains the reason.
    """
    all_names = set(source.names())
    errors = {fault.file: fault for fault in unusable if fault.file in all_names}
    if not names:
        first = next(iter(errors.values()), None)
        reason = f": {first.file}: {first.detail}" if first is not None else ""
        raise EngineError(f"No pair of {source.title} can be read{reason}.")
    hint = f"`{PROGRAM} data check {source.text}` lists all, --clean excludes them."
    copies = [name for name, fault in errors.items() if fault.kind == "duplicate"]
    if copies:
        raise EngineError(
            f"{len(copies):,} pairs of {source.title} are in two of its splits: "
            f"{first_names(copies)}; {hint}"
        )
    if len(errors) > MAX_UNUSABLE_SHARE * len(all_names):
        raise EngineError(
            f"{len(errors):,} of {len(all_names):,} pairs of {source.title} cannot be used "
            f"({len(errors) / len(all_names):.0%}; packing skips at most "
            f"{MAX_UNUSABLE_SHARE:.0%}): {first_names(list(errors))}; {hint}"
        )


@dataclass(frozen=True)
class _RenderedChunk:
    """Some consecutive pairs, ready to be written.

    Attributes:
        names: the names of the pairs that could be read.
        rendered: the [px, px, C] bytes of each readable pair.
        fingerprints: the fingerprint of each readable pair.
        faults: the faults of the pairs that could not be read.
    """

    names: tuple[str, ...]
    rendered: tuple[Pixels, ...]
    fingerprints: tuple[str, ...]
    faults: tuple[Fault, ...]


def _pack(source: Source, px: int, settings: Settings, on_progress: ProgressCallback) -> None:
    """Writes the packed folder; makes the survey if there is none, in the same pass if possible."""
    if px <= DECODE_PX:
        survey = load_survey(source, settings)
    else:
        # Above `DECODE_PX`, images are decoded at a larger size, which would change the
        # measurements. Therefore the survey needs a pass of its own.
        survey = make_survey(source, settings, on_progress)
    with replacing_folder(packed_dir(source, px, settings)) as folder:
        path = folder / "pixels.npy"
        if survey is not None:
            chunks = _render_chunks(source, survey.names, px)
            n_pairs = len(survey.names)
            fingerprints, faults = _write_pixels(path, source, px, chunks, n_pairs, on_progress)
        else:
            builder, n_pairs = SurveyBuilder(source), len(source.names())
            chunks = _render_and_measure_chunks(source, px, builder)
            fingerprints, faults = _write_pixels(path, source, px, chunks, n_pairs, on_progress)
            survey = builder.finish(settings)
        _write_index(folder, source, px, survey, fingerprints, faults)


def _render_chunks(source: Source, names: Sequence[str], px: int) -> Iterator[_RenderedChunk]:
    """Renders the named pairs of a source that has a survey."""
    return iterate_chunks(source, names, ScanOptions(px, with_thumbnails=False), _fingerprint_chunk)


def _render_and_measure_chunks(
    source: Source, px: int, builder: SurveyBuilder
) -> Iterator[_RenderedChunk]:
    """Renders all pairs of a source and adds the measurements of the pairs to the survey."""

    def process(chunk: PairChunk) -> tuple[_RenderedChunk, ChunkResult]:
        return _fingerprint_chunk(chunk), builder.measure_chunk(chunk)

    options = ScanOptions(px, with_thumbnails=True)
    for rendered, result in iterate_chunks(source, source.names(), options, process):
        builder.add(result)
        yield rendered


def _fingerprint_chunk(chunk: PairChunk) -> _RenderedChunk:
    fingerprints = tuple(xxhash.xxh3_64_hexdigest(pixels.data) for pixels in chunk.rendered)
    return _RenderedChunk(chunk.names, chunk.rendered, fingerprints, chunk.faults)


def _write_pixels(
    path: Path,
    source: Source,
    px: int,
    chunks: Iterable[_RenderedChunk],
    n_pairs: int,
    on_progress: ProgressCallback,
) -> tuple[dict[str, str], list[Fault]]:
    """Writes the .npy file of all pixels.

    Returns:
        Packed pair name -> fingerprint, and the faults of the pairs that could not be packed.
    """
    fingerprints: dict[str, str] = {}
    faults: list[Fault] = []
    pair_shape = (px, px, source.channels)
    with path.open("w+b") as file:
        # The number of readable pairs is known only at the end, so the header is written twice.
        _write_header(file, (n_pairs, *pair_shape))
        for chunk in chunks:
            file.writelines(pixels.data for pixels in chunk.rendered)
            fingerprints |= dict(zip(chunk.names, chunk.fingerprints, strict=True))
            faults += chunk.faults
            on_progress(len(fingerprints) + len(faults), n_pairs)
        file.seek(0)
        _write_header(file, (len(fingerprints), *pair_shape))
    return fingerprints, faults


def _write_header(file: BinaryIO, shape: Sequence[int]) -> None:
    """Writes the header of an .npy file; the header has the same length for any number of pairs."""
    header = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
    npy.write_array_header_1_0(file, header)


def _write_index(
    folder: Path,
    source: Source,
    px: int,
    survey: Survey,
    fingerprints: Mapping[str, str],
    faults: Sequence[Fault],
) -> None:
    unusable = {fault.file: fault for fault in (*survey.unusable, *faults)}
    require_usable(source, tuple(fingerprints), tuple(unusable.values()))
    pairs = [
        Pair(name, group, split, fingerprints[name])
        for name, group, split in zip(survey.names, survey.groups, survey.splits, strict=True)
        if name in fingerprints
    ]
    document = {
        "source": source.text,
        "version": source.version,
        "px": px,
        "fingerprint": _fingerprint_pairs(pairs),
        "renderer": source.renderer,
        "pairs": [asdict(pair) for pair in pairs],
        "left_out": [asdict(fault) for fault in unusable.values()],
    }
    (folder / "index.json").write_text(json.dumps(document), encoding="utf-8")


def bytes_to_pack(source: Source, px: int, settings: Settings) -> int:
    """Returns the bytes that packing would write; 0 if the source is packed already."""
    return 0 if is_packed(source, px, settings) else len(source.names()) * px**2 * source.channels


def _require_room(source: Source, px: int, settings: Settings) -> None:
    disk.require_room(
        bytes_to_pack(source, px, settings),
        settings.data_dir,
        f"Packing {len(source.names()):,} pairs at {px} px",
        "Use fewer pairs (?limit=), fewer pixels, or set CHROMABENCH_ARTIFACTS to a larger disk.",
    )


def _fingerprint_pairs(pairs: Sequence[Pair]) -> str:
    lines = (f"{pair.name} {pair.split} {pair.fingerprint}\n" for pair in pairs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
