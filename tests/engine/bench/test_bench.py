import json
from dataclasses import replace

import pytest
import torch

from engine.bench import gpu, training
from engine.bench.race import start_contenders
from engine.cli.main import main
from engine.errors import EngineError
from engine.presets import CONFIGURATIONS
from engine.training import machine_profile
from engine.training.step import TrainingStep
from tests.support.runs import tiny_config
from tests.support.step_counter import StepCounter


@pytest.fixture
def smallest(monkeypatch):
    """The GPU benchmark with the fewest steps, rounds and pictures."""
    sizes = replace(gpu.TINY_SIZES, n_study_train=8, n_study_val=8, round_s=0.0)
    monkeypatch.setattr(gpu, "TINY_SIZES", sizes)
    monkeypatch.setattr(gpu, "N_CHECKED_STEPS", 2)
    monkeypatch.setattr(gpu, "ROUNDS", 1)
    monkeypatch.setitem(machine_profile.MATRIX_SIDE, "cpu", 64)


@pytest.fixture
def gpu_bench(smallest, settings, tmp_path):
    settings.require_writable_artifacts()
    return gpu._GpuBench(torch.device("cpu"), gpu.TINY_SIZES, settings, tmp_path, lambda text: None)


def test_contenders_run_in_processes_of_their_own():
    with start_contenders(
        {"a": (StepCounter, {"CHROMABENCH_TEST": "yes"}), "b": (StepCounter, {})}
    ) as contenders:
        taken, seconds = contenders["a"].take_steps(5)
        contenders["a"].take_steps(2)

        assert taken == 5
        assert seconds > 0
        assert contenders["a"].report() == {"steps": 7, "variable": "yes"}
        assert contenders["b"].report() == {"steps": 0, "variable": None}
        processes = [contender.process for contender in contenders.values()]
    assert all(process.exitcode is not None for process in processes)


def test_the_error_of_a_failed_contender_is_raised():
    with (
        pytest.raises(EngineError, match="a: ValueError: unlucky"),
        start_contenders({"a": (StepCounter, {})}) as contenders,
    ):
        contenders["a"].take_steps(13)


def test_the_error_of_a_contender_that_exits_names_it():
    with (
        pytest.raises(EngineError, match=r"a exited unexpectedly \(exit code 3\)"),
        start_contenders({"a": (StepCounter, {})}) as contenders,
    ):
        contenders["a"].take_steps(99)


@pytest.mark.slow
def test_training_is_measured_beside_the_plain_loop(capsys, settings, monkeypatch):
    for name, value in (
        ("CHROMABENCH_DATABASE_URL", settings.database_url),
        ("CHROMABENCH_ARTIFACTS", str(settings.artifacts)),
        ("OMP_NUM_THREADS", "1"),  # for the plain loops
    ):
        monkeypatch.setenv(name, value)
    settings.require_writable_artifacts()
    monkeypatch.setattr(training, "ROUND_S", 0.01)

    command = "bench train --px 32 --batch 4 --rounds 2 --device cpu --json"
    command += " --set base_channels=8 --set threads=1 --set precision=fp32"
    assert main(command.split()) == 0

    result = json.loads(capsys.readouterr().out)
    assert result["asked"]["budget"]["px"] == 32
    ours, plain, decoding = (result[key] for key in ("ours", "plain", "decoding"))
    for speed in (ours, plain, decoding):
        assert len(speed["rounds"]) == 2
        assert speed["images_per_second"] > 0
        assert speed["peak_memory_mb"] > 50
        assert 0 < speed["share"] < 1
    assert result["ratio"] == pytest.approx(ours["images_per_second"] / plain["images_per_second"])
    assert set(ours["split"]) == {
        *("data", "generator", "discriminator", "optimisers", "recording", "other"),
    }
    assert sum(ours["split"].values()) == pytest.approx(1)


def test_the_counted_operations_equal_the_sum_over_the_layers():
    config = tiny_config(px=256, base_channels=64, batch=1)

    flops = training.count_flops(config, lambda pictures: ())

    # 87 GFLOP = 2 * 43.5 GMAC: generator's update 18.1, discriminator's update 19.0, backward pass
    # through the discriminator 6.4.
    assert flops == pytest.approx(87e9, rel=0.02)


@pytest.mark.slow
def test_the_gpu_benchmark_runs_end_to_end(tmp_path, settings, smallest, capsys, monkeypatch):
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(settings.artifacts))
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", settings.database_url)

    assert main(["bench", "gpu", "--out", str(tmp_path / "out")]) == 0

    result = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert result["is_right"]
    assert len(result["checks"]) >= 9
    assert {speed["configuration"] for speed in result["speeds"]} == {
        *("standard", "perceptual", "regularized"),
    }
    assert len(result["study"]) == 3
    assert not result["left_out"]
    assert "All three:" in capsys.readouterr().out


def test_a_wrong_training_step_fails_the_check(gpu_bench, monkeypatch):
    monkeypatch.setattr(TrainingStep, "optimiser_step", lambda self, optimiser: None)

    next(gpu_bench.check())

    assert not gpu_bench.result.all_checks_passed


def test_losses_that_are_not_finite_fail_the_check(gpu_bench, monkeypatch):
    monkeypatch.setattr(TrainingStep, "train", lambda self, batch: torch.full((5,), float("nan")))

    next(gpu_bench.check())

    assert not gpu_bench.result.all_checks_passed


def test_measurements_after_the_time_limit_are_listed(tmp_path, settings, monkeypatch):
    settings.require_writable_artifacts()
    monkeypatch.setattr(gpu, "TIME_LIMIT_S", -1.0)
    monkeypatch.setattr(machine_profile, "measure_peak_flops", lambda device, precision: 1e12)

    result = gpu.run(tmp_path, settings)

    assert not result.checks
    assert "study 1: standard" in result.left_out
    assert "Not measured before the time limit" in (tmp_path / "gpu.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--px", "33"), "px must be a multiple of 32"),
        (("--batch", "0"), "batch"),
        (("--device", "tpu"), "device"),
        (("--configuration", "none"), "There is no configuration 'none'"),
        (("--configuration", "vivid"), "vivid has no adversarial term"),
        (("--set", "adversarial=0"), "standard has no adversarial term"),
        (("--rounds", "0"), "--rounds must be from 1 to 100"),
        (("--set", "pace=1"), "no setting 'pace'"),
    ],
)
def test_invalid_options_are_refused(capsys, arguments, message):
    assert main(["bench", "train", *arguments]) == 2

    assert message in capsys.readouterr().err
    assert "none" not in CONFIGURATIONS
