import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import RefusedMetricError
from engine.metrics.distribution import fid, kid
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


@pytest.mark.parametrize("name", [name for name in EXPECTED["kid"] if name != "b_n2048_d2048"])
def test_the_full_kernel_distance_equals_the_reference(name):
    x, y = features(name)

    wanted = EXPECTED["kid"][name]["full_unbiased_mmd2"]
    assert kid(x, y, subset_size=None) == pytest.approx(wanted, abs=1e-10)


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
