"""Which pairs are the same picture, or look it: exact duplicates and look-alikes.

Look-alikes are found by a difference hash (64 bits of which neighbour is brighter, Krawetz 2013)
and confirmed by the correlation of small grey pictures. Pairs are alike when either half is: a
sketch that was trained on with red must not be judged with green.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.data.survey.measurements import PRINT, Facts

MAX_DISTANCE = 8  # bits of 64 in which the hashes of look-alikes may differ
MIN_CORRELATION = 0.99
_CLEARLY = 2  # levels of 255 by which a neighbour must be brighter; less is noise
_COMPARED = 4_000_000  # pairs of hashes at a time, which takes 32 MB
_CONFIRMED = 50_000  # pairs confirmed at a time
_PARTNERS = 16  # look-alikes before it that a picture is joined with; in a film all would be


class Clusters:
    """Sets that grow together: who was joined, directly or through others, is in one."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def find(self, member: int) -> int:
        """The first member of its set."""
        while self._parents[member] != member:
            self._parents[member] = self._parents[self._parents[member]]
            member = self._parents[member]
        return member

    def join(self, one: int, other: int) -> None:
        """Makes two sets one."""
        first, second = sorted((self.find(one), self.find(other)))
        self._parents[second] = first


def find_copies(facts: Facts) -> dict[int, int]:
    """Position -> the first pair that is exactly the same; first pairs are left out."""
    first: dict[str, int] = {}
    copies = {}
    for position, digest in enumerate(facts.digests):
        original = first.setdefault(digest, position)
        if original != position:
            copies[position] = original
    return copies


def find_lookalikes(facts: Facts, poll: Callable[[], None] = lambda: None) -> NDArray[np.intp]:
    """Pairs of positions (first < second) that look alike in either half: [M, 2], sorted.

    Args:
        facts: a row each.
        poll: called now and then; may raise to end it.
    """
    if not len(facts):
        return np.empty((0, 2), np.intp)
    found = [_lookalikes(facts.prints[:, half], poll) for half in (0, 1)]
    pairs: NDArray[np.intp] = np.unique(np.concatenate(found), axis=0)
    return pairs


def _lookalikes(prints: NDArray[np.uint8], poll: Callable[[], None]) -> NDArray[np.intp]:
    hashes = _difference_hash(prints)
    flat = prints.reshape(len(prints), -1).astype(np.float32)
    centred = flat - flat.mean(1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.maximum(norms, 1e-6)
    found = [np.empty((0, 2), np.intp)]
    partners = np.zeros(len(hashes), np.int64)
    rows_at_once = max(1, _COMPARED // max(1, len(hashes)))
    for start in range(0, len(hashes), rows_at_once):
        block = hashes[start : start + rows_at_once]
        distances = np.bitwise_count(block[:, None] ^ hashes[None, start:])
        has_room = partners[start:] < _PARTNERS
        rows, columns = np.nonzero(np.triu((distances <= MAX_DISTANCE) & has_room, 1))
        poll()
        for at in range(0, len(rows), _CONFIRMED):
            first, second = rows[at : at + _CONFIRMED], columns[at : at + _CONFIRMED]
            candidates = np.stack([first, second], axis=1) + start
            alike = np.einsum("nd,nd->n", unit[candidates[:, 0]], unit[candidates[:, 1]])
            found.append(candidates[alike > MIN_CORRELATION])
            partners += np.bincount(found[-1][:, 1], minlength=len(partners))
    return np.concatenate(found)


def _difference_hash(prints: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """[N, 16, 16] bytes -> [N]: 8 rows of 8 bits, each whether the right neighbour is brighter."""
    rows = prints.reshape(len(prints), 8, 2, PRINT).mean(2)
    columns = np.linspace(0, PRINT - 1, 9)
    left = np.floor(columns).astype(int)
    share = columns - left
    nine = rows[..., left] * (1 - share) + rows[..., np.minimum(left + 1, PRINT - 1)] * share
    bits = np.diff(nine, axis=2) > _CLEARLY
    packed: NDArray[np.uint64] = (
        np.packbits(bits.reshape(len(prints), 64), axis=1).view(np.uint64).reshape(-1)
    )
    return packed
