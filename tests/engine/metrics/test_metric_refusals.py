"""Metrics of meaningless images are refused: mistakes of both studies, and random inputs."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import nn

from engine.data.batches import PairSet
from engine.errors import RefusedMetricError
from engine.evaluation import evaluate
from engine.evaluation.distance_meters import MetricFamily
from engine.metrics import features, pixel
from engine.metrics.distribution import fid
from tests.support.runs import tiny_config

CPU = torch.device("cpu")
SPEC = evaluate.EvaluationSpec(tiny_config(), "test", "a fingerprint")
DISTANCES = ("fid", "kid")


class FixedGenerator(nn.Module):
    """A generator with predefined outputs, one for each source."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs, self.done = outputs, 0

    def forward(self, source):
        self.done += len(source)
        return self.outputs[self.done - len(source) : self.done]


def extract(pictures):
    """Features of 32 dimensions, computed by a fixed random layer."""
    mixing = torch.randn(3 * 8 * 8, 32, generator=torch.Generator().manual_seed(0))
    small = nn.functional.adaptive_avg_pool2d(pictures.float() / 255, 8).flatten(1)
    return torch.relu(small @ mixing), pictures.float().mean((2, 3))


def feature_metrics(n_features=32, extract=extract):
    network = features.Extractor("inception_v3", "6726825d", "none", n_features, CPU, extract)
    family = MetricFamily(*DISTANCES, ("is_mean", "is_std"), "inception", lambda: None)
    return evaluate.FeatureMetrics(family, network)


def evaluated(targets, fakes, folder, families=None):
    """The results for [N, 32, 32, 3] target bytes and [N, 3, 32, 32] fakes in [-1, 1], by name."""
    pixels = torch.cat([torch.zeros_like(targets), targets], 3)
    pairs = PairSet(pixels, tuple(str(n) for n in range(len(targets))), CPU)
    families = families or [feature_metrics()]
    results = evaluate.evaluate(SPEC, FixedGenerator(fakes), pairs, families, folder)
    return {result.name: result for result in results}


def colours(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 32, 32, 3), generator=generator, dtype=torch.uint8)


def as_output(pixels):
    """Bytes -> the equivalent output of a generator."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def test_no_pictures_are_refused(tmp_path):
    with pytest.raises(RefusedMetricError, match="no pictures to evaluate"):
        evaluated(colours(0), as_output(colours(0)), tmp_path)


def test_one_picture_has_no_distance(tmp_path):
    results = evaluated(colours(1), as_output(colours(1, 1)), tmp_path)

    for name in DISTANCES:
        assert results[name].value is None
        assert "at least two pictures, not 1" in results[name].missing
    assert results["psnr"].value is not None


def test_black_targets_are_refused(tmp_path):
    black = torch.zeros(20, 32, 32, 3, dtype=torch.uint8)

    with pytest.raises(RefusedMetricError, match="all 20 target pictures are blank"):
        evaluated(black, as_output(black), tmp_path)


def test_pictures_divided_by_255_twice_are_refused(tmp_path):
    divided_twice = (colours(20) // 255).to(torch.uint8)

    with pytest.raises(RefusedMetricError, match="divided by 255 twice"):
        evaluated(divided_twice, as_output(divided_twice), tmp_path)
    results = evaluated(colours(20), as_output(divided_twice), tmp_path)
    assert "divided by 255 twice" in results["fid"].missing
    assert "divided by 255 twice" in results["psnr"].note
    with pytest.raises(RefusedMetricError, match=r"in \[0, 1\]; these reach from 255 to 255"):
        pixel.psnr(torch.full((1, 3, 32, 32), 255.0), torch.zeros(1, 3, 32, 32))


def test_blank_fakes_have_no_distance_and_every_other_number_has_a_note(tmp_path):
    results = evaluated(colours(20), torch.full((20, 3, 32, 32), 0.3), tmp_path)

    for name in (*DISTANCES, "is_mean"):
        assert (
            results[name].missing == "all 20 generated pictures are blank, each of a single colour"
        )
    assert "all 20 generated pictures are blank" in results["psnr"].note
    assert results["diversity"].value == 0


def test_a_few_blank_fakes_are_counted(tmp_path):
    fakes = as_output(colours(20, 1))
    fakes[:3] = 0

    assert (
        evaluated(colours(20), fakes, tmp_path)["kid"].note
        == "3 of 20 generated pictures are blank"
    )


def test_80_pictures_in_2048_dimensions_are_flagged(tmp_path):
    wide = torch.randn(3 * 32 * 32, 2048, generator=torch.Generator().manual_seed(0))

    def extract_wide(pictures):
        return (pictures.float() / 255).flatten(1) @ wide, None

    families = [feature_metrics(2048, extract_wide)]
    results = evaluated(colours(80), as_output(colours(80, 1)), tmp_path, families)

    assert results["fid"].note == "80 pictures in 2,048 dimensions: biased upward"
    assert results["fid"].protocol["n_pictures"] == 80


@pytest.mark.parametrize("value", [math.nan, math.inf, 3.0, -1.5])
def test_a_generator_with_values_outside_the_range_has_no_metric_at_all(value, tmp_path):
    fakes = as_output(colours(20, 1))
    fakes[7, 0, 0, 0] = value

    results = evaluated(colours(20), fakes, tmp_path)

    assert {result.value for result in results.values()} == {None}
    assert all("must be in [-1, 1]" in result.missing for result in results.values())


def test_features_that_are_not_finite_are_refused(tmp_path):
    broken = feature_metrics(extract=lambda pictures: (extract(pictures)[0] * math.nan, None))

    results = evaluated(colours(20), as_output(colours(20, 1)), tmp_path, [broken])

    assert results["fid"].missing == "the features of the target pictures are not finite"


def test_features_that_do_not_depend_on_the_pictures_result_in_no_distance(tmp_path):
    def ignore(pictures):
        return torch.arange(len(pictures) * 32.0).reshape(-1, 32).sin(), None

    families = [feature_metrics(extract=ignore)]
    results = evaluated(colours(16), as_output(colours(16, 1)), tmp_path, families)

    assert "a distance of 0 would have no meaning" in results["fid"].missing


def test_perfect_copies_have_distance_0_and_a_note(tmp_path):
    results = evaluated(colours(20), as_output(colours(20)), tmp_path)

    assert results["fid"].value == pytest.approx(0, abs=1e-6)
    assert results["fid"].value >= 0
    assert "every picture equals its target" in results["fid"].note
    assert results["psnr"].value == pixel.PSNR_CEILING_DB
    assert results["psnr"].note == "20 nearly perfect pictures count as 54.15 dB"


def test_without_variety_of_the_targets_there_is_no_diversity(tmp_path):
    equal_targets = colours(1).expand(20, 32, 32, 3).clone()

    results = evaluated(equal_targets, as_output(colours(20, 1)), tmp_path)

    assert results["diversity"].missing == "all target pictures are equal"


KINDS = ("noise", "copy", "black", "white", "flat", "dark", "half blank", "nearly", "out", "nan")


def make_fakes(kind, targets, seed):
    generator = torch.Generator().manual_seed(seed)
    copy, noise = as_output(targets), as_output(colours(len(targets), seed))
    shape = copy.shape
    half = noise.clone()
    half[::2] = -1
    return {
        "noise": noise,
        "copy": copy,
        "black": torch.full(shape, -1.0),
        "white": torch.full(shape, 1.0),
        "flat": torch.rand((shape[0], 1, 1, 1), generator=generator).expand(shape),
        "dark": torch.full(shape, -1.0) + torch.rand(shape, generator=generator) / 130,
        "half blank": half,
        "nearly": (copy + 0.01 * torch.randn(shape, generator=generator)).clamp(-1, 1),
        "out": noise * 3,
        "nan": noise * math.nan,
    }[kind]


@pytest.mark.slow
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(KINDS),
    target=st.sampled_from(("noise", "black", "flat", "dark", "one")),
    n=st.integers(1, 40),
    seed=st.integers(0, 2**16),
)
def test_meaningless_pictures_never_result_in_a_distance(kind, target, n, seed, tmp_path_factory):
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
        results = evaluated(targets, make_fakes(kind, targets, seed), tmp_path_factory.mktemp("f"))
    except RefusedMetricError:
        return

    for result in results.values():
        if result.value is None:
            assert result.missing
        else:
            assert math.isfinite(result.value)
            assert result.missing is None
    fid_value = results["fid"].value
    if fid_value is not None:
        assert kind not in ("black", "white", "flat", "dark", "out", "nan")
        assert fid_value > 0 or (kind == "copy" and fid_value == 0)
        assert results["fid"].protocol["weights_sha256"].startswith("6726825d")


@hypothesis_settings(max_examples=80, deadline=None)
@given(
    n=st.integers(2, 30),
    m=st.integers(2, 30),
    d=st.integers(1, 24),
    rank=st.integers(1, 24),
    scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 2**16),
)
def test_the_frechet_distance_is_never_negative_beyond_rounding(n, m, d, rank, scale, seed):
    generator = np.random.default_rng(seed)
    basis = generator.standard_normal((min(rank, d), d)) * scale
    x, y = (generator.standard_normal((size, len(basis))) @ basis for size in (n, m))

    distance = fid(x, y)

    spread = x.var(0).sum() + y.var(0).sum()
    assert math.isfinite(distance)
    assert distance > -1e-9 * max(1.0, spread)
