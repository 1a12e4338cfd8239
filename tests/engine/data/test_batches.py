import pytest
import torch

from engine.data.batches import (
    PairSet,
    colourful,
    derive_seed,
    evaluation_batches,
    gather,
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
    chosen = torch.tensor([3, 5])
    plain = gather(few_pairs, chosen, torch.tensor([False, False]), torch.zeros(2, 2).long())

    flipped = gather(few_pairs, chosen, torch.tensor([True, True]), torch.zeros(2, 2).long())

    assert not torch.equal(flipped[1], plain[1])
    assert torch.equal(flipped[0], plain[0].flip(3))
    assert torch.equal(flipped[1], plain[1].flip(3))


def test_augmentation_cannot_touch_one_half_alone(twins):
    for epoch in range(3):
        for source, target in training_batches(twins, 4, jitter=5, seed=1, epoch=epoch):
            assert torch.equal(source, target)


def test_the_augmentation_really_flips_and_shifts(twins):
    batches = list(training_batches(twins, 12, jitter=5, seed=1, epoch=0))
    known = [as_picture(twins.targets[index]) for index in range(12)]

    source = batches[0][0]

    unchanged = sum(any(torch.equal(one, plain) for plain in known) for one in source)
    assert unchanged < 6


def test_a_shift_moves_both_halves_and_reflects_at_the_edge(twins):
    plain = as_picture(twins.targets[0])

    shifted, _ = gather(twins, torch.tensor([0]), torch.tensor([False]), torch.tensor([[2, 3]]))

    assert torch.equal(shifted[0][:, 2:, 3:], plain[:, :-2, :-3])
    assert torch.equal(shifted[0][:, 0, 3:], plain[:, 2, :-3])
    assert torch.equal(shifted[0][:, 2:, 0], plain[:, :-2, 3])


def test_without_jitter_pictures_are_themselves_or_their_mirror(twins):
    known = [as_picture(twins.targets[index]) for index in range(12)]
    known += [picture.flip(2) for picture in known]

    for source, _ in training_batches(twins, 4, jitter=0, seed=1, epoch=0):
        assert all(any(torch.equal(one, plain) for plain in known) for one in source)


def test_the_same_seed_and_epoch_give_the_same_batches(few_pairs):
    first = list(training_batches(few_pairs, 8, 2, seed=3, epoch=4))
    second = list(training_batches(few_pairs, 8, 2, seed=3, epoch=4))

    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("seed", "epoch"), [(3, 5), (4, 4)])
def test_another_seed_or_epoch_gives_other_batches(few_pairs, seed, epoch):
    first = next(training_batches(few_pairs, 8, 2, seed=3, epoch=4))

    assert not torch.equal(first[0], next(training_batches(few_pairs, 8, 2, seed, epoch))[0])


def test_every_pair_comes_once_and_an_incomplete_batch_is_left_out(twins):
    seen = [source for source, _ in training_batches(twins, 5, 0, seed=0, epoch=0)]

    assert [len(batch) for batch in seen] == [5, 5]


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
