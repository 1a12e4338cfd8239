"""Defines the faults of image files: kinds, severities and the record of one fault."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.errors import EngineError

Severity = Literal["error", "warning", "note"]

# Error: the file is not used. Warning: the file may lower the quality. Note: no action is needed.
FAULT_KINDS: dict[str, str] = {
    "unreadable": "is damaged, or cannot be opened",
    "empty": "is a file of 0 bytes",
    "not_a_picture": "is no picture, or has an unsupported format",
    "odd_width": "cannot be cut into two equal halves",
    "size_mismatch": "differs in size from its partner, or its halves from the other halves",
    "missing_partner": "has no counterpart in the other folder",
    "too_small": "has fewer pixels than the smallest training size",
    "too_large": "has more than 64 megapixels",
    "blank": "has only one colour, or nearly so",
    "grey": "has no colour to learn from",
    "duplicate": "is an exact copy of another picture",
    "near_duplicate": "looks like another picture; unless splits are given, both are in one split",
    "sixteen_bit": "has 16 bits per channel; scaled to 8",
    "rotated": "was turned upright as its EXIF data says",
    "converted": "was converted to RGB, or has another format than its name says",
    "outlier": "differs from the other pictures in size or shape",
}
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Fault:
    """A fault of one file.

    Attributes:
        file: the name of the file within the source.
        kind: a key of `FAULT_KINDS`.
        severity: `error` (never used for training), `warning` (better excluded) or `note`.
        detail: one line for the user, with the values of this file.
    """

    file: str
    kind: str
    severity: Severity
    detail: str


class PictureFaultError(EngineError):
    """Raised for a file that cannot be used for training."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail

    def fault(self, file: str) -> Fault:
        """Returns this error as the fault of a file."""
        return Fault(file, self.kind, "error", self.detail)


def first_names(names: Sequence[str], count: int = 5) -> str:
    """Joins the first few names and adds the number of the other names."""
    more = f" and {len(names) - count:,} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
