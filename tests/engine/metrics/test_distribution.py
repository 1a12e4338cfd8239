import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import RefusedMetricError
from engine.metrics.distribution import (
    fid,
    inception_score,
    kernel_distance,
    kid,
)
from tests.reference import recipes

EXPECTED = json.loads((Path(recipes.__file__).parent / "expected.json").read_text())
SMALL = ["a_n5000_d64", "a32_n5000_d64_f32", "d_identical_n5000_d64", "e_near_identical_n5000_d64"]
SMALL += ["f_const_dims_n1000_d64", "h_hand_d2", "c_n80_d2048"]
# As many pictures as dimensions, and more. Equal sets do not depend on the number of dimensions.
LARGE = ["b_n2048_d2048", "b_n4096_d2048_f32"]


def features(name):
    x, y = recipes.case(name)
    assert recipes.sha(x) == EXPECTED["frechet"][name]["sha256_x"]
    return x, y


@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
)
def test_the_frechet_distance_equals_34_digit_arithmetic(name):
    x, y = features(name)

    distance = fid(x, y)

    traces = sum(np.var(rows.astype(np.float64), axis=0, ddof=1).sum() for rows in (x, y))
    full_rank = min(len(x), len(y)) > x.shape[1] and not name.startswith(("d_", "f_"))
    tolerance = traces * (1e-8 if full_rank else 1e-6)
    assert distance == pytest.approx(EXPECTED["frechet"][name]["expected"], abs=tolerance)
    assert distance > -1e-9


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

    expected = EXPECTED["kid"][name]["full_unbiased_mmd2"]
    assert kid(x, y, subset_size=None) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    ("name", "subset_size", "key"),
    [
        ("a_n5000_d64", 50, "torch_fidelity_100x50_seed2020_mean_std"),
        ("c_n80_d2048", 50, "torch_fidelity_100x50_seed2020_mean_std"),
        pytest.param(
            "a_n5000_d64", 1000, "torch_fidelity_100x1000_seed2020_mean_std", marks=pytest.mark.slow
        ),
    ],
)
def test_the_kernel_distance_over_subsets_equals_that_of_torch_fidelity(name, subset_size, key):
    x, y = features(name)

    distance = kid(x, y, subset_size=subset_size, subsets=100, seed=2020)

    assert distance == pytest.approx(EXPECTED["kid"][name][key][0], abs=1e-10)


@pytest.mark.parametrize("name", recipes.LOGIT_CASES)
@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("splits10_shuffle_seed2020", {}),
        ("splits10_noshuffle", {"seed": None}),
        ("splits1", {"splits": 1}),
    ],
)
def test_the_inception_score_equals_the_reference(name, key, options):
    mean, std = EXPECTED["inception_score"][name][key]

    score = inception_score(recipes.logits(name), **options)

    assert score.mean == pytest.approx(mean, abs=1e-9)
    assert score.std == pytest.approx(std, abs=1e-9)


def test_more_splits_than_pictures_are_refused():
    with pytest.raises(RefusedMetricError, match="from 1 to 5"):
        inception_score(np.ones((5, 4)), splits=10)


def test_the_paired_distance_excludes_the_similarity_of_a_fake_to_its_own_target():
    generator = np.random.default_rng(0)
    paired, usual = [], []
    for _ in range(60):
        real = generator.standard_normal((60, 8))
        fake = real + 0.05 * generator.standard_normal((60, 8))  # nearly a copy of its target
        paired.append(kernel_distance(real, fake))
        usual.append(kid(real, fake, subset_size=None))

    assert abs(np.mean(paired)) < 3 * np.std(paired) / 60**0.5 + 0.02
    assert np.mean(usual) < -0.1  # the bias of the own pairs alone


def test_pairs_that_do_not_match_are_refused():
    with pytest.raises(RefusedMetricError, match="50 targets and 60 fakes"):
        kernel_distance(recipes.base(1, 50, 8), recipes.base(2, 60, 8))


def test_features_of_different_networks_are_refused():
    with pytest.raises(RefusedMetricError, match="8 and 9 dimensions"):
        fid(recipes.base(1, 50, 8), recipes.base(2, 50, 9))


def test_the_distance_of_a_set_to_itself_is_0():
    x, _ = features("c_n80_d2048")

    assert fid(x, x) == pytest.approx(0, abs=1e-9)


def test_the_distance_is_symmetric_and_unchanged_by_order_and_rotation():
    x, y = recipes.base(1, 300, 20), recipes.base(2, 250, 20) + 0.1
    rotation, _ = np.linalg.qr(recipes.base(3, 20, 20))

    assert fid(y, x) == pytest.approx(fid(x, y))
    assert fid(x[::-1], y) == pytest.approx(fid(x, y))
    assert fid(x @ rotation, y @ rotation) == pytest.approx(fid(x, y))
    assert kid(y, x, subset_size=None) == pytest.approx(kid(x, y, subset_size=None))


def test_tensors_and_arrays_give_equal_distances():
    x, y = recipes.base(1, 50, 8), recipes.base(2, 50, 8)

    assert fid(torch.from_numpy(x), torch.from_numpy(y)) == fid(x, y)


def test_the_seed_decides_which_subsets_are_drawn():
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
def test_features_without_a_defined_distance_are_refused_with_the_reason(distance, fake, reason):
    with pytest.raises(RefusedMetricError, match=reason):
        distance(recipes.base(1, 50, 8), fake)


def test_constant_features_are_refused():
    with pytest.raises(RefusedMetricError, match="constant pictures"):
        fid(np.zeros((50, 8)), np.zeros((50, 8)))


def test_a_subset_larger_than_the_set_is_refused():
    with pytest.raises(RefusedMetricError, match="from 2 to 50"):
        kid(recipes.base(1, 50, 8), recipes.base(2, 60, 8))
