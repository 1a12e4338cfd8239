import threading

import pytest
import torch

from engine.data import batches
from engine.data.batches import (
    Batch,
    PairSet,
    colourful,
    cut,
    derive_seed,
    evaluation_batches,
    load_pairs,
    training_batches,
)
from engine.errors import BadInputError
from tests.conftest import load

CPU = torch.device("cpu")


@pytest.fixture
def twins():
    """Pairs whose two halves are the same random picture."""
    half = torch.randint(0, 256, (12, 32, 32, 3), generator=torch.Generator().manual_seed(0))
    pixels = half.repeat(1, 1, 1, 2).to(torch.uint8)
    return PairSet(pixels, tuple(str(number) for number in range(12)), CPU)


def as_picture(pixels):
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


def test_a_flipped_source_comes_with_a_flipped_target(few_pairs):
    plain = cut(Batch(few_pairs.pixels, torch.tensor([[3, 0, 0, 0], [5, 0, 0, 0]])))

    flipped = cut(Batch(few_pairs.pixels, torch.tensor([[3, 1, 0, 0], [5, 1, 0, 0]])))

    assert not torch.equal(flipped[1], plain[1])
    assert torch.equal(flipped[0], plain[0].flip(3))
    assert torch.equal(flipped[1], plain[1].flip(3))


def test_augmentation_cannot_touch_one_half_alone(twins):
    for epoch in range(3):
        for batch in training_batches(twins, 4, jitter=5, seed=1, epoch=epoch):
            source, target = cut(batch)
            assert torch.equal(source, target)


def test_the_augmentation_really_flips_and_shifts(twins):
    whole = list(training_batches(twins, 12, jitter=5, seed=1, epoch=0))
    known = [as_picture(twins.targets[index]) for index in range(12)]

    source, _ = cut(whole[0])

    unchanged = sum(any(torch.equal(one, plain) for plain in known) for one in source)
    assert unchanged < 6


def test_a_shift_moves_both_halves_and_reflects_at_the_edge(twins):
    plain = as_picture(twins.targets[0])

    shifted, _ = cut(Batch(twins.pixels, torch.tensor([[0, 0, 2, 3]])))

    assert torch.equal(shifted[0][:, 2:, 3:], plain[:, :-2, :-3])
    assert torch.equal(shifted[0][:, 0, 3:], plain[:, 2, :-3])
    assert torch.equal(shifted[0][:, 2:, 0], plain[:, :-2, 3])


def test_without_jitter_pictures_are_themselves_or_their_mirror(twins):
    known = [as_picture(twins.targets[index]) for index in range(12)]
    known += [picture.flip(2) for picture in known]

    for batch in training_batches(twins, 4, jitter=0, seed=1, epoch=0):
        source, _ = cut(batch)
        assert all(any(torch.equal(one, plain) for plain in known) for one in source)


def test_the_same_seed_and_epoch_give_the_same_batches(few_pairs):
    first = list(training_batches(few_pairs, 8, 2, seed=3, epoch=4))
    second = list(training_batches(few_pairs, 8, 2, seed=3, epoch=4))

    assert all(torch.equal(a.draws, b.draws) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("seed", "epoch"), [(3, 5), (4, 4)])
def test_another_seed_or_epoch_gives_other_batches(few_pairs, seed, epoch):
    first = next(training_batches(few_pairs, 8, 2, seed=3, epoch=4))

    other = next(training_batches(few_pairs, 8, 2, seed, epoch))
    assert not torch.equal(first.draws, other.draws)


def test_every_pair_comes_once_and_an_incomplete_batch_is_left_out(twins):
    seen = [batch.draws[:, 0] for batch in training_batches(twins, 5, 0, seed=0, epoch=0)]

    assert [len(batch) for batch in seen] == [5, 5]
    assert len(set(torch.cat(seen).tolist())) == 10


def test_pairs_left_in_their_file_give_the_same_batches(packed, monkeypatch):
    near = load(packed, "train", 20)
    monkeypatch.setattr(batches, "MOST_COPIED", 0)
    far = load_pairs(packed, "train", 20, CPU)

    assert near.rows is None
    assert far.rows is not None
    assert torch.equal(far.targets, near.targets)
    assert torch.equal(far.sources, near.sources)
    both = (training_batches(it, 6, 3, seed=1, epoch=2, skip=1) for it in (near, far))
    found = 0
    for expected, read in zip(*both, strict=True):
        assert len(read.pixels) == 6
        for a, b in zip(cut(expected), cut(read), strict=True):
            assert torch.equal(a, b)
        found += 1
    assert found == 2
    for a, b in zip(evaluation_batches(near, 8), evaluation_batches(far, 8), strict=True):
        assert torch.equal(a[0], b[0])


def test_batches_that_nobody_takes_any_more_end_their_thread(packed, monkeypatch):
    monkeypatch.setattr(batches, "MOST_COPIED", 0)
    before = threading.active_count()
    taken = training_batches(load_pairs(packed, "train", 20, CPU), 4, 0, seed=0, epoch=1)

    next(taken)
    assert threading.active_count() == before + 1
    del taken

    assert threading.active_count() == before


def test_equal_parts_of_a_batch_make_it_up(twins):
    whole = next(training_batches(twins, 6, 2, seed=0, epoch=1))

    parts = [
        next(training_batches(twins, 6, 2, seed=0, epoch=1, share=(part, 3))) for part in range(3)
    ]

    assert torch.equal(torch.cat([part.draws for part in parts]), whole.draws)


def test_a_batch_larger_than_the_data_is_refused(twins):
    with pytest.raises(BadInputError, match="batch must be at most 12"):
        next(training_batches(twins, 13, 0, seed=0, epoch=0))


def test_evaluation_reads_all_pairs_in_order_as_they_are(twins):
    sources = torch.cat([source for source, _ in evaluation_batches(twins, 5)])

    assert torch.equal(sources, torch.stack([as_picture(it) for it in twins.sources]))
    assert sources.min() >= -1
    assert sources.max() <= 1


def test_streams_of_chance_are_independent():
    seeds = {
        derive_seed(seed, epoch, stream)
        for seed in range(4)
        for epoch in range(4)
        for stream in ("batches", "dropout", "weights")
    }

    assert len(seeds) == 48


def test_pairs_to_look_at_are_colourful_and_always_the_same(few_val_pairs, packed):
    pairs = load(packed, "val", 40)

    few = colourful(pairs, 8)

    def spread(pairs):
        values = pairs.targets.float()
        return (values.amax(-1) - values.amin(-1)).mean((1, 2))

    assert few.names == colourful(pairs, 8).names
    assert len(set(few.names)) == 8
    assert spread(few).min() >= spread(pairs).median()
    assert len(colourful(few_val_pairs, 20)) == 8
