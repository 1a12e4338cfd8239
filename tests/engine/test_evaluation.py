from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from engine import evaluation, weights
from engine.data.batches import PairSet
from engine.errors import RefusedMetricError
from engine.metrics import distribution, features
from engine.settings import Settings
from tests.conftest import load, tiny_config

CPU = torch.device("cpu")


class Repeater(nn.Module):
    """A generator that gives the source back."""

    def forward(self, source):
        return source


@pytest.fixture
def no_inception(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture(scope="module")
def pairs(packed):
    return load(packed, "test", 20)


@pytest.fixture(scope="module")
def question(packed):
    return evaluation.Question(tiny_config(), "test", packed.fingerprint, "the last")


@pytest.fixture(scope="module")
def values(question, pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder))
        found = evaluation.evaluate(question, Repeater(), pairs, Settings("", folder))
    return {value.name: value for value in found}


def test_pixel_metrics_are_kept_per_picture_with_an_interval(values):
    for name in ("mse", "mae", "psnr", "ssim"):
        value = values[name]
        assert len(value.per_picture) == 20
        known = [score for score in value.per_picture if score is not None]
        assert value.value == pytest.approx(np.mean(known))
        assert value.low < value.value < value.high


def test_every_value_has_its_protocol(values, packed):
    for value in values.values():
        assert value.protocol["split"] == "test"
        assert value.protocol["px"] == 32
        assert value.protocol["data_fingerprint"] == packed.fingerprint
    lite2 = values["fd_lite2"].protocol
    assert lite2["extractor"] == "efficientnet_lite2"
    assert lite2["weights_sha256"].startswith("9656183e")
    assert "bicubic" in lite2["resize"]


def test_fid_is_absent_with_its_reason_and_not_replaced(values):
    for name in ("fid", "kid"):
        assert values[name].value is None
        assert "python -m engine weights fetch inception" in values[name].missing


def test_a_distance_from_few_pictures_carries_a_warning(values):
    assert values["fd_lite2"].note == "20 pictures in 1,280 dimensions: biased upward"
    assert values["kd_lite2"].note is None


def test_the_distance_is_that_of_the_features(values, pairs, settings):
    extractor = features.build_lite2(*weights.require("efficientnet_lite2", settings), CPU)
    halves = [pairs.pixels[:, half].permute(0, 3, 1, 2) for half in (0, 1)]
    fake, real = (features.compute(extractor, [half]) for half in halves)

    assert values["fd_lite2"].value == pytest.approx(distribution.fid(real, fake), rel=1e-3)


def test_features_of_the_real_split_are_computed_once(question, pairs, tiny_settings, no_inception):
    evaluation.evaluate(question, Repeater(), pairs, tiny_settings)
    (kept,) = tiny_settings.features_dir.iterdir()
    written = kept.stat().st_mtime_ns

    evaluation.evaluate(question, Repeater(), pairs, tiny_settings)

    assert [it.name for it in tiny_settings.features_dir.iterdir()] == [kept.name]
    assert kept.stat().st_mtime_ns == written


def test_kept_features_that_cannot_be_read_are_computed_anew(
    question, pairs, tiny_settings, no_inception, values
):
    evaluation.evaluate(question, Repeater(), pairs, tiny_settings)
    (kept,) = tiny_settings.features_dir.iterdir()
    kept.write_bytes(b"junk")

    again = evaluation.evaluate(question, Repeater(), pairs, tiny_settings)

    found = {value.name: value.value for value in again}
    assert found["fd_lite2"] == values["fd_lite2"].value


def test_no_pictures_are_refused(question, tiny_settings):
    nothing = PairSet(torch.empty(0, 2, 32, 32, 3, dtype=torch.uint8), (), CPU)

    with pytest.raises(RefusedMetricError, match="no pictures"):
        evaluation.evaluate(question, Repeater(), nothing, tiny_settings)


def test_a_perfect_picture_is_left_out_of_the_mean_psnr_and_said(
    question, pairs, tiny_settings, no_inception
):
    pixels = pairs.pixels.clone()
    pixels[0, 1] = pixels[0, 0]
    changed = replace(pairs, pixels=pixels)
    other = replace(question, data_fingerprint="changed")

    found = evaluation.evaluate(other, Repeater(), changed, tiny_settings)

    psnr = next(value for value in found if value.name == "psnr")
    assert psnr.per_picture[0] is None
    assert psnr.n_pictures == psnr.protocol["n_pictures"] < 20
    assert "perfect" in psnr.note
    assert np.isfinite(psnr.value)


def test_pictures_are_rounded_to_bytes():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)

    assert torch.equal(evaluation.to_bytes(levels.float() / 127.5 - 1), levels)
