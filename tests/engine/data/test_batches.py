import threading

import numpy as np
import pytest
import torch

from engine.data import batches
from engine.data.batches import (
    Batch,
    PairSet,
    derive_seed,
    evaluation_batches,
    load_pair_set,
    make_images,
    make_labels,
    pick_sample_pairs,
    training_batches,
)
from engine.errors import BadInputError
from tests.support.runs import load_pairs

CPU = torch.device("cpu")


@pytest.fixture
def twins():
    """Returns pairs whose two halves are the same random picture."""
    half = torch.randint(0, 256, (12, 32, 32, 3), generator=torch.Generator().manual_seed(0))
    pixels = half.repeat(1, 1, 1, 2).to(torch.uint8)
    return PairSet(pixels, tuple(str(number) for number in range(12)), CPU)


def as_picture(pixels):
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


def test_flipping_the_source_flips_the_target(few_pairs):
    plain = make_images(Batch(few_pairs.pixels, torch.tensor([[3, 0, 0, 0], [5, 0, 0, 0]])))

    flipped = make_images(Batch(few_pairs.pixels, torch.tensor([[3, 1, 0, 0], [5, 1, 0, 0]])))

    assert not torch.equal(flipped[1], plain[1])
    assert torch.equal(flipped[0], plain[0].flip(3))
    assert torch.equal(flipped[1], plain[1].flip(3))


def test_augmentation_changes_both_halves_equally(twins):
    for epoch in range(3):
        for batch in training_batches(twins, 4, jitter=5, seed=1, epoch=epoch):
            source, target = make_images(batch)
            assert torch.equal(source, target)


def test_most_pictures_are_flipped_or_shifted(twins):
    whole_epoch = list(training_batches(twins, 12, jitter=5, seed=1, epoch=0))
    originals = [as_picture(twins.targets[index]) for index in range(12)]

    source, _ = make_images(whole_epoch[0])

    unchanged = sum(any(torch.equal(one, plain) for plain in originals) for one in source)
    assert unchanged < 6


def test_a_shift_moves_both_halves_and_reflects_at_the_edge(twins):
    plain = as_picture(twins.targets[0])

    shifted, _ = make_images(Batch(twins.pixels, torch.tensor([[0, 0, 2, 3]])))

    assert torch.equal(shifted[0][:, 2:, 3:], plain[:, :-2, :-3])
    assert torch.equal(shifted[0][:, 0, 3:], plain[:, 2, :-3])
    assert torch.equal(shifted[0][:, 2:, 0], plain[:, :-2, 3])


def test_without_jitter_pictures_are_unchanged_or_mirrored(twins):
    originals = [as_picture(twins.targets[index]) for index in range(12)]
    originals += [picture.flip(2) for picture in originals]

    for batch in training_batches(twins, 4, jitter=0, seed=1, epoch=0):
        source, _ = make_images(batch)
        assert all(any(torch.equal(one, plain) for plain in originals) for one in source)


def test_the_same_seed_and_epoch_give_the_same_batches(few_pairs):
    first = list(training_batches(few_pairs, 8, 2, seed=3, epoch=4))
    second = list(training_batches(few_pairs, 8, 2, seed=3, epoch=4))

    assert all(
        torch.equal(a.augmentations, b.augmentations) for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize(("seed", "epoch"), [(3, 5), (4, 4)])
def test_another_seed_or_epoch_gives_other_batches(few_pairs, seed, epoch):
    first = next(training_batches(few_pairs, 8, 2, seed=3, epoch=4))

    other = next(training_batches(few_pairs, 8, 2, seed, epoch))
    assert not torch.equal(first.augmentations, other.augmentations)


def test_every_pair_is_used_once_and_an_incomplete_batch_is_dropped(twins):
    positions = [
        batch.augmentations[:, 0] for batch in training_batches(twins, 5, 0, seed=0, epoch=0)
    ]

    assert [len(batch) for batch in positions] == [5, 5]
    assert len(set(torch.cat(positions).tolist())) == 10


def test_pairs_in_the_mapped_file_and_in_memory_give_the_same_batches(packed, monkeypatch):
    in_memory = load_pairs(packed, "train", 20)
    monkeypatch.setattr(batches, "MAX_COPIED_BYTES", 0)
    in_file = load_pair_set(packed, "train", 20, CPU)

    assert in_memory.rows is None
    assert in_file.rows is not None
    assert torch.equal(in_file.targets, in_memory.targets)
    assert torch.equal(in_file.sources, in_memory.sources)
    expected_batches, file_batches = (
        list(training_batches(pairs, 6, 3, seed=1, epoch=2, skip=1))
        for pairs in (in_memory, in_file)
    )
    assert len(file_batches) == 2
    for expected, batch in zip(expected_batches, file_batches, strict=True):
        assert len(batch.pixels) == 6
        for a, b in zip(make_images(expected), make_images(batch), strict=True):
            assert torch.equal(a, b)
    for a, b in zip(evaluation_batches(in_memory, 8), evaluation_batches(in_file, 8), strict=True):
        assert torch.equal(a[0], b[0])


def test_an_abandoned_iterator_of_batches_ends_its_thread(packed, monkeypatch):
    monkeypatch.setattr(batches, "MAX_COPIED_BYTES", 0)
    before = threading.active_count()
    iterator = training_batches(load_pair_set(packed, "train", 20, CPU), 4, 0, seed=0, epoch=1)

    next(iterator)
    assert threading.active_count() == before + 1
    del iterator

    assert threading.active_count() == before


def test_the_shards_of_a_batch_join_to_the_batch(twins):
    whole = next(training_batches(twins, 6, 2, seed=0, epoch=1))

    parts = [
        next(training_batches(twins, 6, 2, seed=0, epoch=1, shard=(part, 3))) for part in range(3)
    ]

    assert torch.equal(torch.cat([part.augmentations for part in parts]), whole.augmentations)


def test_a_batch_larger_than_the_data_is_refused(twins):
    with pytest.raises(BadInputError, match="batch must be at most 12"):
        next(training_batches(twins, 13, 0, seed=0, epoch=0))


def test_evaluation_yields_all_pairs_in_order_without_augmentation(twins):
    sources = torch.cat([source for source, _ in evaluation_batches(twins, 5)])

    assert torch.equal(sources, torch.stack([as_picture(source) for source in twins.sources]))
    assert sources.min() >= -1
    assert sources.max() <= 1


def test_random_streams_have_different_seeds():
    seeds = {
        derive_seed(seed, epoch, stream)
        for seed in range(4)
        for epoch in range(4)
        for stream in ("batches", "dropout", "weights")
    }

    assert len(seeds) == 48


def test_sample_pairs_are_colourful_and_always_the_same(few_val_pairs, packed):
    pairs = load_pairs(packed, "val", 40)

    few = pick_sample_pairs(pairs, 8)

    def spread(pairs):
        values = pairs.targets.float()
        return (values.amax(-1) - values.amin(-1)).mean((1, 2))

    assert few.names == pick_sample_pairs(pairs, 8).names
    assert len(set(few.names)) == 8
    assert spread(few).min() >= spread(pairs).median()
    assert len(pick_sample_pairs(few_val_pairs, 20)) == 8


@pytest.fixture
def labelled(packed):
    """Returns pairs whose labels are the red channel of their targets."""
    labels = np.ascontiguousarray(packed.pixels[..., -3])
    return load_pair_set(packed, "train", 20, CPU, labels)


def red_bytes(images):
    """Returns the red channel of pictures [N, 3, H, W] in [-1, 1] as bytes [N, H, W]."""
    return ((images[:, 0] + 1) * 127.5).round().long()


def test_labels_are_mirrored_and_shifted_like_their_pictures(labelled):
    n_batches = 0
    for batch in training_batches(labelled, 5, jitter=4, seed=1, epoch=1):
        _, target = make_images(batch)
        assert torch.equal(make_labels(batch), red_bytes(target))
        n_batches += 1

    assert n_batches == 4


def test_labels_of_pairs_in_the_mapped_file_equal_those_in_memory(packed, labelled, monkeypatch):
    monkeypatch.setattr(batches, "MAX_COPIED_BYTES", 0)
    in_file = load_pair_set(packed, "train", 20, CPU, np.array(packed.pixels[..., -3]))

    assert in_file.rows is not None
    assert labelled.rows is None
    pairs_of_batches = zip(
        training_batches(labelled, 6, 3, seed=1, epoch=2),
        training_batches(in_file, 6, 3, seed=1, epoch=2),
        strict=True,
    )
    for in_memory, prefetched in pairs_of_batches:
        assert prefetched.labels.shape == (6, 32, 32)
        assert torch.equal(make_labels(prefetched), make_labels(in_memory))


def test_pairs_without_labels_give_batches_without_labels(few_pairs):
    batch = next(training_batches(few_pairs, 8, 2, seed=0, epoch=1))

    assert batch.labels is None
    with pytest.raises(AssertionError, match="loaded without labels"):
        make_labels(batch)


def test_picked_pairs_keep_their_labels(labelled):
    picked = pick_sample_pairs(labelled, 4)

    assert torch.equal(picked.labels.long(), picked.targets[..., 0].long())
