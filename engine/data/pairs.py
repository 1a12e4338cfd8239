"""Defines a pair of images: a loaded pair, the record of a packed pair, and its split.

A rendered pair is [side, side, C] bytes: the channels of the source, then red, green and blue of
the target. C is 6 with a coloured source and 4 with a grey source. C is 3 if the source is the grey
of the target itself, which `color.grey_of_equal_lightness` computes.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.images import color

Pixels = NDArray[np.uint8]

THUMBNAIL_PX = 64  # side at which pairs are measured, for every packed size
SPLITS = ("train", "val", "test")
HELD_OUT = "held out"  # given for val and test together; about half of the pairs go to each


@dataclass(frozen=True)
class LoadedPair:
    """A pair whose files were read; the pair can be rendered at any size.

    Attributes:
        size: the width and height of each half in pixels; None for vector drawings.
        notes: (kind, detail) of every conversion during decoding.
        render: takes a side in pixels and returns the pair as [side, side, C] bytes.
        thumbnail: returns the pair as [64, 64, C] bytes, scaled by a fast method; for
            statistics only.
    """

    size: tuple[int, int] | None
    notes: tuple[tuple[str, str], ...]
    render: Callable[[int], Pixels]
    thumbnail: Callable[[], Pixels]


@dataclass(frozen=True)
class Pair:
    """The record of a packed pair.

    Attributes:
        name: the name of the pair, unique within the source.
        group: the name of a group; copies, near duplicates and variants share a group. The pairs of
            a group are in one split, unless splits are given.
        split: train, val or test.
        fingerprint: the checksum of the packed pixels of the pair.
    """

    name: str
    group: str
    split: str
    fingerprint: str


def split_channels(pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Separates rendered pairs [..., C] into sources and targets, [..., 3] each."""
    targets = pixels[..., -3:]
    if pixels.shape[-1] == 6:
        return pixels[..., :3], targets
    grey = pixels[..., 0]
    if pixels.shape[-1] == 3:
        grey = color.grey_of_equal_lightness(*(targets[..., channel] for channel in range(3)))
    return np.repeat(grey[..., None], 3, axis=-1), targets


def split_of(group: str) -> str:
    """Returns the split of a group, 80/10/10 % by a hash that ignores all other groups."""
    percentile = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") % 100
    return "train" if percentile < 80 else "val" if percentile < 90 else "test"


def assign_splits(given: Sequence[str | None], groups: Sequence[str]) -> tuple[str, ...]:
    """Returns the split of each pair: the given split, or a split from the hash of the group.

    Args:
        given: train, val, test, `HELD_OUT` or None for each pair.
        groups: the group of each pair.
    """
    splits = []
    for split, group in zip(given, groups, strict=True):
        if split is None:
            splits.append(split_of(group))
        elif split == HELD_OUT:
            byte = hashlib.sha256(f"half {group}".encode()).digest()[0]
            splits.append("val" if byte < 128 else "test")
        else:
            splits.append(split)
    return tuple(splits)


def shuffle_key(name: str) -> str:
    """Returns a sort key that puts names in a pseudorandom order, the same on all machines."""
    return hashlib.sha256(name.encode()).hexdigest()
