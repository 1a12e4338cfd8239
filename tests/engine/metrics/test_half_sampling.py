import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from engine.metrics import distribution, half_sampling
from engine.metrics.intervals import half_samples
from tests.reference import recipes


@pytest.fixture
def features():
    return recipes.base(1, 40, 60), recipes.base(2, 40, 60) * 1.2 + 0.1


@pytest.fixture
def halves():
    return half_samples(40, 6)


def test_the_frechet_distance_of_each_half_is_that_of_its_rows(features, halves):
    x, y = features

    expected = [distribution.fid(x[half], y[half]) for half in halves]

    assert half_sampling.fid(x, y, halves) == pytest.approx(expected, rel=1e-9)
    few = slice(0, 12)  # more rows than columns
    expected = [distribution.fid(x[half][:, few], y[half][:, few]) for half in halves]
    assert half_sampling.fid(x[:, few], y[:, few], halves) == pytest.approx(expected, rel=1e-9)


def test_the_kernel_distance_of_each_half_is_that_of_its_rows(features, halves):
    x, y = features

    expected = [distribution.kernel_distance(x[half], y[half]) for half in halves]

    assert half_sampling.kernel_distance(x, y, halves) == pytest.approx(expected, rel=1e-9)


def test_a_mean_leaves_out_images_without_a_value():
    halves = np.array([[True, True, False], [False, True, True]])

    assert half_sampling.mean([1.0, None, 3.0], halves).tolist() == [1.0, 3.0]


def test_histograms_are_summed_over_a_half_before_they_are_compared(halves):
    counts = np.random.default_rng(0).integers(0, 9, (2, 40, 16)).astype(float)

    divergences = half_sampling.histogram_divergence(*counts, halves)

    sums = [histograms[halves[3]].sum(0)[None] for histograms in counts]
    assert divergences[3] == pytest.approx(half_sampling.jensen_shannon(*sums)[0])


def test_the_divergence_is_0_for_equal_counts_1_for_no_common_bin_and_otherwise_that_of_scipy():
    one, other = np.array([[2.0, 2.0, 0.0]]), np.array([[0.0, 0.0, 5.0]])

    assert half_sampling.jensen_shannon(one, one)[0] == 0.0
    assert half_sampling.jensen_shannon(one, other)[0] == pytest.approx(1.0)
    assert np.isnan(half_sampling.jensen_shannon(one, 0 * one)[0])
    p, q = np.array([[5.0, 3.0, 2.0]]), np.array([[1.0, 4.0, 4.0]])
    assert half_sampling.jensen_shannon(p, q)[0] == pytest.approx(jensenshannon(p[0], q[0], 2) ** 2)


def test_a_slow_frechet_distance_is_measured_on_fewer_halves():
    assert half_sampling.n_frechet_halves(211) == 1000
    assert half_sampling.n_frechet_halves(1000) < 200
    assert half_sampling.n_frechet_halves(5000) == 100
