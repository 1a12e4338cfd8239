"""Sources that are folders of a person's own pictures.

They list without decoding, open one pair at a time, and change nothing where the pictures lie.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from engine import color
from engine.data.faults import Fault, PictureFaultError, first_names
from engine.data.index import draw_order
from engine.data.listing import Listing, given_splits
from engine.data.opened import Opened, Pixels
from engine.data.pictures import Box, Picture, decoding, fit, read_picture, read_size
from engine.errors import BadInputError

DETECTED_IN = 32  # pictures that tell which half is the sketch
DETECTED_AT = 64  # pixels a side, where colourfulness is measured
CLEARLY = 2.0  # times as colourful must one half be as the other
GREY = 2.0  # colourfulness below which a picture is grey; JPEG leaves traces of colour


@dataclass(frozen=True)
class Options:
    """How much of a folder is used, and which half is the sketch (`auto`, `left`, `right`)."""

    limit: int | None = None
    seed: int = 0
    sketch: str = "auto"

    def __str__(self) -> str:
        parts = [f"limit={self.limit}"] if self.limit is not None else []
        parts += [f"seed={self.seed}"] if self.seed else []
        parts += [f"sketch={self.sketch}"] if self.sketch != "auto" else []
        return f"?{'&'.join(parts)}" if parts else ""


class FolderSource:
    """What the three have in common: names, limits, splits and the version of what they hold.

    Args:
        kind: `sidebyside`, `folders` or `photos`.
        listings: of the folder, or of both.
        where: the folders as the SOURCE text has them.
        options: limits and choices.
        left_out: names that are not used.
    """

    source_label = "sketch"
    is_cut = False

    def __init__(
        self,
        kind: str,
        listings: Sequence[Listing],
        where: str,
        options: Options,
        left_out: Collection[str],
    ) -> None:
        self.text = f"{kind}:{where}{options}"
        self.listings, self.options, self.left_out = listings, options, left_out
        names = "-".join(listing.root.name or "root" for listing in listings)
        self.title = f"{kind} {names}"
        digest = hashlib.sha256(self.text.encode()).hexdigest()[:8]
        self.slug = f"{kind}-{re.sub(r'[^A-Za-z0-9]+', '-', names)[:40].strip('-')}-{digest}"

    @property
    def root(self) -> Path:
        """Where the names of its pairs begin."""
        return self.listings[0].root

    @cached_property
    def version(self) -> str:
        """Of names, sizes and dates of all files, and of what is left out."""
        digest = hashlib.blake2b(digest_size=8)
        for listing in self.listings:
            digest.update(listing.digest())
        digest.update("\n".join(sorted(self.left_out)).encode())
        return digest.hexdigest()

    @cached_property
    def _splits(self) -> Mapping[str, str]:
        return given_splits(self._all_names(), self.root)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        found = [name for name in self._all_names() if name not in self.left_out]
        if self.options.limit is not None:
            found.sort(key=lambda name: draw_order(f"{self.options.seed} {name}"))
            found = found[: self.options.limit]
        return tuple(sorted(found))

    def _all_names(self) -> Sequence[str]:
        """The names of all pairs there might be."""
        return tuple(self.listings[0].pictures)

    def names(self) -> Sequence[str]:
        """The names of the pairs that are used, sorted."""
        return self._names

    def group(self, name: str) -> str:
        """Names of files say nothing of likeness."""
        return name

    def given_split(self, name: str) -> str | None:
        """As the folders `train`, `val` and `test` say."""
        return self._splits.get(name)

    def structure_faults(self) -> Sequence[Fault]:
        """Files that are no pictures by their names, less those that are left out."""
        found = [it for listing in self.listings for it in listing.faults]
        found += self._unmatched()
        return [it for it in found if it.file not in self.left_out]

    def _unmatched(self) -> Sequence[Fault]:
        """Files that do not fit together with others."""
        return ()

    def require_sound(self) -> None:
        """Something remains; more must fit together where pairs are made of parts."""
        if not self._names:
            raise BadInputError(
                f"No pair of {self.title} remains: its list leaves all out "
                f"(`python -m engine data check {self.text} --restore` takes them back)."
            )


class Photos(FolderSource):
    """Colour pictures; the source is the same picture in grey, of the same lightness."""

    source_label = "grey"
    source_channels = 1

    def __init__(self, listing: Listing, options: Options, left_out: Collection[str]) -> None:
        super().__init__("photos", [listing], str(listing.root), options, left_out)
        self.about = f"photographs in {listing.root}: grey to colour"

    def open(self, name: str, needed: int) -> Opened:
        """Reads a photograph."""
        picture = read_picture(self.root / name, (needed, needed))

        def draw(px: int) -> Pixels:
            colours = fit(picture.image, px, _whole(picture))
            return np.concatenate([color.grey_of_equal_lightness(colours), colours], axis=2)

        return Opened(picture.size, picture.notes, picture.digest, draw)


class SideBySide(FolderSource):
    """Pictures with two halves; which of them is the sketch is seen from a sample, or said."""

    is_cut = True

    def __init__(self, listing: Listing, options: Options, left_out: Collection[str]) -> None:
        super().__init__("sidebyside", [listing], str(listing.root), options, left_out)

    @property
    def about(self) -> str:
        """What it is, and how the halves were told apart."""
        return f"side-by-side pairs in {self.root}: {self._halves.told}"

    @property
    def source_channels(self) -> int:
        """1 where the sample's sketches are grey."""
        return 1 if self._halves.is_grey else 3

    @cached_property
    def _halves(self) -> "_Halves":
        return _detect_halves(self)

    def require_sound(self) -> None:
        """Every picture can be cut into two equal halves, by the headers."""
        super().require_sound()
        odd = _odd_widths(self.root, self._names, self.version)
        if odd:
            raise BadInputError(
                f"{len(odd):,} pictures of {self.root} have an odd width and no two equal halves: "
                f"{first_names(odd)}. `python -m engine data check {self.text} --clean` leaves "
                "them out."
            )

    def read(self, name: str, needed: int) -> Picture:
        """Reads a picture of both halves."""
        picture = read_picture(self.root / name, (2 * needed, needed))
        if picture.size[0] % 2:
            raise PictureFaultError(
                "odd_width", f"{picture.size[0]} pixels wide: it has no two equal halves"
            )
        return picture

    def open(self, name: str, needed: int) -> Opened:
        """Reads a pair."""
        picture = self.read(name, needed)
        left, right = _halves_of(picture)
        sketch, colours = (left, right) if self._halves.sketch == "left" else (right, left)
        channels = self.source_channels

        def draw(px: int) -> Pixels:
            return _join(picture, sketch, picture, colours, px, channels)

        size = (picture.size[0] // 2, picture.size[1])
        return Opened(size, picture.notes, picture.digest, draw)


class TwoFolders(FolderSource):
    """Sketches in one folder, colours in the other; partners have the same name but for its end.

    Capital and small letters are not told apart, for not all machines do.
    """

    def __init__(
        self, sketches: Listing, colours: Listing, options: Options, left_out: Collection[str]
    ) -> None:
        where = f"{sketches.root},{colours.root}"
        super().__init__("folders", [sketches, colours], where, options, left_out)
        self.about = f"sketches in {sketches.root}, colours in {colours.root}"
        self._keys = [_by_key(listing) for listing in self.listings]

    @cached_property
    def source_channels(self) -> int:
        """1 where the sketches of a sample are grey."""
        seen = _sample(self.names(), lambda name: self._read(0, name, DETECTED_AT))
        return 1 if _colourfulness([(it, _whole(it)) for it in seen]) < GREY else 3

    def _all_names(self) -> Sequence[str]:
        both = self._keys[0].keys() & self._keys[1].keys()
        single = [key for key in both if all(len(keys[key]) == 1 for keys in self._keys)]
        return tuple(self._keys[0][key][0] for key in single)

    def _unmatched(self) -> Sequence[Fault]:
        """Files without a partner, and names that stand twice."""
        found = []
        for keys, other in ((self._keys[0], 1), (self._keys[1], 0)):
            for key, names in keys.items():
                if len(names) > 1:
                    detail = f"{' and '.join(names)} differ only in their ends"
                    found += [Fault(name, "duplicate", "error", detail) for name in names]
                elif key not in self._keys[other]:
                    detail = f"no file of this name in {self.listings[other].root}"
                    found.append(Fault(names[0], "missing_partner", "error", detail))
        return found

    def require_sound(self) -> None:
        """Every file has exactly one partner."""
        wrong = [it.file for it in self.structure_faults() if it.severity == "error"]
        if wrong:
            files = list(dict.fromkeys(wrong))
            raise BadInputError(
                f"{len(files):,} files of {self.title} have no partner or two: "
                f"{first_names(files)}. `python -m engine data check {self.text} --clean` leaves "
                "them out."
            )
        super().require_sound()

    def _read(self, side: int, name: str, needed: int) -> Picture:
        key = _key(name)
        return read_picture(self.listings[side].root / self._keys[side][key][0], (needed, needed))

    def open(self, name: str, needed: int) -> Opened:
        """Reads a pair."""
        sketch, colours = self._read(0, name, needed), self._read(1, name, needed)
        if sketch.size != colours.size:
            sizes = [f"{width}x{height}" for width, height in (sketch.size, colours.size)]
            raise PictureFaultError(
                "size_mismatch", f"the sketch has {sizes[0]} pixels, the colour picture {sizes[1]}"
            )
        channels = self.source_channels

        def draw(px: int) -> Pixels:
            return _join(sketch, _whole(sketch), colours, _whole(colours), px, channels)

        plain = ("converted", "grey brought to RGB")  # as a sketch should be
        notes = [note for note in sketch.notes if note != plain]
        notes += [note for note in colours.notes if note not in notes]
        return Opened(sketch.size, tuple(notes), f"{sketch.digest} {colours.digest}", draw)


@lru_cache(maxsize=8)
def _odd_widths(root: Path, names: tuple[str, ...], version: str) -> tuple[str, ...]:
    """The pictures of odd width, by their headers; asked again only when the folder changes."""
    found = []
    with decoding():
        for name in names:
            # Of one that cannot be read packing says what is wrong, and leaves a few such out.
            with suppress(PictureFaultError):
                if read_size(root / name)[0] % 2:
                    found.append(name)
    return tuple(found)


@dataclass(frozen=True)
class _Halves:
    """Which half is the sketch, whether it is grey, and how that was found, in words."""

    sketch: str
    is_grey: bool
    told: str


def _detect_halves(source: SideBySide) -> _Halves:
    """The half with less colour is the sketch, in a sample of the pictures."""
    seen = _sample(source.names(), lambda name: source.read(name, DETECTED_AT))
    if not seen:
        return _Halves("left", False, "no picture of a sample can be cut in two halves")
    halves = [_halves_of(picture) for picture in seen]
    left, right = (
        _colourfulness([(it, both[side]) for it, both in zip(seen, halves, strict=True)])
        for side in (0, 1)
    )
    measured = f"colourfulness {left:.1f} left, {right:.1f} right, in {len(seen)} pictures"
    sketch = source.options.sketch
    if sketch == "auto":
        if max(left, right) < GREY or max(left, right) < CLEARLY * min(left, right):
            raise BadInputError(
                f"The halves of the pictures in {source.root} are alike in colour ({measured}). "
                "Say which is the sketch: add ?sketch=left or ?sketch=right to the source."
            )
        sketch = "left" if left < right else "right"
    other = "right" if sketch == "left" else "left"
    is_grey = (left if sketch == "left" else right) < GREY
    return _Halves(sketch, is_grey, f"sketch {sketch}, colours {other} ({measured})")


def _sample(names: Sequence[str], read: Callable[[str], Picture]) -> list[Picture]:
    """Some of the pictures that can be read, the same every time."""
    found: list[Picture] = []
    with decoding():
        for name in sorted(names, key=draw_order)[: 2 * DETECTED_IN]:
            with suppress(PictureFaultError):
                found.append(read(name))
            if len(found) == DETECTED_IN:
                break
    return found


def _colourfulness(parts: Sequence[tuple[Picture, Box]]) -> float:
    """The median over parts of pictures; 0 of none."""
    if not parts:
        return 0.0
    pixels = np.stack([fit(picture.image, DETECTED_AT, box) for picture, box in parts])
    return float(np.median(color.colorfulness(pixels.transpose(0, 3, 1, 2) / 255)))


def _whole(picture: Picture) -> Box:
    return (0.0, 0.0, float(picture.image.width), float(picture.image.height))


def _halves_of(picture: Picture) -> tuple[Box, Box]:
    """Left and right half, as boxes of the decoded picture."""
    width, height = picture.image.size
    return (0.0, 0.0, width / 2, float(height)), (width / 2, 0.0, float(width), float(height))


def _join(
    sketch: Picture, sketch_box: Box, colours: Picture, colour_box: Box, px: int, channels: int
) -> Pixels:
    """Both halves drawn and laid on each other."""
    drawn = fit(sketch.image.convert("L") if channels == 1 else sketch.image, px, sketch_box)
    return np.concatenate([drawn, fit(colours.image, px, colour_box)], axis=2)


def _by_key(listing: Listing) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in listing.pictures:
        found.setdefault(_key(name), []).append(name)
    return found


def _key(name: str) -> str:
    """What partners have in common: the path without its end, in small letters."""
    return str(PurePosixPath(name).with_suffix("")).lower()
