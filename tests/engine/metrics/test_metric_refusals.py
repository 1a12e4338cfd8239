"""Nothing that means nothing becomes a number: both studies' mistakes, and what chance finds."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as trials
from hypothesis import strategies as st
from torch import nn

from engine.data.batches import PairSet
from engine.errors import RefusedMetricError
from engine.evaluation import evaluate
from engine.evaluation.distance_meters import Family
from engine.metrics import features, pixel
from engine.metrics.distribution import fid
from tests.conftest import tiny_config

CPU = torch.device("cpu")
QUESTION = evaluate.Question(tiny_config(), "test", "made up")
DISTANCES = ("fid", "kid")


class Says(nn.Module):
    """A generator whose answers are known before: one picture for each source."""

    def __init__(self, pictures):
        super().__init__()
        self.pictures, self.done = pictures, 0

    def forward(self, source):
        self.done += len(source)
        return self.pictures[self.done - len(source) : self.done]


def extract(pictures):
    """Features as a network has them, of 32 dimensions: a fixed random layer."""
    mixing = torch.randn(3 * 8 * 8, 32, generator=torch.Generator().manual_seed(0))
    small = nn.functional.adaptive_avg_pool2d(pictures.float() / 255, 8).flatten(1)
    return torch.relu(small @ mixing), pictures.float().mean((2, 3))


def judge(n_features=32, extract=extract):
    network = features.Extractor("inception_v3", "6726825d", "none", n_features, CPU, extract)
    family = Family(*DISTANCES, ("is_mean", "is_std"), "inception", lambda: None)
    return evaluate.Judge(family, network)


def judged(targets, fakes, folder, judges=None):
    """What [N, 32, 32, 3] target bytes and [N, 3, 32, 32] fakes in [-1, 1] are found worth."""
    pixels = torch.cat([torch.zeros_like(targets), targets], 3)
    pairs = PairSet(pixels, tuple(str(n) for n in range(len(targets))), CPU)
    judges = judges or [judge()]
    found = evaluate.evaluate(QUESTION, Says(fakes), pairs, judges, folder)
    return {value.name: value for value in found}


def colours(n, seed=0):
    chance = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 32, 32, 3), generator=chance, dtype=torch.uint8)


def as_output(pixels):
    """Bytes -> what a generator would say for them."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def test_no_pictures_are_refused(tmp_path):
    with pytest.raises(RefusedMetricError, match="no pictures to evaluate"):
        judged(colours(0), as_output(colours(0)), tmp_path)


def test_one_picture_has_no_distance(tmp_path):
    found = judged(colours(1), as_output(colours(1, 1)), tmp_path)

    for name in DISTANCES:
        assert found[name].value is None
        assert "at least two pictures, not 1" in found[name].missing
    assert found["psnr"].value is not None


def test_black_pictures_against_black_pictures_are_refused(tmp_path):
    black = torch.zeros(20, 32, 32, 3, dtype=torch.uint8)

    with pytest.raises(RefusedMetricError, match="all 20 target pictures are blank"):
        judged(black, as_output(black), tmp_path)


def test_pictures_divided_by_255_twice_are_refused(tmp_path):
    twice = (colours(20) // 255).to(torch.uint8)

    with pytest.raises(RefusedMetricError, match="divided by 255 twice"):
        judged(twice, as_output(twice), tmp_path)
    found = judged(colours(20), as_output(twice), tmp_path)
    assert "divided by 255 twice" in found["fid"].missing
    assert "divided by 255 twice" in found["psnr"].note
    with pytest.raises(RefusedMetricError, match=r"in \[0, 1\]; these reach from 255 to 255"):
        pixel.psnr(torch.full((1, 3, 32, 32), 255.0), torch.zeros(1, 3, 32, 32))


def test_blank_fakes_have_no_distance_and_say_so_beside_every_number(tmp_path):
    found = judged(colours(20), torch.full((20, 3, 32, 32), 0.3), tmp_path)

    for name in (*DISTANCES, "is_mean"):
        assert found[name].missing == "all 20 generated pictures are blank, each of a single colour"
    assert "all 20 generated pictures are blank" in found["psnr"].note
    assert found["diversity"].value == 0


def test_a_few_blank_fakes_are_counted(tmp_path):
    fakes = as_output(colours(20, 1))
    fakes[:3] = 0

    assert (
        judged(colours(20), fakes, tmp_path)["kid"].note == "3 of 20 generated pictures are blank"
    )


def test_80_pictures_in_2048_dimensions_are_flagged(tmp_path):
    wide = torch.randn(3 * 32 * 32, 2048, generator=torch.Generator().manual_seed(0))

    def widely(pictures):
        return (pictures.float() / 255).flatten(1) @ wide, None

    found = judged(colours(80), as_output(colours(80, 1)), tmp_path, [judge(2048, widely)])

    assert found["fid"].note == "80 pictures in 2,048 dimensions: biased upward"
    assert found["fid"].protocol["n_pictures"] == 80


@pytest.mark.parametrize("value", [math.nan, math.inf, 3.0, -1.5])
def test_a_generator_whose_values_no_picture_has_gets_no_number_at_all(value, tmp_path):
    fakes = as_output(colours(20, 1))
    fakes[7, 0, 0, 0] = value

    found = judged(colours(20), fakes, tmp_path)

    assert {it.value for it in found.values()} == {None}
    assert all("must be in [-1, 1]" in it.missing for it in found.values())


def test_features_that_are_not_finite_are_refused(tmp_path):
    broken = judge(extract=lambda pictures: (extract(pictures)[0] * math.nan, None))

    found = judged(colours(20), as_output(colours(20, 1)), tmp_path, [broken])

    assert found["fid"].missing == "the features of the target pictures are not finite"


def test_a_network_that_sees_no_difference_gives_no_zero(tmp_path):
    def blind(pictures):
        return torch.arange(len(pictures) * 32.0).reshape(-1, 32).sin(), None

    found = judged(colours(16), as_output(colours(16, 1)), tmp_path, [judge(extract=blind)])

    assert "a distance of 0 would say nothing" in found["fid"].missing


def test_perfect_copies_are_at_distance_0_and_it_is_said(tmp_path):
    found = judged(colours(20), as_output(colours(20)), tmp_path)

    assert found["fid"].value == pytest.approx(0, abs=1e-6)
    assert found["fid"].value >= 0
    assert "every picture equals its target" in found["fid"].note
    assert found["psnr"].value == pixel.PSNR_CEILING
    assert found["psnr"].note == "20 nearly perfect pictures count as 54.15 dB"


def test_equal_targets_have_no_diversity_to_measure_by(tmp_path):
    same = colours(1).expand(20, 32, 32, 3).clone()

    found = judged(same, as_output(colours(20, 1)), tmp_path)

    assert found["diversity"].missing == "all target pictures are the same"


KINDS = ("noise", "copy", "black", "white", "flat", "dark", "half blank", "nearly", "out", "nan")


def make_fakes(kind, targets, seed):
    chance = torch.Generator().manual_seed(seed)
    copy, noise = as_output(targets), as_output(colours(len(targets), seed))
    shape = copy.shape
    half = noise.clone()
    half[::2] = -1
    return {
        "noise": noise,
        "copy": copy,
        "black": torch.full(shape, -1.0),
        "white": torch.full(shape, 1.0),
        "flat": torch.rand((shape[0], 1, 1, 1), generator=chance).expand(shape),
        "dark": torch.full(shape, -1.0) + torch.rand(shape, generator=chance) / 130,
        "half blank": half,
        "nearly": (copy + 0.01 * torch.randn(shape, generator=chance)).clamp(-1, 1),
        "out": noise * 3,
        "nan": noise * math.nan,
    }[kind]


@pytest.mark.slow
@trials(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(KINDS),
    target=st.sampled_from(("noise", "black", "flat", "dark", "one")),
    n=st.integers(1, 40),
    seed=st.integers(0, 2**16),
)
def test_no_path_leads_to_a_distance_that_means_nothing(kind, target, n, seed, tmp_path_factory):
    targets = colours(n, seed + 1)
    if target == "black":
        targets = torch.zeros_like(targets)
    elif target == "flat":
        targets = targets[:, :1, :1].expand(targets.shape).clone()
    elif target == "dark":
        targets = targets // 200
    elif target == "one":
        targets = targets[:1].expand(targets.shape).clone()

    try:
        found = judged(targets, make_fakes(kind, targets, seed), tmp_path_factory.mktemp("f"))
    except RefusedMetricError:
        return

    same = kind == "copy"
    for value in found.values():
        if value.value is None:
            assert value.missing
        else:
            assert math.isfinite(value.value)
            assert value.missing is None
    fid_value = found["fid"].value
    if fid_value is not None:
        assert kind not in ("black", "white", "flat", "dark", "out", "nan")
        assert fid_value > 0 or (same and fid_value == 0)
        assert found["fid"].protocol["weights_sha256"].startswith("6726825d")


@trials(max_examples=80, deadline=None)
@given(
    n=st.integers(2, 30),
    m=st.integers(2, 30),
    d=st.integers(1, 24),
    rank=st.integers(1, 24),
    scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 2**16),
)
def test_the_frechet_distance_is_never_negative_beyond_rounding(n, m, d, rank, scale, seed):
    chance = np.random.default_rng(seed)
    basis = chance.standard_normal((min(rank, d), d)) * scale
    x, y = (chance.standard_normal((size, len(basis))) @ basis for size in (n, m))

    found = fid(x, y)

    spread = x.var(0).sum() + y.var(0).sum()
    assert math.isfinite(found)
    assert found > -1e-9 * max(1.0, spread)
