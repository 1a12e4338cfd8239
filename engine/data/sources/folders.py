"""Sources that are folders of a person's own pictures.

They list without decoding, open one pair at a time, and change nothing where the pictures lie.
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

from engine.data.pairs import GLANCE, Opened, Pixels
from engine.data.sources.listing import Listing, given_splits
from engine.data.splits import draw_order
from engine.data.survey import checks
from engine.errors import BadInputError
from engine.images import color
from engine.images.decoding import Picture, fit, glance, read_picture
from engine.images.faults import Fault, PictureFaultError, first_names
from engine.images.pillow import lenient_pillow

DETECTED_IN = 16  # pictures that tell which half is the sketch
DETECTED_AT = 64  # pixels a side, where colourfulness is measured


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
        self.text, self.where = f"{kind}:{where}{options}", f"{kind}:{where}"
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
        names = [name for name in self._all_names() if name not in self.left_out]
        return given_splits(names, self.root)

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
        """Something remains, all in splits or none; more where pairs are made of parts."""
        _ = self._splits  # says so where pictures lie beside the folders of splits
        if not self._names:
            why = "its list leaves all out; `data check SOURCE --restore` takes them back"
            raise BadInputError(
                f"No pair of {self.title} remains: "
                f"{why if self.left_out else 'none has a partner'}."
            )


class Photos(FolderSource):
    """Colour pictures; the source is the same picture in grey, of the same lightness."""

    source_label = "grey"
    channels = 3

    def __init__(self, listing: Listing, options: Options, left_out: Collection[str]) -> None:
        super().__init__("photos", [listing], str(listing.root), options, left_out)
        self.about = f"photographs in {listing.root}: grey to colour"

    def open(self, name: str, needed: int) -> Opened:
        """Reads a photograph."""
        picture = read_picture(self.root / name, (needed, needed))
        return Opened(
            picture.size, picture.notes, picture.fit, lambda: glance(picture.image, GLANCE)
        )


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
        self._keys = [_by_key(listing, left_out) for listing in self.listings]

    @cached_property
    def channels(self) -> int:
        """4 where the sketches of a sample are grey."""
        seen = sample(self.names(), lambda name: self._read(0, name, DETECTED_AT))
        return 4 if colourfulness([it.image for it in seen]) < checks.GREY else 6

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
        path = self.listings[side].root / self._keys[side][_key(name)][0]
        try:
            return read_picture(path, (needed, needed))
        except PictureFaultError as error:
            half = ("the sketch", "the colour picture")[side]
            raise PictureFaultError(error.kind, f"{half}: {error.detail}") from error

    def open(self, name: str, needed: int) -> Opened:
        """Reads a pair."""
        sketch, colours = self._read(0, name, needed), self._read(1, name, needed)
        if sketch.size != colours.size:
            sizes = [f"{width}x{height}" for width, height in (sketch.size, colours.size)]
            raise PictureFaultError(
                "size_mismatch", f"the sketch has {sizes[0]} pixels, the colour picture {sizes[1]}"
            )
        plain = ("converted", "grey brought to RGB")  # as a sketch should be
        notes = [note for note in sketch.notes if note != plain]
        notes += [note for note in colours.notes if note not in notes]
        images = [as_sketch(sketch.image, self.channels), colours.image]
        return opened(sketch.size, notes, images)


def sample(names: Sequence[str], read: Callable[[str], Picture]) -> list[Picture]:
    """Some of the pictures that can be read, the same every time."""
    found: list[Picture] = []
    with lenient_pillow():
        for name in sorted(names, key=draw_order)[: 2 * DETECTED_IN]:
            with suppress(PictureFaultError):
                found.append(read(name))
            if len(found) == DETECTED_IN:
                break
    return found


def colourfulness(images: Sequence[Image.Image]) -> float:
    """The median over pictures; 0 of none."""
    if not images:
        return 0.0
    pixels = np.stack([fit(image, DETECTED_AT) for image in images])
    return float(np.median(color.colorfulness(pixels.transpose(0, 3, 1, 2) / 255)))


def as_sketch(image: Image.Image, channels: int) -> Image.Image:
    """The picture as a sketch is packed: in grey where all are."""
    return image if channels == 6 else image.convert("L")


def opened(
    size: tuple[int, int], notes: Sequence[tuple[str, str]], images: Sequence[Image.Image]
) -> Opened:
    """A pair made of pictures, in the order of its channels."""

    def draw(px: int) -> Pixels:
        return _stack([fit(image, px) for image in images])

    def look() -> Pixels:
        return _stack([glance(image, GLANCE) for image in images])

    return Opened(size, tuple(notes), draw, look)


def _stack(halves: Sequence[Pixels]) -> Pixels:
    return halves[0] if len(halves) == 1 else np.concatenate(halves, axis=2)


def _by_key(listing: Listing, left_out: Collection[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in listing.pictures:
        if name not in left_out:
            found.setdefault(_key(name), []).append(name)
    return found


def _key(name: str) -> str:
    """What partners have in common: the path without its end, in small letters."""
    return str(PurePosixPath(name).with_suffix("")).lower()
