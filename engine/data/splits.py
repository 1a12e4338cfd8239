"""What is known of each pair beside its pixels, and which split it belongs to."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

SPLITS = ("train", "val", "test")
HELD_OUT = "held out"  # given for validation or test, without the other


@dataclass(frozen=True)
class Pair:
    """One source with its target.

    Attributes:
        name: unique within its source.
        group: near-copies share a group, and a group never crosses splits.
        split: train, val or test.
        fingerprint: checksum of its packed pixels.
    """

    name: str
    group: str
    split: str
    fingerprint: str


def split_of(group: str) -> str:
    """80/10/10 by a stable hash of the group, so that adding pictures moves none."""
    draw = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") % 100
    return "train" if draw < 80 else "val" if draw < 90 else "test"


def split_pairs(given: Sequence[str | None], groups: Sequence[str]) -> tuple[str, ...]:
    """The split of each pair: as the user gave it, else by its group; `HELD_OUT` is halved."""
    found = []
    for split, group in zip(given, groups, strict=True):
        if split is None:
            found.append(split_of(group))
        elif split == HELD_OUT:
            draw = hashlib.sha256(f"half {group}".encode()).digest()[0]
            found.append("val" if draw < 128 else "test")
        else:
            found.append(split)
    return tuple(found)


def draw_order(name: str) -> str:
    """A sort key as good as random and the same everywhere, for taking some of many pairs."""
    return hashlib.sha256(name.encode()).hexdigest()
