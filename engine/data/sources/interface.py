"""Defines the interface of a source of image pairs."""

from collections.abc import Sequence
from typing import Protocol

from engine.data.pairs import LoadedPair
from engine.images.faults import Fault


class Source(Protocol):
    """The interface of a source for packing, surveys and pages."""

    @property
    def text(self) -> str:
        """The SOURCE text with absolute paths, as stored with runs."""

    @property
    def text_without_options(self) -> str:
        """The SOURCE text without its options."""

    @property
    def title(self) -> str:
        """The name that is shown to users."""

    @property
    def slug(self) -> str:
        """The name in a form that is valid in folder names."""

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
        """Channels of a rendered pair: 6; 4 with a grey source; 3 if only the target is stored."""

    @property
    def version(self) -> str:
        """A text that changes when the files may have changed."""

    @property
    def renderer(self) -> str | None:
        """The library, with its version, that renders the pictures; None if they are decoded."""

    def names(self) -> Sequence[str]:
        """Returns the names of all pairs, sorted."""

    def group(self, name: str) -> str:
        """Returns the group of a pair by its name; variants of one picture share a group."""

    def given_split(self, name: str) -> str | None:
        """Returns the given split of a pair; None if the split is derived from the pair's group."""

    def structure_faults(self) -> Sequence[Fault]:
        """Returns the faults that can be found without decoding a file."""

    def require_valid(self) -> None:
        """Checks that the files form pairs.

        Raises:
            BadInputError: the files do not form pairs; the message contains the reason.
        """

    def load_pair(self, name: str, needed_px: int) -> LoadedPair:
        """Loads a pair that will be rendered at sides of at least `needed_px` pixels.

        Raises:
            PictureFaultError: the pair cannot be loaded; the error has the kind and the reason.
        """
