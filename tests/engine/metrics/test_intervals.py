"""Whether the intervals hold what they promise is tried on studies whose truth is known."""

import numpy as np
import pytest

from engine.metrics import distribution, half_sampling
from engine.metrics.intervals import (
    SIGNIFICANT,
    Difference,
    Interval,
    half_samples,
    holm,
    mean_interval,
    paired_difference,
    sampled_difference,
    sampled_interval,
)

REPETITIONS = 1000


def synthetic_study(chance, means, seeds, noise=0.3, seed_effect=1.0):
    """[configurations, seeds]: the seed's own luck is shared by all that use it."""
    shared = seed_effect * chance.standard_normal(seeds)
    own = noise * chance.standard_normal((len(means), seeds))
    return np.asarray(means)[:, None] + shared + own


def clear_pairs(study):
    pairs = [(0, 1), (0, 2), (1, 2)]
    found = [paired_difference(study[one], study[other]).p for one, other in pairs]
    return [p < SIGNIFICANT for p in holm(found)]


def test_the_interval_is_students():
    interval = mean_interval([1.0, 2.0, 3.0])

    # t(0.975, 2 degrees) = 4.302653, standard error 1 / sqrt(3).
    assert interval.mean == 2.0
    assert interval.low == pytest.approx(2 - 4.302653 / 3**0.5, abs=1e-5)
    assert interval.high == pytest.approx(2 + 4.302653 / 3**0.5, abs=1e-5)


def test_one_value_has_no_interval_and_no_test():
    assert mean_interval([4.0]) == Interval(4.0, None, None)
    assert paired_difference([4.0], [3.0]) is None


def test_the_paired_test_is_students():
    found = paired_difference([3.0, 5.0, 7.0], [2.0, 3.0, 4.0])

    # Differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.4641, two-sided p with 2 degrees 0.0742.
    assert found.mean == 2.0
    assert found.p == pytest.approx(0.07418, abs=1e-5)
    assert found.low == pytest.approx(2 - 4.302653 / 3**0.5, abs=1e-5)


def test_equal_runs_do_not_differ_and_a_constant_shift_cannot_be_tested():
    assert paired_difference([1.0, 2.0], [1.0, 2.0]) == Difference(0.0, 0.0, 0.0, 1.0)
    assert paired_difference([1.5, 2.5], [1.0, 2.0]) is None


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_over_seeds_covers_the_truth_95_times_in_100(seeds):
    chance = np.random.default_rng(seeds)
    covered = 0
    for _ in range(REPETITIONS):
        interval = mean_interval(synthetic_study(chance, [17.0], seeds)[0])
        covered += interval.low <= 17.0 <= interval.high

    assert 0.93 <= covered / REPETITIONS <= 0.97


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_paired_interval_covers_the_true_difference_95_times_in_100(seeds):
    chance = np.random.default_rng(seeds)
    covered = 0
    for _ in range(REPETITIONS):
        one, other = synthetic_study(chance, [17.0, 16.6], seeds)
        difference = paired_difference(one, other)
        covered += difference.low <= 0.4 <= difference.high

    assert 0.93 <= covered / REPETITIONS <= 0.97


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_study_without_differences_shows_one_in_at_most_65_of_1000(seeds):
    chance = np.random.default_rng(seeds)

    wrong = sum(any(clear_pairs(synthetic_study(chance, [17.0] * 3, seeds))) for _ in range(1000))

    assert wrong <= 65


def test_pairing_by_seed_finds_what_the_luck_of_the_seed_would_hide(record_property):
    chance = np.random.default_rng(0)
    power = {}
    for seeds in (3, 5, 10):
        studies = [synthetic_study(chance, [17.0, 17.5, 17.5], seeds) for _ in range(300)]
        power[seeds] = float(np.mean([clear_pairs(study)[0] for study in studies]))
    record_property("power", power)

    # A difference of half the seed's own spread: unpaired, ten seeds would find it in 17 of 100.
    assert power[3] < power[5] < power[10]
    assert power[10] > 0.7


def test_holm_multiplies_by_what_is_left_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_halves_are_halves_and_every_picture_is_in_as_often():
    halves = half_samples(20, 100)

    assert halves.shape == (100, 20)
    assert set(halves.sum(1)) == {10}
    assert set(halves.sum(0)) == {50}
    assert np.array_equal(halves, half_samples(20, 100))
    assert set(half_samples(21, 10).sum(1)) == {10}


def test_halves_spread_as_the_mean_of_all_pictures_does():
    scores = np.random.default_rng(0).standard_normal(200)
    halves = half_sampling.mean(scores.tolist(), half_samples(200, 20_000))

    assert halves.std() == pytest.approx(scores.std(ddof=1) / 200**0.5, rel=0.02)


def pictures(chance, n):
    """Targets and the fakes made for them: a fake resembles its own target."""
    real = chance.standard_normal((n, 8))
    return real, 0.7 * real + 0.6 * chance.standard_normal((n, 8)) + 0.2


@pytest.mark.slow
def test_the_interval_over_pictures_covers_a_true_mean_and_a_true_kernel_distance():
    chance = np.random.default_rng(0)
    truth = np.mean([distribution.kernel_distance(*pictures(chance, 2000)).value for _ in range(9)])
    halves, covered, repetitions = half_samples(120, 1000), np.zeros(2), 500
    for _ in range(repetitions):
        scores = chance.standard_normal(120)
        real, fake = pictures(chance, 120)
        value = distribution.kernel_distance(real, fake).value
        for index, (interval, wanted) in enumerate(
            (
                (
                    sampled_interval(
                        scores.mean(), half_sampling.mean(scores.tolist(), halves), 120
                    ),
                    0.0,
                ),
                (
                    sampled_interval(value, half_sampling.kernel_distance(real, fake, halves), 120),
                    truth,
                ),
            )
        ):
            covered[index] += interval.low <= wanted <= interval.high

    assert 0.93 <= covered[0] / repetitions <= 0.97
    assert 0.92 <= covered[1] / repetitions <= 0.97


def test_two_runs_on_the_same_halves_differ_when_their_pictures_do():
    chance = np.random.default_rng(0)
    scores, halves = chance.standard_normal(100), half_samples(100, 1000)
    better = scores + 0.1 + 0.05 * chance.standard_normal(100)
    replicates = [half_sampling.mean(it.tolist(), halves) for it in (better, scores)]

    found = sampled_difference(better.mean(), scores.mean(), *replicates, 100)
    nothing = sampled_difference(scores.mean(), scores.mean(), replicates[1], replicates[1], 100)

    assert found.p < 0.01
    assert found.low > 0
    assert nothing.p == 1.0
