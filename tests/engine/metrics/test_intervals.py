"""The coverage of the intervals is tested on synthetic studies with known true values."""

import numpy as np
import pytest

from engine.metrics import distribution, half_sampling
from engine.metrics.intervals import (
    Difference,
    Interval,
    half_samples,
    holm,
    mean_interval,
    paired_difference,
    sampled_difference,
    sampled_interval,
)
from engine.records.comparison import SIGNIFICANCE_LEVEL

REPETITIONS = 1000


def synthetic_study(generator, means, seeds, noise=0.3, seed_effect=1.0):
    """[configurations, seeds] values: the effect of a seed is shared by all configurations."""
    shared = seed_effect * generator.standard_normal(seeds)
    own = noise * generator.standard_normal((len(means), seeds))
    return np.asarray(means)[:, None] + shared + own


def clear_pairs(study):
    pairs = [(0, 1), (0, 2), (1, 2)]
    p_values = [paired_difference(study[one], study[other]).p for one, other in pairs]
    return [p < SIGNIFICANCE_LEVEL for p in holm(p_values)]


def test_the_interval_is_that_of_student():
    interval = mean_interval([1.0, 2.0, 3.0])

    # t(0.975, 2 degrees) = 4.302653, standard error 1 / sqrt(3).
    assert interval.mean == 2.0
    assert interval.low == pytest.approx(2 - 4.302653 / 3**0.5, abs=1e-5)
    assert interval.high == pytest.approx(2 + 4.302653 / 3**0.5, abs=1e-5)


def test_one_value_has_no_interval_and_no_test():
    assert mean_interval([4.0]) == Interval(4.0, None, None)
    assert paired_difference([4.0], [3.0]) is None


def test_the_paired_test_is_that_of_student():
    difference = paired_difference([3.0, 5.0, 7.0], [2.0, 3.0, 4.0])

    # Differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.4641, two-sided p with 2 degrees 0.0742.
    assert difference.mean == 2.0
    assert difference.p == pytest.approx(0.07418, abs=1e-5)
    assert difference.low == pytest.approx(2 - 4.302653 / 3**0.5, abs=1e-5)


def test_equal_runs_do_not_differ_and_a_constant_shift_cannot_be_tested():
    assert paired_difference([1.0, 2.0], [1.0, 2.0]) == Difference(0.0, 0.0, 0.0, 1.0)
    assert paired_difference([1.5, 2.5], [1.0, 2.0]) is None


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_over_seeds_covers_the_true_mean_95_times_in_100(seeds):
    generator = np.random.default_rng(seeds)
    covered = 0
    for _ in range(REPETITIONS):
        interval = mean_interval(synthetic_study(generator, [17.0], seeds)[0])
        covered += interval.low <= 17.0 <= interval.high

    assert 0.93 <= covered / REPETITIONS <= 0.97


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_paired_interval_covers_the_true_difference_95_times_in_100(seeds):
    generator = np.random.default_rng(seeds)
    covered = 0
    for _ in range(REPETITIONS):
        one, other = synthetic_study(generator, [17.0, 16.6], seeds)
        difference = paired_difference(one, other)
        covered += difference.low <= 0.4 <= difference.high

    assert 0.93 <= covered / REPETITIONS <= 0.97


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_at_most_65_of_1000_studies_without_differences_show_one(seeds):
    generator = np.random.default_rng(seeds)

    wrong = sum(
        any(clear_pairs(synthetic_study(generator, [17.0] * 3, seeds))) for _ in range(1000)
    )

    assert wrong <= 65


def test_pairing_by_seed_shows_differences_that_the_effect_of_the_seed_would_hide(record_property):
    generator = np.random.default_rng(0)
    power = {}
    for seeds in (3, 5, 10):
        studies = [synthetic_study(generator, [17.0, 17.5, 17.5], seeds) for _ in range(300)]
        power[seeds] = float(np.mean([clear_pairs(study)[0] for study in studies]))
    record_property("power", power)

    # The difference is half the spread over seeds: without pairing, ten seeds show it in 17 of 100.
    assert power[3] < power[5] < power[10]
    assert power[10] > 0.7


def test_holm_multiplies_by_the_number_of_remaining_tests_and_never_decreases():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_every_picture_is_in_equally_many_halves():
    halves = half_samples(20, 100)

    assert halves.shape == (100, 20)
    assert set(halves.sum(1)) == {10}
    assert set(halves.sum(0)) == {50}
    assert np.array_equal(halves, half_samples(20, 100))
    assert set(half_samples(21, 10).sum(1)) == {10}


def test_the_spread_over_halves_is_the_standard_error_of_the_mean():
    scores = np.random.default_rng(0).standard_normal(200)
    halves = half_sampling.mean(scores.tolist(), half_samples(200, 20_000))

    assert halves.std() == pytest.approx(scores.std(ddof=1) / 200**0.5, rel=0.02)


def features_of_pairs(generator, n):
    """Features of targets and their fakes: a fake resembles its own target."""
    real = generator.standard_normal((n, 8))
    return real, 0.7 * real + 0.6 * generator.standard_normal((n, 8)) + 0.2


@pytest.mark.slow
def test_the_interval_over_pictures_covers_a_true_mean_and_a_true_kernel_distance():
    generator = np.random.default_rng(0)
    truth = np.mean(
        [distribution.kernel_distance(*features_of_pairs(generator, 2000)) for _ in range(9)]
    )
    halves, covered, repetitions = half_samples(120, 1000), np.zeros(2), 500
    for _ in range(repetitions):
        scores = generator.standard_normal(120)
        real, fake = features_of_pairs(generator, 120)
        value = distribution.kernel_distance(real, fake)
        for index, (interval, true_value) in enumerate(
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
            covered[index] += interval.low <= true_value <= interval.high

    assert 0.93 <= covered[0] / repetitions <= 0.97
    assert 0.92 <= covered[1] / repetitions <= 0.97


def test_two_runs_differ_on_the_same_halves_if_their_pictures_differ():
    generator = np.random.default_rng(0)
    scores, halves = generator.standard_normal(100), half_samples(100, 1000)
    better = scores + 0.1 + 0.05 * generator.standard_normal(100)
    replicates = [half_sampling.mean(each.tolist(), halves) for each in (better, scores)]

    clear = sampled_difference(better.mean(), scores.mean(), *replicates, 100)
    none = sampled_difference(scores.mean(), scores.mean(), replicates[1], replicates[1], 100)

    assert clear.p < 0.01
    assert clear.low > 0
    assert none.p == 1.0
