import json
import shutil
import subprocess
from dataclasses import replace

import pytest
import torch

from engine.config import RunConfig
from engine.errors import EngineError
from engine.jobs.planning import resolve_weights
from engine.overrides import apply_settings
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.system import processes
from engine.training import execution, machine_profile


@pytest.fixture(autouse=True)
def one_timing(monkeypatch):
    """Lets every measurement of the machine time its work once instead of several times."""
    monkeypatch.setattr(machine_profile, "N_TIMINGS", 1)
    monkeypatch.setattr(machine_profile, "N_PEAK_TIMINGS", 1)


@pytest.fixture
def config():
    return RunConfig(
        data="openmoji", configuration=CONFIGURATIONS["perceptual"], budget=BUDGETS["demo"]
    )


def test_the_commit_of_a_repository_around_an_installed_wheel_is_not_recorded(
    tmp_path, monkeypatch
):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    repository = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*repository, "init", "--quiet"], check=True)
    subprocess.run([*repository, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
    site_packages = tmp_path / "site-packages"
    site_packages.mkdir()
    commits = {}

    for folder in (tmp_path, site_packages):
        monkeypatch.setattr(execution, "PROJECT_ROOT", folder)
        environment = execution.describe_environment(torch.device("cpu"))
        commits[folder] = environment["git_commit"]

    assert len(commits[tmp_path]) == 40
    assert commits[site_packages] is None


def test_no_setting_is_left_auto(config, settings):
    settings.require_writable_artifacts()

    resolved = execution.resolve(resolve_weights(config, settings), 1656, settings)

    assert "auto" not in resolved.model_dump_json()


def test_a_setting_that_is_not_auto_is_kept(config, settings):
    settings.require_writable_artifacts()
    changes = {
        "precision": "fp32",
        "threads": "1",
        "record_every": "7",
        "ema": "0",
        "device": "cpu",
    }
    threads = torch.get_num_threads()

    resolved = execution.resolve(apply_settings(config, changes), 1656, settings)

    torch.set_num_threads(threads)
    assert resolved.execution.precision == "fp32"
    assert resolved.execution.threads == 1
    assert resolved.execution.record_every == 7
    assert resolved.budget.ema == 0


@pytest.mark.parametrize(("n_train", "half_life"), [(1656, 0.05 * 1648 * 4), (20_000, 2000.0)])
def test_the_half_life_of_the_average_is_5_percent_of_the_run_and_at_most_2000(
    config, settings, n_train, half_life
):
    settings.require_writable_artifacts()

    assert execution.resolve(config, n_train, settings).budget.ema == pytest.approx(half_life)


def test_a_long_run_records_at_most_20_000_steps(config, settings):
    settings.require_writable_artifacts()
    long = apply_settings(config, {"epochs": "500"})

    every = execution.resolve(long, 1656, settings).execution.record_every

    steps = 1656 // 16 * 500
    assert steps / every <= 20_000
    assert steps / (every - 1) > 20_000


def set_measurement(settings, monkeypatch, **measurements):
    """Replaces the measurement of bf16."""
    monkeypatch.setattr(machine_profile, "measure_bf16", lambda: measurements)
    (settings.artifacts / "machine.json").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("ratio", "error", "precision"),
    [(2.0, 0.001, "bf16"), (0.9, 0.001, "fp32"), (2.0, 0.5, "fp32")],
)
def test_bf16_is_used_if_it_is_faster_and_accurate(
    config, settings, monkeypatch, ratio, error, precision
):
    settings.require_writable_artifacts()
    set_measurement(settings, monkeypatch, speed_ratio=ratio, error=error)

    assert execution.resolve(config, 1656, settings).execution.precision == precision


def test_a_machine_is_measured_once(config, settings, monkeypatch):
    settings.require_writable_artifacts()
    first = execution.resolve(config, 1656, settings)

    for name in ("measure_bf16", "measure_threads", "measure_peak_flops"):
        monkeypatch.setattr(machine_profile, name, None)

    assert execution.resolve(config, 1656, settings) == first
    stored = json.loads((settings.artifacts / "machine.json").read_text())
    assert any({"speed_ratio", "error"} == set(measurements) for measurements in stored.values())


@pytest.mark.parametrize(
    ("seconds", "threads"),
    [
        ({"1": 4.0, "2": 2.0, "4": 1.0, "8": 0.5}, 8),
        ({"1": 4.0, "2": 2.0, "4": 1.0, "8": 1.05}, 8),  # Not clearly slower.
        ({"1": 4.0, "2": 2.0, "4": 1.0, "8": 3.0}, 4),
    ],
)
def test_fewer_threads_are_used_if_they_are_clearly_faster(settings, monkeypatch, seconds, threads):
    settings.require_writable_artifacts()
    monkeypatch.setattr(machine_profile, "measure_threads", lambda n_cores: seconds)

    assert machine_profile.fastest_thread_count(8, settings) == threads


def test_every_power_of_two_and_all_threads_are_timed():
    before = torch.get_num_threads()

    measured = machine_profile.measure_threads(3)

    assert set(measured) == {"1", "2", "3"}
    assert all(seconds > 0 for seconds in measured.values())
    assert torch.get_num_threads() == before


def test_runs_on_the_same_cpu_share_its_cores(config, settings, monkeypatch):
    settings.require_writable_artifacts()
    monkeypatch.setattr(processes, "count_cores", lambda: 8)
    monkeypatch.setattr(machine_profile, "measure_threads", lambda n_cores: {str(n_cores): 1.0})

    shared = replace(settings, slots=3)

    assert execution.resolve(config, 1656, shared).execution.threads == 2


@pytest.mark.parametrize(
    ("changes", "keep_maps"),
    [
        ({}, "on"),
        ({"jitter": "2"}, "off"),
        ({"epochs": "3"}, "off"),
        ({"px": "128"}, "off"),  # 1.5 GB of maps.
        ({"perceptual": "0"}, "off"),
    ],
)
def test_target_maps_are_cached_if_they_fit_and_are_used_often(
    config, settings, changes, keep_maps
):
    settings.require_writable_artifacts()
    config = apply_settings(resolve_weights(config, settings), changes)

    assert execution.resolve(config, 1656, settings).execution.keep_maps == keep_maps


@pytest.mark.parametrize("content", ["{bro", "[]", ""])
def test_a_damaged_file_of_measurements_is_replaced(config, settings, content):
    settings.require_writable_artifacts()
    (settings.artifacts / "machine.json").write_text(content)

    execution.resolve(config, 1656, settings)

    assert json.loads((settings.artifacts / "machine.json").read_text())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_this_machine_does_not_have_is_refused():
    with pytest.raises(EngineError, match="'cuda' is not on this machine; there is"):
        execution.choose_device("cuda")
