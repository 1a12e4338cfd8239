"""What is wrong with pictures as members of a set: copies, blanks, greys, and unlike sizes.

Faults of single files are told by whoever opens them; here facts of all are compared.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.data.survey.measurements import Facts
from engine.images.faults import Fault, Severity

SMALLEST = 32  # pixels a side, the smallest that is trained at
BLANK = 2.0  # levels of 255; the spread of a picture of one colour, or nearly
GREY = 2.0  # colourfulness; JPEG leaves a little in grey pictures
UNIFORM = 0.9  # the share of pictures of one size from which on others are unlike
UNLIKE = 1.25  # times as long or short a side, among such
FAR = 4.0  # times as long or short a side, among mixed sizes
ASPECT = 2.0  # times as wide or tall
SEAM = 1.02  # times as wide or tall a half, where nearly all halves have one shape


def set_faults(
    facts: Facts,
    given: Sequence[str | None],
    copies: dict[int, int],
    lookalikes: NDArray[np.intp],
    source_label: str,
    is_cut: bool,
) -> list[Fault]:
    """Everything that is wrong with pairs as a set.

    Args:
        facts: a row each.
        given: the split that the user gave each pair.
        copies: position -> that of the same pair before it.
        lookalikes: [M, 2] positions of pairs that look alike.
        source_label: what the source half is called.
        is_cut: whether pairs were cut from pictures with two halves.
    """
    return [
        *_copies(facts, given, copies),
        *_lookalikes(facts, given, copies, lookalikes),
        *_blanks_and_greys(facts, source_label),
        *_sizes(facts),
        *(_seams(facts) if is_cut else ()),
    ]


def _copies(facts: Facts, given: Sequence[str | None], copies: dict[int, int]) -> Iterator[Fault]:
    for position, original in copies.items():
        name = facts.names[original]
        detail = f"the same picture as {name}"
        severity: Severity = "warning"
        if given[position] != given[original]:
            detail, severity = f"{detail}, in another split", "error"
        yield _fault(facts, position, "duplicate", severity, detail)
    # The first of them is kept; it is named, so that whoever looks finds both.
    for original, position in {
        original: copy for copy, original in reversed(copies.items())
    }.items():
        yield _fault(
            facts, original, "duplicate", "note", f"stands again as {facts.names[position]}"
        )


def _lookalikes(
    facts: Facts,
    given: Sequence[str | None],
    copies: dict[int, int],
    lookalikes: NDArray[np.intp],
) -> Iterator[Fault]:
    first: dict[int, int] = {}
    for one, other in lookalikes.tolist():
        if other in copies:
            continue
        parted = other in first and given[other] == given[first[other]] != given[one]
        if other not in first or parted:  # one that lies in another split says more
            first[other] = one
    for position, original in first.items():
        detail = f"looks like {facts.names[original]}"
        severity: Severity = "note"
        if given[position] != given[original]:
            detail, severity = f"{detail}, in another split", "warning"
        yield _fault(facts, position, "near_duplicate", severity, detail)
    for original, position in {one: other for other, one in reversed(first.items())}.items():
        if original not in first:
            detail = f"looks like {facts.names[position]}"
            yield _fault(facts, original, "near_duplicate", "note", detail)


def _blanks_and_greys(facts: Facts, source_label: str) -> Iterator[Fault]:
    spread, colorfulness = facts.columns["spread"], facts.columns["colorfulness"]
    empty_source, empty_target = spread[:, 0] < BLANK, spread[:, 1:].max(1, initial=0) < BLANK
    median = float(np.median(colorfulness)) if len(facts) else 0.0
    for position in np.flatnonzero(empty_source | empty_target).tolist():
        both = empty_source[position] and empty_target[position]
        half = "" if both else source_label if empty_source[position] else "colour picture"
        detail = f"{'it' if both else f'its {half}'} is of one colour, or nearly"
        yield _fault(facts, position, "blank", "warning", detail)
    for position in np.flatnonzero((colorfulness < GREY) & ~empty_target).tolist():
        detail = f"colourfulness {colorfulness[position]:.1f}; the set's median is {median:.1f}"
        yield _fault(facts, position, "grey", "warning", detail)


def _sizes(facts: Facts) -> Iterator[Fault]:
    width, height = facts.columns["width"], facts.columns["height"]
    if not len(facts) or not width.any():
        return
    for position in np.flatnonzero(np.minimum(width, height) < SMALLEST).tolist():
        detail = f"{_size(facts, position)} pixels; {SMALLEST} a side is the least"
        yield _fault(facts, position, "too_small", "warning", detail)
    (usual, count), *_ = Counter(zip(width.tolist(), height.tolist(), strict=True)).most_common(1)
    is_uniform = count >= UNIFORM * len(facts)
    if not is_uniform:
        usual = (float(np.median(width)), float(np.median(height)))
    limit = UNLIKE if is_uniform else FAR
    aspect = (width / height) / (usual[0] / usual[1])
    unlike = (_times(width / usual[0]) > limit) & (_times(height / usual[1]) > limit)
    unlike |= _times(aspect) > ASPECT
    unlike &= np.minimum(width, height) >= SMALLEST
    for position in np.flatnonzero(unlike).tolist():
        detail = f"{_size(facts, position)} pixels where {usual[0]:.0f}x{usual[1]:.0f} is usual"
        yield _fault(facts, position, "outlier", "note", detail)


def _seams(facts: Facts) -> Iterator[Fault]:
    """Halves of another shape than nearly all: the seam may not be where they were cut."""
    aspect = facts.columns["width"] / np.maximum(facts.columns["height"], 1)
    if not len(facts):
        return
    usual = float(np.median(aspect))
    other = _times(aspect / usual) > SEAM
    if other.mean() > 1 - UNIFORM:
        return
    for position in np.flatnonzero(other).tolist():
        detail = (
            f"its halves have {_size(facts, position)} pixels, unlike the others: look at its seam"
        )
        yield _fault(facts, position, "size_mismatch", "warning", detail)


def _times(ratio: NDArray[np.floating]) -> NDArray[np.floating]:
    """How many times as large or small: at least 1."""
    times: NDArray[np.floating] = np.maximum(ratio, 1 / np.maximum(ratio, 1e-9))
    return times


def _size(facts: Facts, position: int) -> str:
    return f"{facts.columns['width'][position]:.0f}x{facts.columns['height'][position]:.0f}"


def _fault(facts: Facts, position: int, kind: str, severity: Severity, detail: str) -> Fault:
    return Fault(facts.names[position], kind, severity, detail)
