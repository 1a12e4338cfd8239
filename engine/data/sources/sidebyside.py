"""Implements the source `sidebyside`: pictures with two halves, sketch and colours.

The half with less colour is the sketch, unless the SOURCE text names the half with the sketch.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from PIL import Image

from engine.data.pairs import LoadedPair
from engine.data.sources.folders import (
    DETECTION_PX,
    FolderSource,
    SourceOptions,
    load_sample,
    loaded_pair,
    median_colorfulness,
)
from engine.data.sources.listing import Listing
from engine.errors import BadInputError
from engine.images import color
from engine.images.decoding import DecodedImage, load_image, load_upright_size
from engine.images.faults import PictureFaultError, first_names
from engine.settings import PROGRAM

MIN_COLORFULNESS_RATIO = 2.0  # of the two halves; below this, the sketch is not detected


class SideBySide(FolderSource):
    """Pictures with two halves; the sketch is given by an option or detected in a sample."""

    is_side_by_side = True

    def __init__(self, listing: Listing, options: SourceOptions, excluded: Collection[str]) -> None:
        super().__init__("sidebyside", [listing], str(listing.root), options, excluded)

    @property
    def about(self) -> str:
        """A description in one line, with the detected halves."""
        return f"side-by-side pairs in {self.root}: {self._halves.description}"

    @property
    def channels(self) -> int:
        """4 if the sketches of a sample are grey, else 6."""
        return 4 if self._halves.is_sketch_grey else 6

    @cached_property
    def _halves(self) -> "_Halves":
        return _detect_halves(self)

    def require_valid(self) -> None:
        """Checks that the half with the sketch is given or detected, and that all widths are even.

        The widths are read from the file headers, without decoding the pictures.

        Raises:
            BadInputError: the halves cannot be told apart, or some widths are odd.
        """
        super().require_valid()
        _ = self._halves  # raises BadInputError if the sketch cannot be detected
        odd = _names_of_odd_width(self.root, self._names, self.version)
        if odd:
            raise BadInputError(
                f"{len(odd):,} pictures of {self.root} have an odd width and no two equal halves: "
                f"{first_names(odd)}. `{PROGRAM} data check {self.text} --clean` excludes "
                "them."
            )

    def load_both_halves(self, name: str, needed_px: int) -> DecodedImage:
        """Loads a picture with both halves, before the cut.

        Raises:
            PictureFaultError: the file cannot be decoded, or its width is odd.
        """
        picture = load_image(self.root / name, (2 * needed_px, needed_px))
        width, _ = picture.size
        if width % 2:
            detail = f"{width} pixels wide: it has no two equal halves"
            raise PictureFaultError("odd_width", detail)
        return picture

    def load_pair(self, name: str, needed_px: int) -> LoadedPair:
        """Loads a picture and cuts the picture into sketch and colours."""
        picture = self.load_both_halves(name, needed_px)
        left, right = _cut(picture.image)
        sketch, colours = (left, right) if self._halves.sketch == "left" else (right, left)
        width, height = picture.size
        return loaded_pair((width // 2, height), picture.notes, sketch, colours, self.channels)


@lru_cache(maxsize=8)
def _names_of_odd_width(root: Path, names: tuple[str, ...], version: str) -> tuple[str, ...]:
    """Returns the pictures with an odd width in the header; cached until `version` changes."""
    odd = []
    for name in names:
        # Skipped: unreadable files, which packing reports. (Packing accepts a few such files.)
        with suppress(PictureFaultError):
            width, _ = load_upright_size(root / name)
            if width % 2:
                odd.append(name)
    return tuple(odd)


@dataclass(frozen=True)
class _Halves:
    """The half that is the sketch (`left` or `right`), whether it is grey, and a description."""

    sketch: str
    is_sketch_grey: bool
    description: str


def _detect_halves(source: SideBySide) -> _Halves:
    """Detects the less colourful half in a sample as the sketch, unless the sketch is given."""
    pictures = load_sample(source.names(), lambda name: source.load_both_halves(name, DETECTION_PX))
    if not pictures:
        return _Halves("left", False, "no picture of a sample can be cut in two halves")
    halves = [_cut(picture.image) for picture in pictures]
    left, right = (median_colorfulness([pair[side] for pair in halves]) for side in (0, 1))
    measured = f"colourfulness {left:.1f} left, {right:.1f} right, in {len(pictures)} pictures"
    sketch = source.options.sketch
    if sketch == "auto":
        low, high = sorted((left, right))
        if high < color.GREY_COLORFULNESS or high < MIN_COLORFULNESS_RATIO * low:
            raise BadInputError(
                f"The halves of the pictures in {source.root} are similar in colour ({measured}). "
                "Name the half with the sketch: add ?sketch=left or ?sketch=right to the source."
            )
        sketch = "left" if left < right else "right"
    colours = "right" if sketch == "left" else "left"
    is_sketch_grey = (left if sketch == "left" else right) < color.GREY_COLORFULNESS
    return _Halves(sketch, is_sketch_grey, f"sketch {sketch}, colours {colours} ({measured})")


def _cut(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Cuts an image into its left and right half.

    The image is cut before scaling, so that neither half contains pixels of the other half. A JPEG
    that was decoded at a reduced size may have an odd width; then the middle column is dropped.
    """
    width, height = image.size
    half_width = width // 2
    left = image.crop((0, 0, half_width, height))
    right = image.crop((width - half_width, 0, width, height))
    return left, right
