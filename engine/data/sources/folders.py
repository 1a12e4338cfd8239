"""Implements the sources `photos` and `folders`, and the base class of all folder sources.

A folder source lists files without decoding them, loads one pair at a time, and changes nothing in
its folders.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from engine.data.pairs import THUMBNAIL_PX, LoadedPair, Pixels, shuffle_key
from engine.data.sources.listing import Listing, given_splits
from engine.errors import BadInputError
from engine.images import color
from engine.images.decoding import (
    GREY_NOTE,
    DecodedImage,
    load_image,
    resize_fast,
    resize_square,
)
from engine.images.faults import Fault, PictureFaultError, first_names
from engine.settings import PROGRAM

DETECTION_SAMPLE = 16  # pictures from which the properties of a source are detected
DETECTION_PX = 64  # side at which the colourfulness of these pictures is measured


@dataclass(frozen=True)
class SourceOptions:
    """The options of a folder source.

    Attributes:
        limit: the largest number of pairs; None: all pairs.
        seed: the seed of the random selection if there is a limit.
        sketch: the half that is the sketch: `auto`, `left` or `right`.
    """

    limit: int | None = None
    seed: int = 0
    sketch: str = "auto"

    def __str__(self) -> str:
        parts = [f"limit={self.limit}"] if self.limit is not None else []
        parts += [f"seed={self.seed}"] if self.seed else []
        parts += [f"sketch={self.sketch}"] if self.sketch != "auto" else []
        return f"?{'&'.join(parts)}" if parts else ""


class FolderSource:
    """Base class of the folder sources, with names, limit, given splits and version.

    Args:
        kind: `sidebyside`, `folders` or `photos`.
        listings: the listing of the folder, or the listings of both folders.
        folders: the absolute paths of the folders, as written in the SOURCE text.
        options: the options in the SOURCE text.
        excluded: names of files that are not used.
    """

    source_label = "sketch"
    is_side_by_side = False
    renderer = None

    def __init__(
        self,
        kind: str,
        listings: Sequence[Listing],
        folders: str,
        options: SourceOptions,
        excluded: Collection[str],
    ) -> None:
        self.text_without_options = f"{kind}:{folders}"
        self.text = f"{self.text_without_options}{options}"
        self.listings, self.options, self.excluded = listings, options, excluded
        names = "-".join(listing.root.name or "root" for listing in listings)
        self.title = f"{kind} {names}"
        digest = hashlib.sha256(self.text.encode()).hexdigest()[:8]
        self.slug = f"{kind}-{re.sub(r'[^A-Za-z0-9]+', '-', names)[:40].strip('-')}-{digest}"

    @property
    def root(self) -> Path:
        """The folder to which the names of pairs are relative."""
        return self.listings[0].root

    @cached_property
    def version(self) -> str:
        """A digest of the excluded files and of the names, sizes and dates of all files."""
        digest = hashlib.blake2b(digest_size=8)
        for listing in self.listings:
            digest.update(listing.digest())
        digest.update("\n".join(sorted(self.excluded)).encode())
        return digest.hexdigest()

    @cached_property
    def _splits(self) -> Mapping[str, str]:
        return given_splits(self._included_names(), self.root)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        names = self._included_names()
        if self.options.limit is not None:
            names.sort(key=lambda name: shuffle_key(f"{self.options.seed} {name}"))
            names = names[: self.options.limit]
        return tuple(sorted(names))

    def _included_names(self) -> list[str]:
        return [name for name in self._all_names() if name not in self.excluded]

    def _all_names(self) -> Sequence[str]:
        """Returns the names of all pairs before the limit; they may include excluded pairs."""
        return tuple(self.listings[0].pictures)

    def names(self) -> Sequence[str]:
        """Returns the names of the pairs that are used, sorted."""
        return self._names

    def group(self, name: str) -> str:
        """Returns the name itself, because file names do not show variants of a picture."""
        return name

    def given_split(self, name: str) -> str | None:
        """Returns the split that the folders `train`, `val` and `test` give, or None."""
        return self._splits.get(name)

    def structure_faults(self) -> Sequence[Fault]:
        """Returns faults that are visible without decoding, except those of excluded files."""
        faults = [fault for listing in self.listings for fault in listing.faults]
        faults += self._partner_faults()
        return [fault for fault in faults if fault.file not in self.excluded]

    def _partner_faults(self) -> Sequence[Fault]:
        """Returns the faults of files without exactly one partner; none if a pair is one file."""
        return ()

    def require_valid(self) -> None:
        """Checks that a pair remains, and that either all pairs have a given split or none.

        Raises:
            BadInputError: no pair remains, or only some pairs have a given split.
        """
        _ = self._splits  # raises BadInputError for pictures beside the folders of splits
        if not self._names:
            reason = "no file has a partner"
            if self.excluded:
                reason = "all files are excluded; `data check SOURCE --restore` includes them again"
            raise BadInputError(f"No pair of {self.title} remains: {reason}.")


class Photos(FolderSource):
    """Photographs as targets; the source of a pair is the photograph in grey of equal lightness."""

    source_label = "grey"
    channels = 3

    def __init__(self, listing: Listing, options: SourceOptions, excluded: Collection[str]) -> None:
        super().__init__("photos", [listing], str(listing.root), options, excluded)
        self.about = f"photographs in {listing.root}: grey to colour"

    def load_pair(self, name: str, needed_px: int) -> LoadedPair:
        """Loads a photograph."""
        picture = load_image(self.root / name, (needed_px, needed_px))
        return LoadedPair(
            picture.size,
            picture.notes,
            picture.resize_square,
            lambda: resize_fast(picture.image, THUMBNAIL_PX),
        )


class TwoFolders(FolderSource):
    """Sketches in one folder and colour pictures in another.

    The two file names of a pair may differ in their extensions. Upper and lower case are not
    distinguished, because some file systems do not distinguish upper and lower case.
    """

    def __init__(
        self,
        sketches: Listing,
        colours: Listing,
        options: SourceOptions,
        excluded: Collection[str],
    ) -> None:
        folders = f"{sketches.root},{colours.root}"
        super().__init__("folders", [sketches, colours], folders, options, excluded)
        self.about = f"sketches in {sketches.root}, colours in {colours.root}"
        self._names_by_key = [_names_by_key(listing, excluded) for listing in self.listings]

    @cached_property
    def channels(self) -> int:
        """4 if the sketches of a sample are grey, else 6."""
        pictures = load_sample(self.names(), lambda name: self._load_half(0, name, DETECTION_PX))
        colorfulness = median_colorfulness([picture.image for picture in pictures])
        return 4 if colorfulness < color.GREY_COLORFULNESS else 6

    def _all_names(self) -> Sequence[str]:
        sketches, colours = self._names_by_key
        return tuple(
            names[0]
            for key, names in sketches.items()
            if len(names) == 1 and len(colours.get(key, ())) == 1
        )

    def _partner_faults(self) -> Sequence[Fault]:
        faults = []
        for names_by_key, other in ((self._names_by_key[0], 1), (self._names_by_key[1], 0)):
            for key, names in names_by_key.items():
                if len(names) > 1:
                    detail = f"{' and '.join(names)} differ only in extension or upper case"
                    faults += [Fault(name, "duplicate", "error", detail) for name in names]
                elif key not in self._names_by_key[other]:
                    detail = f"no file of this name in {self.listings[other].root}"
                    faults.append(Fault(names[0], "missing_partner", "error", detail))
        return faults

    def require_valid(self) -> None:
        """Checks that every file can be listed and has exactly one partner.

        Raises:
            BadInputError: a file cannot be listed, or has no partner or several; or no pair
                remains; or only some pairs have a given split.
        """
        faults = [fault for fault in self.structure_faults() if fault.severity == "error"]
        if faults:
            files = list(dict.fromkeys(fault.file for fault in faults))
            raise BadInputError(
                f"{len(files):,} files of {self.title} have no partner or several: "
                f"{first_names(files)}. `{PROGRAM} data check {self.text} --clean` excludes "
                "them."
            )
        super().require_valid()

    def _load_half(self, half: int, name: str, needed_px: int) -> DecodedImage:
        """Loads the sketch (half 0) or the colour picture (half 1) of a pair."""
        path = self.listings[half].root / self._names_by_key[half][_key(name)][0]
        try:
            return load_image(path, (needed_px, needed_px))
        except PictureFaultError as error:
            label = ("the sketch", "the colour picture")[half]
            raise PictureFaultError(error.kind, f"{label}: {error.detail}") from error

    def load_pair(self, name: str, needed_px: int) -> LoadedPair:
        """Loads the sketch and the colour picture of a pair."""
        sketch, colours = (self._load_half(half, name, needed_px) for half in (0, 1))
        if sketch.size != colours.size:
            sketch_size, size = (
                f"{width}x{height}" for width, height in (sketch.size, colours.size)
            )
            raise PictureFaultError(
                "size_mismatch", f"the sketch has {sketch_size} pixels, the colour picture {size}"
            )
        notes = [note for note in sketch.notes if note != GREY_NOTE]  # sketches may be grey
        notes += [note for note in colours.notes if note not in notes]
        return loaded_pair(sketch.size, notes, sketch.image, colours.image, self.channels)


def load_sample(names: Sequence[str], load: Callable[[str], DecodedImage]) -> list[DecodedImage]:
    """Loads a fixed sample of pictures; unreadable pictures are skipped."""
    pictures: list[DecodedImage] = []
    for name in sorted(names, key=shuffle_key)[: 2 * DETECTION_SAMPLE]:
        with suppress(PictureFaultError):
            pictures.append(load(name))
        if len(pictures) == DETECTION_SAMPLE:
            break
    return pictures


def median_colorfulness(images: Sequence[Image.Image]) -> float:
    """Returns the median of the colourfulness of images; 0 without images."""
    if not images:
        return 0.0
    pixels = np.stack([resize_square(image, DETECTION_PX) for image in images])
    return float(np.median(color.colorfulness(pixels.transpose(0, 3, 1, 2) / 255)))


def loaded_pair(
    size: tuple[int, int],
    notes: Sequence[tuple[str, str]],
    sketch: Image.Image,
    colours: Image.Image,
    channels: int,
) -> LoadedPair:
    """Builds a pair from its two halves.

    Args:
        size: the width and height of each half in the file.
        notes: (kind, detail) of every conversion during decoding.
        sketch: the source half.
        colours: the target half.
        channels: 6; 4 if the sketch is packed in grey.
    """
    halves = (sketch if channels == 6 else sketch.convert("L"), colours)

    def render(px: int) -> Pixels:
        return np.concatenate([resize_square(half, px) for half in halves], axis=2)

    def thumbnail() -> Pixels:
        return np.concatenate([resize_fast(half, THUMBNAIL_PX) for half in halves], axis=2)

    return LoadedPair(size, tuple(notes), render, thumbnail)


def _names_by_key(listing: Listing, excluded: Collection[str]) -> dict[str, list[str]]:
    names_by_key: dict[str, list[str]] = {}
    for name in listing.pictures:
        if name not in excluded:
            names_by_key.setdefault(_key(name), []).append(name)
    return names_by_key


def _key(name: str) -> str:
    """Returns the part of a name that partners share: the path without extension, in lower case."""
    return str(PurePosixPath(name).with_suffix("")).lower()
