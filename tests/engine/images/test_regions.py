"""Regions of line art, compared with a slow program that follows the definition word by word."""

import itertools

import numpy as np
import pytest

from engine.images import regions
from engine.images.regions import label_region_batch, label_regions

WHITE, BLACK = 255, 0
NEIGHBOURS = ((-1, 0), (0, -1), (0, 1), (1, 0))


def components(pixels):
    """Returns the 4-connected areas of a set of (y, x), in the order of their first pixels."""
    remaining, areas = set(pixels), []
    for first in sorted(pixels):
        if first not in remaining:
            continue
        remaining.discard(first)
        area, waiting = {first}, [first]
        while waiting:
            y, x = waiting.pop()
            beside = {(y + down, x + right) for down, right in NEIGHBOURS} & remaining
            remaining -= beside
            area |= beside
            waiting += beside
        areas.append(area)
    return areas


def cores_of(area, free, shape):
    """Erodes one connected area by the largest disc that leaves something."""
    height, width = shape
    for radius in (2, 1):
        reach = range(-radius, radius + 1)
        disc = [(y, x) for y in reach for x in reach if y * y + x * x <= radius * radius + 1]
        eroded = {
            (y, x)
            for y, x in area
            if all(
                (y + down, x + right) in free
                or not (0 <= y + down < height and 0 <= x + right < width)
                for down, right in disc
            )
        }
        if eroded:
            return eroded
    return area


def labels_by_definition(ink):
    free = {(int(y), int(x)) for y, x in np.argwhere(ink > 140)}
    cores = components(set().union(*(cores_of(a, free, ink.shape) for a in components(free))))
    owner = {pixel: number for number, core in enumerate(cores) for pixel in core}
    while True:
        reached = {}
        for y, x in free - owner.keys():
            beside = [owner[y + d, x + r] for d, r in NEIGHBOURS if (y + d, x + r) in owner]
            if beside:
                reached[y, x] = min(beside)
        if not reached:
            break
        owner |= reached

    sizes = {number: list(owner.values()).count(number) for number in range(len(cores))}
    kept = sorted((n for n in sizes if sizes[n] >= 3), key=lambda n: (-sizes[n], n))[:64]
    labelled = {pixel: kept.index(n) for pixel, n in owner.items() if n in kept}
    labels = np.zeros(ink.shape, np.uint8)
    for y, x in itertools.product(*map(range, ink.shape)):
        distances = [((y - v) ** 2 + (x - u) ** 2, label) for (v, u), label in labelled.items()]
        labels[y, x] = min(distances, default=(0, 0))[1]
    return labels


def random_drawings(count, height, width, n_lines, seed=0):
    """Draws random strokes of 1 or 2 px on white paper."""
    rng = np.random.default_rng(seed)
    ink = np.full((count, height, width), WHITE, np.uint8)
    for drawing in ink:
        for _ in range(n_lines):
            y, x = rng.integers(height), rng.integers(width)
            length, thickness = rng.integers(2, 14), rng.integers(1, 3)
            if rng.random() < 0.5:
                drawing[y : y + thickness, x : x + length] = rng.integers(0, 180)
            else:
                drawing[y : y + length, x : x + thickness] = rng.integers(0, 180)
    return ink


def box(side=32, gap=0):
    """Draws a closed square of 20 px, 2 px thick, with a gap in the middle of its top line."""
    ink = np.full((side, side), WHITE, np.uint8)
    ink[6:26, 6:26] = BLACK
    ink[8:24, 8:24] = WHITE
    ink[6:8, 16 - gap // 2 : 16 - gap // 2 + gap] = WHITE
    return ink


def count_regions(ink):
    return int(label_regions(ink).max()) + 1


@pytest.mark.parametrize(("height", "width"), [(20, 20), (13, 26), (25, 9), (3, 30), (1, 12)])
@pytest.mark.parametrize("n_lines", [4, 12, 40])
def test_labels_follow_the_definition_for_random_strokes(height, width, n_lines):
    ink = random_drawings(6, height, width, n_lines)

    labels = label_region_batch(ink)

    assert np.array_equal(labels, np.stack([labels_by_definition(drawing) for drawing in ink]))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.97])
def test_labels_follow_the_definition_for_noise(share):
    noise = np.random.default_rng(1).random((4, 21, 19))
    ink = np.where(noise < share, WHITE, BLACK).astype(np.uint8)

    labels = label_region_batch(ink)

    assert np.array_equal(labels, np.stack([labels_by_definition(drawing) for drawing in ink]))


def test_regions_cover_the_drawing_and_their_labels_have_no_gap():
    for labels in label_region_batch(random_drawings(40, 64, 64, 60)):
        sizes = np.bincount(labels.reshape(-1))

        assert sizes.sum() == 64 * 64
        assert sizes.min() > 0
        assert len(sizes) <= 64


def test_a_drawing_in_a_batch_has_the_labels_of_the_drawing_alone():
    ink = random_drawings(8, 40, 30, 30)

    assert np.array_equal(label_region_batch(ink), np.stack([label_regions(one) for one in ink]))


@pytest.mark.parametrize("gap", [0, 1, 2, 3, 4])
def test_a_gap_of_up_to_4_px_is_closed(gap):
    ink = box(gap=gap)
    labels = label_regions(ink)

    assert count_regions(ink) == 2
    assert (labels[9:23, 9:23] == labels[16, 16]).all()
    assert labels[16, 16] != labels[0, 0]


def test_a_gap_of_5_px_joins_inside_and_outside():
    assert count_regions(box(gap=5)) == 1


def test_a_narrow_area_without_a_leak_is_one_region():
    ink = np.full((32, 32), BLACK, np.uint8)
    ink[4:6, 3:29] = WHITE
    ink[20, 3:29] = WHITE

    assert count_regions(ink) == 2


def test_a_mirrored_drawing_has_the_mirrored_regions():
    ink = np.full((48, 64), WHITE, np.uint8)
    for top, left, side, gap in [(3, 6, 16, 3), (9, 27, 13, 0), (26, 30, 19, 4), (30, 5, 11, 2)]:
        ink[top : top + side, left : left + side] = BLACK
        ink[top + 2 : top + side - 2, left + 2 : left + side - 2] = WHITE
        ink[top + 5 : top + 5 + gap, left : left + 2] = WHITE

    labels = label_regions(ink)

    assert labels.max() == 4
    assert np.array_equal(label_regions(ink[:, ::-1]), labels[:, ::-1])


def test_ties_change_few_pixels_of_mirrored_drawings():
    ink = random_drawings(100, 48, 48, 25)

    labels, mirrored = label_region_batch(ink), label_region_batch(ink[:, :, ::-1])[:, :, ::-1]

    # Two neighbours are in one region or not: compare this for both drawings.
    is_equal = [(one[:, 1:] == one[:, :-1]) for one in (labels, mirrored)]
    assert (is_equal[0] == is_equal[1]).mean() > 0.99


@pytest.mark.parametrize("value", [BLACK, 140, 141, WHITE])
def test_a_drawing_of_one_value_is_one_region(value):
    labels = label_regions(np.full((24, 32), value, np.uint8))

    assert labels.shape == (24, 32)
    assert labels.dtype == np.uint8
    assert not labels.any()


def test_pieces_under_3_px_are_dropped_and_belong_to_the_nearest_region():
    ink = np.full((20, 40), BLACK, np.uint8)
    ink[5:15, 2:12] = WHITE
    ink[5:15, 28:34] = WHITE
    ink[10, 16:18] = WHITE  # 2 px, nearer to the left region

    labels = label_regions(ink)

    assert labels.max() == 1
    assert (labels[10, 16:18] == labels[10, 5]).all()


def test_the_64_largest_of_more_regions_are_kept():
    ink = np.full((100, 100), BLACK, np.uint8)
    sizes = {}
    for number, (y, x) in enumerate(itertools.product(range(0, 100, 10), range(0, 100, 10))):
        height, width = 3 + number % 6, 3 + number // 17
        ink[y : y + height, x : x + width] = WHITE
        sizes[y + 1, x + 1] = height * width

    labels = label_regions(ink)
    largest = sorted(sizes.values(), reverse=True)

    assert labels.max() == regions.MAX_REGIONS - 1
    for (y, x), size in sizes.items():
        if size > largest[63]:
            assert largest[labels[y, x]] == size


def test_a_pixel_between_two_regions_goes_to_the_larger_one():
    ink = np.full((21, 31), WHITE, np.uint8)
    ink[:, 10:13] = BLACK

    labels = label_regions(ink)

    assert labels[0].tolist() == [1] * 11 + [0] * 20


def test_a_nearly_black_drawing_of_2048_px_is_divided_between_its_regions():
    ink = np.full((2048, 2048), BLACK, np.uint8)
    ink[:10, :10] = WHITE
    ink[:10, -10:] = WHITE

    labels = label_regions(ink)

    assert (labels[:, :1024] == 0).all()
    assert (labels[:, 1024:] == 1).all()
