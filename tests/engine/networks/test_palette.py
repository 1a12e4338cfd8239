import numpy as np
import pytest
import torch

from engine.networks import palette


def counts_of(colours):
    """Returns the counts of (colour, number) pairs."""
    counts = np.zeros((256, 256, 256), np.int64)
    for colour, number in colours:
        counts[colour] = number
    return counts


def test_the_palette_has_the_most_frequent_fills_and_ignores_lines():
    sources = np.full((1, 4, 4, 3), 255, np.uint8)
    sources[0, 0] = 0  # a row of line pixels
    targets = np.full((1, 4, 4, 3), (250, 10, 20), np.uint8)
    targets[0, 0] = (0, 0, 0)
    targets[0, 1, :2] = (30, 60, 200)

    colours = palette.find_palette(palette.count_fill_colours([(sources, targets)]), 2)

    assert colours.tolist() == [[250, 10, 20], [30, 60, 200]]


def test_a_colour_too_similar_to_a_more_frequent_one_is_left_out():
    counts = counts_of([((200, 0, 0), 9), ((201, 0, 0), 8), ((0, 0, 200), 1)])

    assert palette.find_palette(counts, 2).tolist() == [[200, 0, 0], [0, 0, 200]]


def test_a_similar_colour_is_taken_before_a_colour_that_no_target_has():
    counts = counts_of([((200, 0, 0), 9), ((206, 0, 0), 8)])

    assert palette.find_palette(counts, 2).tolist() == [[200, 0, 0], [206, 0, 0]]


@pytest.mark.parametrize("counts", [counts_of([]), counts_of([((255, 255, 255), 5)])])
def test_a_palette_without_enough_fills_is_completed_with_different_colours(counts):
    colours = palette.find_palette(counts, 32)

    assert len({tuple(colour) for colour in colours.tolist()}) == 32


def test_every_colour_is_classified_as_the_nearest_palette_colour():
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (32, 3)).astype(np.uint8)
    pixels = rng.integers(0, 256, (2000, 3)).astype(np.uint8)
    fill = torch.from_numpy(pixels).float().T.reshape(1, 3, 40, 50) / 255

    classes = palette.classify(fill, palette.build_class_table(colours)).flatten()

    distances = np.linalg.norm(
        palette.to_lab(pixels)[:, None] - palette.to_lab(colours)[None], axis=-1
    )
    chosen = distances[np.arange(len(pixels)), classes.numpy()]
    # The table rounds colours to 6 bits a channel, which moves them by at most a few units.
    assert (chosen - distances.min(1)).max() < 5
    assert (classes.numpy() == distances.argmin(1)).mean() > 0.95


def test_palette_colours_are_their_own_class():
    colours = palette.find_palette(counts_of([]), 64)
    fill = torch.from_numpy(colours).float().T.reshape(1, 3, 8, 8) / 255

    classes = palette.classify(fill, palette.build_class_table(colours))

    assert classes.flatten().tolist() == list(range(64))
