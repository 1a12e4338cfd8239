from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from engine import weights
from engine.evaluation import evaluate, feature_extractors
from engine.evaluation.values import Value
from engine.metrics import distribution, features, pixel
from engine.metrics.catalog import QUALITY, members
from engine.networks.architectures import build_discriminator
from engine.settings import Settings
from tests.conftest import load, tiny_config

CPU = torch.device("cpu")


class Repeater(nn.Module):
    """A generator that gives the source back."""

    def forward(self, source):
        return source


@pytest.fixture(scope="module")
def pairs(packed):
    return load(packed, "test", 20)


@pytest.fixture(scope="module")
def question(packed):
    return evaluate.Question(tiny_config(), "test", packed.fingerprint)


def judges_of(folder):
    """Lite2 and, in an empty folder, no Inception."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder))
        return evaluate.load_judges(Settings("", folder), CPU)


@pytest.fixture(scope="module")
def judges(tmp_path_factory):
    return judges_of(tmp_path_factory.mktemp("nothing"))


@pytest.fixture(scope="module")
def values(question, pairs, judges, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    torch.manual_seed(0)
    adversary = build_discriminator(question.config.budget)
    found = evaluate.evaluate(question, Repeater(), pairs, judges, folder, adversary)
    return {value.name: value for value in found}


def test_every_quality_metric_is_measured_or_says_why_not(values):
    inception = {"fid", "kid", "is_mean", "is_std"}

    assert set(values) == {*QUALITY, *members("adversary")}
    assert {name for name, value in values.items() if value.value is None} == {
        *inception,
        "ab_divergence",
    }
    for name in inception:
        assert "python -m engine weights fetch inception" in values[name].missing
    assert values["ab_divergence"].missing == "the generated pictures have no colour to compare"


def test_pixel_metrics_are_kept_per_picture_with_an_interval(values):
    for name in ("mse", "mae", "psnr", "ssim", "delta_e", "colorfulness_gap"):
        value = values[name]
        assert len(value.per_picture) == 20
        known = [score for score in value.per_picture if score is not None]
        assert value.value == pytest.approx(np.mean(known))
        assert value.low < value.value < value.high
        assert len(value.halves) == 1000


def test_every_value_has_its_protocol(values, packed):
    for value in values.values():
        assert value.protocol["split"] == "test"
        assert value.protocol["px"] == 32
        assert value.protocol["data_fingerprint"] == packed.fingerprint
    lite2 = values["fd_lite2"].protocol
    assert lite2["extractor"] == "efficientnet_lite2"
    assert lite2["weights_sha256"].startswith("9656183e")
    assert "bicubic" in lite2["resize"]


def test_a_distance_from_few_pictures_carries_a_warning(values):
    assert "20 pictures in 1,280 dimensions: biased upward" in values["fd_lite2"].note
    assert "biased" not in (values["kd_lite2"].note or "")


def test_the_distances_are_those_of_the_features(values, pairs, settings):
    extractor = feature_extractors.build_lite2(
        *weights.require("efficientnet_lite2", settings), CPU
    )
    halves = [half.permute(0, 3, 1, 2) for half in (pairs.sources, pairs.targets)]
    fake, real = (features.compute(extractor, [half]) for half in halves)

    assert values["fd_lite2"].value == pytest.approx(distribution.fid(real, fake), rel=1e-3)
    wanted = distribution.kernel_distance(real, fake).value
    assert values["kd_lite2"].value == pytest.approx(wanted, rel=1e-3)
    assert values["kd_lite2"].low < wanted < values["kd_lite2"].high


def test_the_targets_own_colourfulness_stands_beside_that_of_the_fakes(values, pairs):
    targets = pairs.targets.permute(0, 3, 1, 2).float() / 255

    assert values["colorfulness"].reference == pytest.approx(pixel.colorfulness(targets).mean())
    assert values["colorfulness"].value == pytest.approx(0, abs=0.5)  # the sketches are grey


@pytest.mark.slow
def test_features_of_the_real_split_are_computed_once(question, pairs, judges, tmp_path):
    evaluate.evaluate(question, Repeater(), pairs, judges, tmp_path)
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_mtime_ns

    evaluate.evaluate(question, Repeater(), pairs, judges, tmp_path)

    assert [it.name for it in tmp_path.iterdir()] == [kept.name]
    assert kept.stat().st_mtime_ns == written


@pytest.mark.slow
def test_kept_features_that_cannot_be_read_are_computed_anew(
    question, pairs, judges, tmp_path, values
):
    evaluate.evaluate(question, Repeater(), pairs, judges, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"junk")

    again = evaluate.evaluate(question, Repeater(), pairs, judges, tmp_path)

    found = {value.name: value.value for value in again}
    assert found["fd_lite2"] == values["fd_lite2"].value


def test_the_fakes_are_written_where_they_are_asked_for(question, pairs, tmp_path):
    kept = np.zeros((20, 32, 32, 3), np.uint8)

    evaluate.evaluate(question, Repeater(), pairs, [], tmp_path, keep=kept)

    assert np.array_equal(kept, pairs.sources.numpy())


def test_a_perfect_picture_counts_with_the_ceiling_of_psnr_and_it_is_said(
    question, pairs, tmp_path
):
    pixels = pairs.pixels.clone()
    pixels[0, ..., 1:] = pixels[0, ..., :1]
    changed = replace(pairs, pixels=pixels)

    found = evaluate.evaluate(question, Repeater(), changed, [], tmp_path)

    psnr = next(value for value in found if value.name == "psnr")
    assert psnr.per_picture[0] == pixel.PSNR_CEILING
    assert psnr.n_pictures == psnr.protocol["n_pictures"] == 20
    assert psnr.protocol["ceiling_db"] == pixel.PSNR_CEILING
    assert psnr.note.endswith("nearly perfect pictures count as 54.15 dB")
    assert psnr.value == pytest.approx(np.mean(psnr.per_picture))


def test_pictures_are_rounded_to_bytes():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)

    assert torch.equal(evaluate.to_bytes(levels.float() / 127.5 - 1), levels)


def test_one_networks_distances_can_be_asked_for_alone(settings):
    (judge,) = evaluate.load_judges(settings, CPU, "efficientnet_lite2")

    assert judge.family.names == ("fd_lite2", "kd_lite2")
    assert evaluate.load_judges(settings, CPU, "none") == []


def test_features_of_another_rule_or_shape_are_never_taken_for_these(question, pairs, tmp_path):
    def taken(resize, width=4):
        said = torch.full((1, width), float(len(resize)))
        network = features.Extractor("n", "00", resize, width, CPU, lambda it: (said, None))
        return features.load_or_compute(
            tmp_path, "x", 1, network, lambda: [torch.zeros(1, 3, 2, 2)]
        )

    assert taken("260 px").tolist() == [[6.0] * 4]
    assert taken("1,299 px").tolist() == [[8.0] * 4]
    (kept, _) = sorted(tmp_path.iterdir())
    np.save(kept, np.zeros((9, 4), np.float32))
    assert {tuple(taken(rule)[0]) for rule in ("260 px", "1,299 px")} == {(6.0,) * 4, (8.0,) * 4}


def test_float32_is_exact_while_it_matters_and_cudnn_stays_on():
    assert torch.backends.cudnn.enabled

    with features.exact_float32():
        assert torch.backends.cudnn.enabled
        assert not torch.backends.cudnn.allow_tf32

    assert torch.backends.cudnn.allow_tf32


def test_a_value_that_cannot_be_is_a_reason_and_not_a_failed_run():
    wrong = evaluate._possible(Value("ab_divergence", 1.5, 9, {}))

    assert wrong.value is None
    assert "impossible" in wrong.missing
