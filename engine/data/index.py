"""What is known of each pair beside its pixels, and which split it belongs to."""

import hashlib
from dataclasses import dataclass

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Pair:
    """One source with its target.

    Attributes:
        name: unique within its source.
        group: near-copies share a group, and a group never crosses splits.
        split: train, val or test.
        fingerprint: hash of the packed pixels of both halves.
    """

    name: str
    group: str
    split: str
    fingerprint: str


def split_of(group: str) -> str:
    """80/10/10 by a stable hash of the group, so that adding pictures moves none."""
    draw = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") % 100
    return "train" if draw < 80 else "val" if draw < 90 else "test"


def draw_order(name: str) -> str:
    """A sort key as good as random and the same everywhere, for taking some of many pairs."""
    return hashlib.sha256(name.encode()).hexdigest()
