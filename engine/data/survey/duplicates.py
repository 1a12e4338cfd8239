"""Finds near duplicates, and candidates for exact duplicates, among the pairs of a source.

Near duplicates are found by a difference hash (64 bits that state which neighbour is brighter,
Krawetz 2013) and confirmed by the correlation of small grey pictures. Two pairs are near duplicates
if their sources look alike or their targets look alike. Otherwise one sketch could be in the
training split with a red target and in the test split with a green target.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.data.survey.measurements import SMALL_GREY_PX, PairMeasurements

MAX_HASH_DISTANCE = 8  # the hashes of near duplicates differ in at most this many of 64 bits
MIN_CORRELATION = 0.99
_MIN_STEP = 2  # a bit is set if the right neighbour is brighter by more than this, of 255 levels
_HASH_PAIRS_AT_ONCE = 4_000_000  # comparisons in one array, which takes 32 MB
_CANDIDATES_AT_ONCE = 50_000  # pairs whose correlation is computed in one array
# A picture that has this many near duplicates among earlier pictures is not compared with any more
# earlier pictures, from the next block of comparisons on. Otherwise the frames of a film would give
# a quadratic number of matches.
_MAX_PARTNERS = 16


class DisjointSets:
    """A union-find structure: members that were joined directly or indirectly share a set."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def find(self, member: int) -> int:
        """Returns the smallest member of the set that contains `member`."""
        while self._parents[member] != member:
            self._parents[member] = self._parents[self._parents[member]]
            member = self._parents[member]
        return member

    def join(self, one: int, other: int) -> None:
        """Joins the sets of two members."""
        first, second = sorted((self.find(one), self.find(other)))
        self._parents[second] = first


def find_copies(measurements: PairMeasurements) -> dict[int, int]:
    """Finds pairs with equal digests: maps each repeated pair to the first pair with its digest.

    Equal digests are candidates; the survey confirms them at a larger size.
    """
    first: dict[str, int] = {}
    copies = {}
    for position, digest in enumerate(measurements.digests):
        original = first.setdefault(digest, position)
        if original != position:
            copies[position] = original
    return copies


def find_near_duplicates(
    measurements: PairMeasurements, poll: Callable[[], None] = lambda: None
) -> NDArray[np.intp]:
    """Finds pairs whose sources or targets look alike: sorted positions [M, 2], first < second.

    Args:
        measurements: the measurements of all pairs.
        poll: called regularly; may raise an exception to stop the search.
    """
    if not len(measurements):
        return np.empty((0, 2), np.intp)
    sources, targets = (measurements.small_greys[:, half] for half in (0, 1))
    matches = [_find_similar(sources, poll), _find_similar(targets, poll)]
    near_duplicates: NDArray[np.intp] = np.unique(np.concatenate(matches), axis=0)
    return near_duplicates


def _find_similar(greys: NDArray[np.uint8], poll: Callable[[], None]) -> NDArray[np.intp]:
    """Finds similar pictures among [N, 16, 16] bytes: positions [M, 2], first < second."""
    hashes, directions = _difference_hash(greys), _unit_vectors(greys)
    matches = [np.empty((0, 2), np.intp)]
    n_partners = np.zeros(len(hashes), np.int64)  # near duplicates among earlier pictures
    rows_at_once = max(1, _HASH_PAIRS_AT_ONCE // max(1, len(hashes)))
    for start in range(0, len(hashes), rows_at_once):
        # Candidates: a picture of this block and a later picture with a similar hash.
        block = hashes[start : start + rows_at_once]
        distances = np.bitwise_count(block[:, None] ^ hashes[None, start:])
        has_few_partners = n_partners[start:] < _MAX_PARTNERS
        is_candidate = np.triu((distances <= MAX_HASH_DISTANCE) & has_few_partners, 1)
        candidates = np.stack(np.nonzero(is_candidate), axis=1) + start
        poll()
        # Confirm each candidate by the correlation of the two pictures.
        for at in range(0, len(candidates), _CANDIDATES_AT_ONCE):
            some = candidates[at : at + _CANDIDATES_AT_ONCE]
            correlations = np.einsum("nd,nd->n", directions[some[:, 0]], directions[some[:, 1]])
            confirmed = some[correlations > MIN_CORRELATION]
            matches.append(confirmed)
            n_partners += np.bincount(confirmed[:, 1], minlength=len(n_partners))
    return np.concatenate(matches)


def _unit_vectors(greys: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Subtracts each picture's mean and scales the result to length 1.

    The dot product of two such vectors is the correlation of the two pictures.
    """
    flat = greys.reshape(len(greys), -1).astype(np.float32)
    centred = flat - flat.mean(1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    units: NDArray[np.float32] = centred / np.maximum(norms, 1e-6)
    return units


def _difference_hash(greys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Computes hashes of pictures [N, 16, 16] -> [N].

    A hash has 8 rows of 8 bits; each bit states whether the right neighbour is clearly brighter.
    """
    eight_rows = greys.reshape(len(greys), 8, 2, SMALL_GREY_PX).mean(2)
    columns = np.linspace(0, SMALL_GREY_PX - 1, 9)
    left = np.floor(columns).astype(int)
    right = np.minimum(left + 1, SMALL_GREY_PX - 1)
    share = columns - left
    nine_columns = eight_rows[..., left] * (1 - share) + eight_rows[..., right] * share
    bits = np.diff(nine_columns, axis=2) > _MIN_STEP
    hashes: NDArray[np.uint64] = (
        np.packbits(bits.reshape(len(greys), 64), axis=1).view(np.uint64).reshape(-1)
    )
    return hashes
