"""What can be wrong with pictures: kinds, how bad each is, and how one is said."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.errors import EngineError

Severity = Literal["error", "warning", "note"]

# An error is refused or left out, a warning costs quality, a note is dealt with on the way in.
KINDS: dict[str, str] = {
    "unreadable": "damaged, or the file cannot be opened",
    "empty": "a file of 0 bytes",
    "not_a_picture": "no picture, or of a format that is not read",
    "odd_width": "cannot be cut into two equal halves",
    "size_mismatch": "its halves, or its partner, have another size",
    "missing_partner": "has no counterpart in the other folder",
    "too_small": "has fewer pixels than the smallest training size",
    "too_large": "has over 64 megapixels",
    "blank": "is of one colour, or nearly",
    "grey": "has no colour to learn from",
    "duplicate": "the same picture stands elsewhere too",
    "near_duplicate": "looks like another picture; kept in one split where you gave none",
    "sixteen_bit": "has 16 bits a channel; scaled to 8",
    "rotated": "turned upright as its EXIF data says",
    "converted": "brought to RGB, or not of the format that its name says",
    "outlier": "unlike the others in size or shape",
}
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one file.

    Attributes:
        file: its name within the source.
        kind: a key of `KINDS`.
        severity: `error` (never used for training), `warning` (better left out) or `note`.
        detail: what exactly, for a person.
    """

    file: str
    kind: str
    severity: Severity
    detail: str


class PictureFaultError(EngineError):
    """A file is no picture that can be trained on."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail

    def fault(self, file: str) -> Fault:
        """The error as it is reported of a file."""
        return Fault(file, self.kind, "error", self.detail)


def first_names(names: Sequence[str], count: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - count:,} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
