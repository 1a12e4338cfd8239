"""Pictures with two halves: which of them is the sketch, and whether each can be cut in two."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from PIL import Image

from engine.data.pairs import Opened
from engine.data.sources.folders import (
    DETECTED_AT,
    FolderSource,
    Options,
    as_sketch,
    colourfulness,
    opened,
    sample,
)
from engine.data.sources.listing import Listing
from engine.data.survey import checks
from engine.errors import BadInputError
from engine.images.decoding import Picture, read_picture, read_size
from engine.images.faults import PictureFaultError, first_names
from engine.images.pillow import lenient_pillow

CLEARLY = 2.0  # times as colourful must one half be as the other


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
    def channels(self) -> int:
        """4 where the sample's sketches are grey."""
        return 4 if self._halves.is_grey else 6

    @cached_property
    def _halves(self) -> "_Halves":
        return _detect_halves(self)

    def require_sound(self) -> None:
        """Every picture can be cut into two equal halves, by the headers."""
        super().require_sound()
        _ = self._halves  # says so where they cannot be told apart
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
        left, right = _cut(picture)
        sketch, colours = (left, right) if self._halves.sketch == "left" else (right, left)
        size = (picture.size[0] // 2, picture.size[1])
        return opened(size, picture.notes, [as_sketch(sketch, self.channels), colours])


@lru_cache(maxsize=8)
def _odd_widths(root: Path, names: tuple[str, ...], version: str) -> tuple[str, ...]:
    """The pictures of odd width, by their headers; asked again only when the folder changes."""
    found = []
    with lenient_pillow():
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
    seen = sample(source.names(), lambda name: source.read(name, DETECTED_AT))
    if not seen:
        return _Halves("left", False, "no picture of a sample can be cut in two halves")
    halves = [_cut(picture) for picture in seen]
    left, right = (colourfulness([both[side] for both in halves]) for side in (0, 1))
    measured = f"colourfulness {left:.1f} left, {right:.1f} right, in {len(seen)} pictures"
    sketch = source.options.sketch
    if sketch == "auto":
        if max(left, right) < checks.GREY or max(left, right) < CLEARLY * min(left, right):
            raise BadInputError(
                f"The halves of the pictures in {source.root} are alike in colour ({measured}). "
                "Say which is the sketch: add ?sketch=left or ?sketch=right to the source."
            )
        sketch = "left" if left < right else "right"
    other = "right" if sketch == "left" else "left"
    is_grey = (left if sketch == "left" else right) < checks.GREY
    return _Halves(sketch, is_grey, f"sketch {sketch}, colours {other} ({measured})")


def _cut(picture: Picture) -> tuple[Image.Image, Image.Image]:
    """Left and right half, apart before they are scaled: neither may see the other's edge.

    A JPEG that was decoded smaller may have an odd width by now; its middle column is shared, and
    left out.
    """
    width, height = picture.image.size
    half = width // 2
    boxes = ((0, 0, half, height), (width - half, 0, width, height))
    left, right = (picture.image.crop(box) for box in boxes)
    return left, right
