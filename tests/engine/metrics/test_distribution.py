import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import RefusedMetricError
from engine.metrics.distribution import (
    fid,
    fid_from_statistics,
    inception_score,
    kernel_distance,
    kid,
)
from tests.reference import recipes

EXPECTED = json.loads((Path(recipes.__file__).parent / "expected.json").read_text())
SMALL = ["a_n5000_d64", "a32_n5000_d64_f32", "d_identical_n5000_d64", "e_near_identical_n5000_d64"]
SMALL += ["f_const_dims_n1000_d64", "h_hand_d2", "c_n80_d2048"]
LARGE = ["b_n2048_d2048", "d_identical_n2048_d2048", "b_n4096_d2048_f32"]


def features(name):
    x, y = recipes.case(name)
    assert recipes.sha(x) == EXPECTED["frechet"][name]["sha256_x"]
    return x, y


@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
)
def test_the_frechet_distance_equals_34_digit_arithmetic(name):
    x, y = features(name)

    found = fid(x, y)

    traces = sum(np.var(it.astype(np.float64), axis=0, ddof=1).sum() for it in (x, y))
    full_rank = min(len(x), len(y)) > x.shape[1] and not name.startswith(("d_", "f_"))
    tolerance = traces * (1e-8 if full_rank else 1e-6)
    assert found == pytest.approx(EXPECTED["frechet"][name]["expected"], abs=tolerance)
    assert found > -1e-9


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if "n5000" in name else name
        for name in EXPECTED["kid"]
        if name != "b_n2048_d2048"
    ],
)
def test_the_full_kernel_distance_equals_the_reference(name):
    x, y = features(name)

    wanted = EXPECTED["kid"][name]["full_unbiased_mmd2"]
    assert kid(x, y, subset_size=None) == pytest.approx(wanted, abs=1e-10)


@pytest.mark.parametrize(
    ("name", "subset_size", "kept"),
    [
        ("a_n5000_d64", 50, "torch_fidelity_100x50_seed2020_mean_std"),
        ("c_n80_d2048", 50, "torch_fidelity_100x50_seed2020_mean_std"),
        pytest.param(
            "a_n5000_d64", 1000, "torch_fidelity_100x1000_seed2020_mean_std", marks=pytest.mark.slow
        ),
    ],
)
def test_the_kernel_distance_over_subsets_equals_torch_fidelitys(name, subset_size, kept):
    x, y = features(name)

    found = kid(x, y, subset_size=subset_size, subsets=100, seed=2020)

    assert found == pytest.approx(EXPECTED["kid"][name][kept][0], abs=1e-10)


@pytest.mark.parametrize(
    "name",
    [
        *("g_diag_d64", "g_illcond_d64"),
        *(
            pytest.param(it, marks=pytest.mark.slow)
            for it in ("g_diag_d2048", "g_householder_d2048")
        ),
    ],
)
def test_the_distance_from_statistics_equals_the_closed_form(name):
    *statistics, wanted = recipes.analytic(name)

    found = fid_from_statistics(*statistics)

    traces = np.trace(statistics[1]) + np.trace(statistics[3])
    assert found == pytest.approx(wanted, abs=1e-8 * traces)
    assert wanted == pytest.approx(EXPECTED["frechet"][name]["expected"])


def test_the_distance_from_statistics_is_that_from_features():
    x, y = features("a_n5000_d64")
    parts = [(it.mean(0), np.cov(it, rowvar=False)) for it in (x, y)]

    assert fid_from_statistics(*parts[0], *parts[1]) == pytest.approx(fid(x, y), rel=1e-9)


@pytest.mark.parametrize(
    ("covariance", "reason"),
    [
        (np.diag([1.0, -1.0]), "negative eigenvalue -1"),
        (np.array([[1.0, 0.5], [0.0, 1.0]]), "not symmetric"),
        (np.eye(3), "must be of shape"),
        (np.full((2, 2), np.nan), "not finite"),
    ],
)
def test_statistics_that_cannot_be_are_refused(covariance, reason):
    with pytest.raises(RefusedMetricError, match=reason):
        fid_from_statistics(np.zeros(2), np.eye(2), np.zeros(2), covariance)


@pytest.mark.parametrize("name", recipes.LOGIT_CASES)
@pytest.mark.parametrize(
    ("kept", "options"),
    [
        ("splits10_shuffle_seed2020", {}),
        ("splits10_noshuffle", {"seed": None}),
        ("splits1", {"splits": 1}),
    ],
)
def test_the_inception_score_equals_the_reference(name, kept, options):
    mean, std = EXPECTED["inception_score"][name][kept]

    found = inception_score(recipes.logits(name), **options)

    assert found.mean == pytest.approx(mean, abs=1e-9)
    assert found.std == pytest.approx(std, abs=1e-9)


def test_more_splits_than_pictures_are_refused():
    with pytest.raises(RefusedMetricError, match="from 1 to 5"):
        inception_score(np.ones((5, 4)), splits=10)


def test_the_paired_distance_leaves_out_what_pairs_have_in_common():
    chance = np.random.default_rng(0)
    found, usual = [], []
    for _ in range(60):
        real = chance.standard_normal((60, 8))
        fake = real[:, :] + 0.05 * chance.standard_normal((60, 8))  # nearly a copy of its target
        found.append(kernel_distance(real, fake))
        usual.append(kid(real, fake, subset_size=None))

    values = np.array([it.value for it in found])
    assert abs(values.mean()) < 3 * values.std() / 60**0.5 + 0.02
    assert np.mean(usual) < -0.1  # the pairs alone bring it so low
    assert np.mean([it.standard_error for it in found]) == pytest.approx(values.std(), rel=0.5)


def test_the_standard_error_is_the_spread_over_samples():
    chance = np.random.default_rng(0)
    found = []
    for _ in range(200):
        real = chance.standard_normal((80, 6))
        fake = 0.7 * real + 0.8 * chance.standard_normal((80, 6)) + 0.3
        found.append(kernel_distance(real, fake))

    spread = np.std([it.value for it in found])
    assert np.mean([it.standard_error for it in found]) == pytest.approx(spread, rel=0.15)


def test_pairs_that_do_not_match_are_refused():
    with pytest.raises(RefusedMetricError, match="50 targets and 60 fakes"):
        kernel_distance(recipes.base(1, 50, 8), recipes.base(2, 60, 8))


def test_features_of_different_networks_are_refused():
    with pytest.raises(RefusedMetricError, match="8 and 9 dimensions"):
        fid(recipes.base(1, 50, 8), recipes.base(2, 50, 9))


def test_a_set_is_at_no_distance_from_itself():
    x, _ = features("c_n80_d2048")

    assert fid(x, x) == pytest.approx(0, abs=1e-9)


def test_the_distance_is_symmetric_and_blind_to_order_and_rotation():
    x, y = recipes.base(1, 300, 20), recipes.base(2, 250, 20) + 0.1
    rotation, _ = np.linalg.qr(recipes.base(3, 20, 20))

    assert fid(y, x) == pytest.approx(fid(x, y))
    assert fid(x[::-1], y) == pytest.approx(fid(x, y))
    assert fid(x @ rotation, y @ rotation) == pytest.approx(fid(x, y))
    assert kid(y, x, subset_size=None) == pytest.approx(kid(x, y, subset_size=None))


def test_tensors_and_arrays_give_the_same():
    x, y = recipes.base(1, 50, 8), recipes.base(2, 50, 8)

    assert fid(torch.from_numpy(x), torch.from_numpy(y)) == fid(x, y)


def test_subsets_are_drawn_by_the_seed():
    x, y = recipes.base(1, 120, 8), recipes.base(2, 120, 8) + 1

    first, second = (kid(x, y, subset_size=60, subsets=20, seed=seed) for seed in (5, 5))

    assert first == second
    assert kid(x, y, subset_size=60, subsets=20, seed=6) != first
    assert first == pytest.approx(kid(x, y, subset_size=None), rel=0.5)


@pytest.mark.parametrize("distance", [fid, lambda x, y: kid(x, y, subset_size=None)])
@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        (np.empty((0, 8)), "0 generated pictures"),
        (np.ones((1, 8)), "1 generated pictures"),
        (np.full((9, 8), np.nan), "not finite"),
        (np.ones(8), "must be"),
    ],
)
def test_what_no_distance_can_rest_on_is_refused_with_the_reason(distance, fake, reason):
    with pytest.raises(RefusedMetricError, match=reason):
        distance(recipes.base(1, 50, 8), fake)


def test_constant_features_are_refused():
    with pytest.raises(RefusedMetricError, match="constant pictures"):
        fid(np.zeros((50, 8)), np.zeros((50, 8)))


def test_a_subset_larger_than_the_set_is_refused():
    with pytest.raises(RefusedMetricError, match="from 2 to 50"):
        kid(recipes.base(1, 50, 8), recipes.base(2, 60, 8))
