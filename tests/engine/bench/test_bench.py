import json

import pytest
import torch

from engine.bench import gpu, training
from engine.bench.contenders import started
from engine.cli.parser import main
from engine.errors import EngineError
from engine.presets import CONFIGURATIONS
from engine.training import machine_profile
from engine.training.step import Steps
from tests.conftest import tiny_config


class Counting:
    """A contender that counts."""

    def __init__(self):
        self.steps = 0

    def work(self, steps):
        if steps == 13:
            raise ValueError("unlucky")
        if steps == 99:
            raise SystemExit(3)
        self.steps += steps
        return steps

    def tell(self):
        import os

        return {"steps": self.steps, "asked": os.environ.get("CHROMABENCH_TEST")}


def test_contenders_work_in_processes_of_their_own(monkeypatch):
    with started({"a": (Counting, {"CHROMABENCH_TEST": "yes"}), "b": (Counting, {})}) as rivals:
        taken, seconds = rivals["a"].run(5)
        rivals["a"].run(2)

        assert taken == 5
        assert seconds > 0
        assert rivals["a"].tell() == {"steps": 7, "asked": "yes"}
        assert rivals["b"].tell() == {"steps": 0, "asked": None}
        members = [rival.process for rival in rivals.values()]
    assert all(member.exitcode is not None for member in members)


def test_a_contender_that_gives_up_says_why():
    with (
        pytest.raises(EngineError, match="a: ValueError: unlucky"),
        started({"a": (Counting, {})}) as rivals,
    ):
        rivals["a"].run(13)


def test_a_contender_that_dies_is_named():
    with (
        pytest.raises(EngineError, match=r"a ended by itself \(exit 3\)"),
        started({"a": (Counting, {})}) as rivals,
    ):
        rivals["a"].run(99)


@pytest.mark.slow
def test_training_races_the_plain_loop(capsys, settings, monkeypatch):
    for name, value in (
        ("CHROMABENCH_DATABASE_URL", settings.database_url),
        ("CHROMABENCH_ARTIFACTS", str(settings.artifacts)),
    ):
        monkeypatch.setenv(name, value)
    settings.require_writable_artifacts()
    monkeypatch.setattr(training, "ROUND_S", 0.1)

    command = "bench train --px 32 --batch 4 --rounds 2 --device cpu --json"
    assert main([*command.split(), "--set", "base_channels=8"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["asked"]["budget"]["px"] == 32
    ours, plain, decoding = (found[key] for key in ("ours", "plain", "decoding"))
    for it in (ours, plain, decoding):
        assert len(it["rounds"]) == 2
        assert it["images_per_second"] > 0
        assert it["peak_memory_mb"] > 50
        assert 0 < it["share"] < 1
    assert found["ratio"] == pytest.approx(ours["images_per_second"] / plain["images_per_second"])
    assert set(ours["split"]) == {
        *("data", "generator", "discriminator", "optimisers", "recording", "other"),
    }
    assert sum(ours["split"].values()) == pytest.approx(1)


def test_arithmetic_is_counted_as_the_layers_say():
    config = tiny_config(px=256, base_channels=64, batch=1)

    flops = training.count_flops(config, lambda pictures: ())

    # 87 GFLOP: generator 18.1, discriminator 19.0 and through it 6.4 GMAC, two each.
    assert flops == pytest.approx(87e9, rel=0.02)


@pytest.mark.slow
def test_a_gpu_machine_is_measured_end_to_end(tmp_path, settings, capsys, monkeypatch):
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(settings.artifacts))
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", settings.database_url)

    assert main(["bench", "gpu", "--out", str(tmp_path / "out")]) == 0

    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert found["is_right"]
    assert len(found["checks"]) >= 9
    assert {it["configuration"] for it in found["speeds"]} == {
        *("standard", "perceptual", "regularized"),
    }
    assert len(found["study"]) == 3
    assert not found["left_out"]
    assert "All three:" in capsys.readouterr().out


def test_a_step_that_is_wrong_is_found(tmp_path, settings, monkeypatch):
    settings.require_writable_artifacts()
    bench = gpu._Bench(torch.device("cpu"), gpu.TINY, settings, tmp_path, lambda doing: None)
    monkeypatch.setattr(Steps, "update", lambda self, optimiser: None)

    next(bench.check())

    assert not bench.found.is_right


def test_losses_that_are_not_numbers_pass_no_check(tmp_path, settings, monkeypatch):
    settings.require_writable_artifacts()
    bench = gpu._Bench(torch.device("cpu"), gpu.TINY, settings, tmp_path, lambda doing: None)
    monkeypatch.setattr(Steps, "train", lambda self, batch: torch.full((5,), float("nan")))

    next(bench.check())

    assert not bench.found.is_right


def test_what_there_is_no_time_for_is_listed(tmp_path, settings, monkeypatch):
    settings.require_writable_artifacts()
    monkeypatch.setattr(gpu, "LIMIT_S", -1.0)
    monkeypatch.setattr(machine_profile, "measure_limit", lambda device, precision: 1e12)

    found = gpu.run(tmp_path, settings)

    assert not found.checks
    assert "study 1: standard" in found.left_out
    assert "Not measured, for want of time" in (tmp_path / "gpu.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--px", "33"), "px must be a multiple of 32"),
        (("--batch", "0"), "batch"),
        (("--device", "tpu"), "device"),
        (("--configuration", "none"), "There is no configuration 'none'"),
        (("--rounds", "0"), "--rounds must be from 1 to 100"),
        (("--set", "pace=1"), "--set does not know 'pace'"),
    ],
)
def test_a_senseless_bench_is_refused(capsys, arguments, message):
    assert main(["bench", "train", *arguments]) == 2

    assert message in capsys.readouterr().err
    assert "none" not in CONFIGURATIONS
