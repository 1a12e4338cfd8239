"""Finds faults in the measurements of all pairs: duplicates, blank and grey pictures, odd sizes.

Faults that show in a single file are found by the sources when they load the file.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.data.survey.measurements import PairMeasurements
from engine.images import color
from engine.images.faults import Fault, Severity

MIN_SIDE_PX = 32  # the smallest training size
BLANK_SPREAD = 2.0  # of 255 levels; pictures with a smaller standard deviation are blank
UNIFORM_SHARE = 0.9  # a set is uniform if this share of its pictures has one size or shape
# Largest ratio between the sides of a picture and the usual sides.
MAX_SIZE_RATIO_IF_UNIFORM, MAX_SIZE_RATIO_IF_MIXED = 1.25, 4.0
# Largest ratio between the aspect (width : height) of a picture and the usual aspect. The second
# constant applies to the halves of side-by-side pictures, in a set of uniform shape.
MAX_ASPECT_RATIO, MAX_HALF_ASPECT_RATIO = 2.0, 1.02


def set_faults(
    measurements: PairMeasurements,
    given: Sequence[str | None],
    copies: dict[int, int],
    near_duplicates: NDArray[np.intp],
    source_label: str,
    is_side_by_side: bool,
) -> list[Fault]:
    """Finds all faults that the measurements of the pairs show.

    Args:
        measurements: the measurements of all pairs.
        given: the given split of each pair, or None.
        copies: position of a copy -> position of the original, the first of the equal pairs.
        near_duplicates: [M, 2] positions of pairs that look alike.
        source_label: the name of the source half, `sketch` or `grey`.
        is_side_by_side: whether pairs were cut from pictures with two halves.
    """
    return [
        *_copies(measurements, given, copies),
        *_near_duplicates(measurements, given, copies, near_duplicates),
        *_blank_and_grey(measurements, source_label),
        *_sizes(measurements),
        *(_half_shapes(measurements) if is_side_by_side else ()),
    ]


def _copies(
    measurements: PairMeasurements, given: Sequence[str | None], copies: dict[int, int]
) -> Iterator[Fault]:
    for position, original in copies.items():
        detail = f"the same picture as {measurements.names[original]}"
        severity: Severity = "warning"
        if given[position] != given[original]:
            detail, severity = f"{detail}, in another split", "error"
        yield _fault(measurements, position, "duplicate", severity, detail)
    # A note on the original names the first copy, so that users find both files.
    first_copies = {original: copy for copy, original in reversed(copies.items())}
    for original, copy in first_copies.items():
        detail = f"{measurements.names[copy]} is a copy of it"
        yield _fault(measurements, original, "duplicate", "note", detail)


def _near_duplicates(
    measurements: PairMeasurements,
    given: Sequence[str | None],
    copies: dict[int, int],
    near_duplicates: NDArray[np.intp],
) -> Iterator[Fault]:
    # A fault names one near duplicate that precedes the pair, preferably from another split.
    originals: dict[int, int] = {}
    for one, other in near_duplicates.tolist():
        if other in copies:
            continue
        is_in_another_split = (
            other in originals and given[other] == given[originals[other]] != given[one]
        )
        if other not in originals or is_in_another_split:
            originals[other] = one
    for position, original in originals.items():
        detail = f"looks like {measurements.names[original]}"
        severity: Severity = "note"
        if given[position] != given[original]:
            detail, severity = f"{detail}, in another split", "warning"
        yield _fault(measurements, position, "near_duplicate", severity, detail)
    first_near_duplicates = {one: other for other, one in reversed(originals.items())}
    for original, position in first_near_duplicates.items():
        if original not in originals:
            detail = f"looks like {measurements.names[position]}"
            yield _fault(measurements, original, "near_duplicate", "note", detail)


def _blank_and_grey(measurements: PairMeasurements, source_label: str) -> Iterator[Fault]:
    spread, colorfulness = measurements.columns["spread"], measurements.columns["colorfulness"]
    is_source_blank = spread[:, 0] < BLANK_SPREAD
    is_target_blank = spread[:, 1:].max(1, initial=0) < BLANK_SPREAD
    for position in np.flatnonzero(is_source_blank | is_target_blank).tolist():
        subject = f"its {source_label}" if is_source_blank[position] else "its colour picture"
        if is_source_blank[position] and is_target_blank[position]:
            subject = "it"
        detail = f"{subject} has only one colour, or nearly so"
        yield _fault(measurements, position, "blank", "warning", detail)
    median = float(np.median(colorfulness)) if len(measurements) else 0.0
    is_grey = (colorfulness < color.GREY_COLORFULNESS) & ~is_target_blank
    for position in np.flatnonzero(is_grey).tolist():
        detail = f"colourfulness {colorfulness[position]:.1f}; the set's median is {median:.1f}"
        yield _fault(measurements, position, "grey", "warning", detail)


def _sizes(measurements: PairMeasurements) -> Iterator[Fault]:
    width, height = measurements.columns["width"], measurements.columns["height"]
    if not len(measurements) or not width.any():
        return
    is_small = np.minimum(width, height) < MIN_SIDE_PX
    for position in np.flatnonzero(is_small).tolist():
        detail = f"{_size(measurements, position)} pixels; each side needs at least {MIN_SIDE_PX}"
        yield _fault(measurements, position, "too_small", "warning", detail)
    sizes = Counter(zip(width.tolist(), height.tolist(), strict=True))
    ((usual_size, count),) = sizes.most_common(1)
    is_uniform = count >= UNIFORM_SHARE * len(measurements)
    if not is_uniform:
        usual_size = (float(np.median(width)), float(np.median(height)))
    usual_width, usual_height = usual_size
    max_ratio = MAX_SIZE_RATIO_IF_UNIFORM if is_uniform else MAX_SIZE_RATIO_IF_MIXED
    is_outlier = (_ratio(width / usual_width) > max_ratio) & (
        _ratio(height / usual_height) > max_ratio
    )
    is_outlier |= _ratio((width / height) / (usual_width / usual_height)) > MAX_ASPECT_RATIO
    for position in np.flatnonzero(is_outlier & ~is_small).tolist():
        usual = f"{usual_width:.0f}x{usual_height:.0f}"
        detail = f"{_size(measurements, position)} pixels; the usual size is {usual}"
        yield _fault(measurements, position, "outlier", "note", detail)


def _half_shapes(measurements: PairMeasurements) -> Iterator[Fault]:
    """Finds halves with an unusual shape: the picture may be cut at the wrong place."""
    if not len(measurements):
        return
    aspect = measurements.columns["width"] / np.maximum(measurements.columns["height"], 1)
    is_unusual = _ratio(aspect / float(np.median(aspect))) > MAX_HALF_ASPECT_RATIO
    if is_unusual.mean() > 1 - UNIFORM_SHARE:
        return
    for position in np.flatnonzero(is_unusual).tolist():
        size = _size(measurements, position)
        detail = f"its halves have {size} pixels, unlike the others: check where the halves meet"
        yield _fault(measurements, position, "size_mismatch", "warning", detail)


def _ratio(quotient: NDArray[np.floating]) -> NDArray[np.floating]:
    """Returns the quotient or its inverse, whichever is larger."""
    ratio: NDArray[np.floating] = np.maximum(quotient, 1 / np.maximum(quotient, 1e-9))
    return ratio


def _size(measurements: PairMeasurements, position: int) -> str:
    width, height = (measurements.columns[name][position] for name in ("width", "height"))
    return f"{width:.0f}x{height:.0f}"


def _fault(
    measurements: PairMeasurements, position: int, kind: str, severity: Severity, detail: str
) -> Fault:
    return Fault(measurements.names[position], kind, severity, detail)
