"""Defines the interface of a source of image pairs."""

from collections.abc import Sequence
from typing import Protocol

from engine.data.pairs import LoadedPair
from engine.images.faults import Fault


class Source(Protocol):
    """A source of image pairs, as packing, surveys and pages use it."""

    @property
    def text(self) -> str:
        """The SOURCE text with absolute paths, as it is stored with runs."""

    @property
    def text_without_options(self) -> str:
        """The SOURCE text without its options."""

    @property
    def title(self) -> str:
        """The name for users."""

    @property
    def slug(self) -> str:
        """The name as part of a folder's name."""

    @property
    def about(self) -> str:
        """A description in one line."""

    @property
    def source_label(self) -> str:
        """The kind of the source half, which is the model's input: `sketch` or `grey`."""

    @property
    def is_side_by_side(self) -> bool:
        """Whether each pair is cut from one picture with two halves."""

    @property
    def channels(self) -> int:
        """Channels of a rendered pair: 6; 4 with a grey source; 3 if that is the target's grey."""

    @property
    def version(self) -> str:
        """A text that changes when the files may have changed."""

    def names(self) -> Sequence[str]:
        """Returns the names of all pairs, sorted."""

    def group(self, name: str) -> str:
        """Returns the part of a name that variants of the same picture share."""

    def given_split(self, name: str) -> str | None:
        """Returns the split that the user gave a pair; None if it follows from the pair's group."""

    def structure_faults(self) -> Sequence[Fault]:
        """Returns faults of the set of files that are visible without decoding a file."""

    def require_valid(self) -> None:
        """Checks that the files form pairs.

        Raises:
            BadInputError: they do not; it has the names of the first few files.
        """

    def load_pair(self, name: str, needed_px: int) -> LoadedPair:
        """Loads a pair that will be rendered at sides of at least `needed_px` pixels.

        Raises:
            PictureFaultError: the files are not a pair; it has the kind and the reason.
        """
