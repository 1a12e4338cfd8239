from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from engine import weights
from engine.evaluation import evaluate, feature_extractors
from engine.evaluation.checkpoint_evaluator import NO_DISCRIMINATOR, CheckpointEvaluator
from engine.evaluation.image_meters import DiscriminatorAccuracy, Weave
from engine.evaluation.values import Batch, MetricResult
from engine.metrics import distribution, features, pixel
from engine.metrics.catalog import QUALITY_METRICS, metrics_in
from engine.networks.architectures import build_discriminator
from engine.settings import Settings
from engine.training.state import build_state
from tests.support.runs import load_pairs, tiny_config

CPU = torch.device("cpu")


class Repeater(nn.Module):
    """A generator that returns the source."""

    def forward(self, source):
        return source


@pytest.fixture(scope="module")
def pairs(packed):
    return load_pairs(packed, "test", 20)


@pytest.fixture(scope="module")
def spec(packed):
    return evaluate.EvaluationSpec(tiny_config(), "test", packed.fingerprint)


@pytest.fixture(scope="module")
def feature_metrics(tmp_path_factory):
    """Lite2, and Inception without its weights, because the folder is empty."""
    folder = tmp_path_factory.mktemp("nothing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder))
        return evaluate.load_feature_metrics(Settings("", folder), CPU)


@pytest.fixture(scope="module")
def results(spec, pairs, feature_metrics, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    torch.manual_seed(0)
    discriminator = build_discriminator(spec.config.budget)
    results = evaluate.evaluate(spec, Repeater(), pairs, feature_metrics, folder, discriminator)
    return {result.name: result for result in results}


def test_every_quality_metric_has_a_value_or_a_reason(results):
    inception = {"fid", "kid", "is_mean", "is_std"}

    assert set(results) == {*QUALITY_METRICS, *metrics_in("adversary")}
    assert {name for name, result in results.items() if result.value is None} == {
        *inception,
        "ab_divergence",
    }
    for name in inception:
        assert "python -m engine weights fetch inception" in results[name].missing
    assert results["ab_divergence"].missing == "the generated pictures have no colour to compare"


def test_metrics_of_single_pictures_have_a_value_per_picture_and_an_interval(results):
    for name in ("mse", "mae", "psnr", "ssim", "delta_e", "colorfulness_gap"):
        result = results[name]
        assert len(result.per_picture) == 20
        scores = [score for score in result.per_picture if score is not None]
        assert result.value == pytest.approx(np.mean(scores))
        assert result.low < result.value < result.high
        assert len(result.halves) == 1000


def test_every_value_has_its_protocol(results, packed):
    for result in results.values():
        assert result.protocol["split"] == "test"
        assert result.protocol["px"] == 32
        assert result.protocol["data_fingerprint"] == packed.fingerprint
    lite2 = results["fd_lite2"].protocol
    assert lite2["extractor"] == "efficientnet_lite2"
    assert lite2["weights_sha256"].startswith("9656183e")
    assert "bicubic" in lite2["resize"]


def test_a_frechet_distance_of_few_pictures_has_a_warning(results):
    assert "20 pictures in 1,280 dimensions: biased upward" in results["fd_lite2"].note
    assert "biased" not in (results["kd_lite2"].note or "")


def test_the_distances_are_those_of_the_features(results, pairs, settings):
    extractor = feature_extractors.build_lite2(
        *weights.require("efficientnet_lite2", settings), CPU
    )
    halves = [half.permute(0, 3, 1, 2) for half in (pairs.sources, pairs.targets)]
    fake, real = (features.compute(extractor, [half]) for half in halves)

    assert results["fd_lite2"].value == pytest.approx(distribution.fid(real, fake), rel=1e-3)
    expected = distribution.kernel_distance(real, fake)
    assert results["kd_lite2"].value == pytest.approx(expected, rel=1e-3)
    assert results["kd_lite2"].low < expected < results["kd_lite2"].high


def test_the_colourfulness_of_the_targets_is_the_reference_for_that_of_the_fakes(results, pairs):
    targets = pairs.targets.permute(0, 3, 1, 2).float() / 255

    assert results["colorfulness"].reference == pytest.approx(pixel.colorfulness(targets).mean())
    assert results["colorfulness"].value == pytest.approx(0, abs=0.5)  # the sketches are grey


def batch_of(target, fake):
    to_bytes = evaluate.to_bytes
    return Batch(target, target, fake, to_bytes(target), to_bytes(fake))


def test_pictures_whose_target_has_no_flat_place_are_left_out_of_the_weave():
    meter = Weave()
    noise = 2 * torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 1
    flat = torch.zeros(3, 3, 32, 32)
    meter.add(batch_of(torch.cat([noise, flat]), torch.cat([flat, noise])))

    (result,) = meter.results({"split": "test"})

    assert result.per_picture[:3] == [None] * 3
    assert result.value == pytest.approx(np.mean(result.per_picture[3:]))
    assert result.value > 10
    assert result.n_pictures == 3
    assert result.reference == 0


def test_without_any_flat_place_the_weave_has_a_reason_instead_of_a_value():
    meter = Weave()
    white = torch.ones(2, 3, 32, 32)
    meter.add(batch_of(white, white))

    (result,) = meter.results({"split": "test"})

    assert result.value is None
    assert result.missing == "no target picture has a flat place"


@pytest.mark.slow
def test_features_of_the_real_split_are_computed_once(spec, pairs, feature_metrics, tmp_path):
    evaluate.evaluate(spec, Repeater(), pairs, feature_metrics, tmp_path)
    (cached,) = tmp_path.iterdir()
    written = cached.stat().st_mtime_ns

    evaluate.evaluate(spec, Repeater(), pairs, feature_metrics, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [cached.name]
    assert cached.stat().st_mtime_ns == written


@pytest.mark.slow
def test_cached_features_that_cannot_be_read_are_computed_again(
    spec, pairs, feature_metrics, tmp_path, results
):
    evaluate.evaluate(spec, Repeater(), pairs, feature_metrics, tmp_path)
    (cached,) = tmp_path.iterdir()
    cached.write_bytes(b"junk")

    second = evaluate.evaluate(spec, Repeater(), pairs, feature_metrics, tmp_path)

    values = {result.name: result.value for result in second}
    assert values["fd_lite2"] == results["fd_lite2"].value


def test_the_fakes_are_written_to_the_given_array(spec, pairs, tmp_path):
    fakes = np.zeros((20, 32, 32, 3), np.uint8)

    evaluate.evaluate(spec, Repeater(), pairs, [], tmp_path, fakes_out=fakes)

    assert np.array_equal(fakes, pairs.sources.numpy())


def test_a_perfect_picture_counts_with_the_ceiling_of_psnr_and_the_value_has_a_note(
    spec, pairs, tmp_path
):
    pixels = pairs.pixels.clone()
    pixels[0, ..., 1:] = pixels[0, ..., :1]
    changed = replace(pairs, pixels=pixels)

    results = evaluate.evaluate(spec, Repeater(), changed, [], tmp_path)

    psnr = next(result for result in results if result.name == "psnr")
    assert psnr.per_picture[0] == pixel.PSNR_CEILING_DB
    assert psnr.n_pictures == psnr.protocol["n_pictures"] == 20
    assert psnr.protocol["ceiling_db"] == pixel.PSNR_CEILING_DB
    assert psnr.note.endswith("nearly perfect pictures count as 54.15 dB")
    assert psnr.value == pytest.approx(np.mean(psnr.per_picture))


def test_pictures_are_rounded_to_bytes():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)

    assert torch.equal(evaluate.to_bytes(levels.float() / 127.5 - 1), levels)


def test_the_metrics_of_one_network_can_be_selected(settings):
    (lite2,) = evaluate.load_feature_metrics(settings, CPU, "efficientnet_lite2")

    assert lite2.family.names == ("fd_lite2", "kd_lite2")
    assert evaluate.load_feature_metrics(settings, CPU, "none") == []


def test_cached_features_of_another_rule_or_shape_are_never_used(tmp_path):
    def load_features(resize, width=4):
        output = torch.full((1, width), float(len(resize)))
        network = features.Extractor("n", "00", resize, width, CPU, lambda images: (output, None))
        return features.load_or_compute(
            tmp_path, "x", 1, network, lambda: [torch.zeros(1, 3, 2, 2)]
        )

    assert load_features("260 px").tolist() == [[6.0] * 4]
    assert load_features("1,299 px").tolist() == [[8.0] * 4]
    (cached, _) = sorted(tmp_path.iterdir())
    np.save(cached, np.zeros((9, 4), np.float32))
    assert {tuple(load_features(rule)[0]) for rule in ("260 px", "1,299 px")} == {
        (6.0,) * 4,
        (8.0,) * 4,
    }


def test_exact_float32_disables_tf32_only_inside_and_never_cudnn():
    assert torch.backends.cudnn.enabled

    with features.exact_float32():
        assert torch.backends.cudnn.enabled
        assert not torch.backends.cudnn.allow_tf32

    assert torch.backends.cudnn.allow_tf32


def test_an_impossible_value_becomes_a_reason_and_not_a_failed_run():
    refused = evaluate.refuse_impossible(MetricResult("ab_divergence", 1.5, 9, {}))

    assert refused.value is None
    assert "impossible" in refused.missing


def test_a_recipe_without_a_discriminator_has_a_reason_instead_of_accuracies(packed, settings):
    config = tiny_config("vivid")
    state = build_state(config, torch.device("cpu"))
    evaluator = CheckpointEvaluator(settings, 1, config, packed.fingerprint, [])

    evaluations = evaluator.evaluate(
        state, "test", load_pairs(packed, "test", 8), None, lambda done: None
    ).evaluations

    by_name = {each.name: each for each in evaluations}
    for name in DiscriminatorAccuracy.names:
        assert (by_name[name].value, by_name[name].missing) == (None, NO_DISCRIMINATOR)
