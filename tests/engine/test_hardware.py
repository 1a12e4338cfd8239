import json

import pytest
import torch

from engine import hardware
from engine.changes import apply_settings
from engine.config import RunConfig
from engine.errors import EngineError
from engine.planning import choose_weights
from engine.presets import BUDGETS, CONFIGURATIONS


@pytest.fixture
def asked():
    return RunConfig(
        data="openmoji", configuration=CONFIGURATIONS["perceptual"], budget=BUDGETS["demo"]
    )


def test_nothing_is_left_auto(asked, settings):
    settings.require_writable_artifacts()

    resolved = hardware.resolve(choose_weights(asked, settings), 1656, settings)

    assert "auto" not in resolved.model_dump_json()


def test_what_was_asked_for_stays(asked, settings):
    settings.require_writable_artifacts()
    wishes = {"precision": "fp32", "threads": "1", "record_every": "7", "ema": "0", "device": "cpu"}
    threads = torch.get_num_threads()

    resolved = hardware.resolve(apply_settings(asked, wishes), 1656, settings)

    torch.set_num_threads(threads)
    assert resolved.execution.precision == "fp32"
    assert resolved.execution.threads == 1
    assert resolved.execution.record_every == 7
    assert resolved.budget.ema == 0


@pytest.mark.parametrize(("n_train", "half_life"), [(1656, 0.05 * 1648 * 4), (20_000, 2000.0)])
def test_the_average_looks_back_5_percent_of_the_run_at_most_2000(
    asked, settings, n_train, half_life
):
    settings.require_writable_artifacts()

    assert hardware.resolve(asked, n_train, settings).budget.ema == pytest.approx(half_life)


def test_a_long_run_records_at_most_20_000_steps(asked, settings):
    settings.require_writable_artifacts()
    long = apply_settings(asked, {"epochs": "500"})

    every = hardware.resolve(long, 1656, settings).execution.record_every

    steps = 1656 // 16 * 500
    assert steps / every <= 20_000
    assert steps / (every - 1) > 20_000


def test_whether_bf16_pays_is_measured_once_per_machine(asked, settings, monkeypatch):
    settings.require_writable_artifacts()
    hardware.resolve(asked, 1656, settings)
    path = settings.artifacts / "machine.json"
    (key,) = json.loads(path.read_text())

    for ratio, precision in ((2.0, "bf16"), (0.9, "fp32")):
        path.write_text(json.dumps({key: {"speed_ratio": ratio, "error": 0.001}}))
        assert hardware.resolve(asked, 1656, settings).execution.precision == precision


@pytest.mark.parametrize("junk", ["{bro", "[]", ""])
def test_measurements_that_cannot_be_read_are_made_anew(asked, settings, junk):
    settings.require_writable_artifacts()
    (settings.artifacts / "machine.json").write_text(junk)

    hardware.resolve(asked, 1656, settings)

    assert json.loads((settings.artifacts / "machine.json").read_text())


def test_bf16_that_is_too_far_off_is_not_used(asked, settings):
    settings.require_writable_artifacts()
    hardware.resolve(asked, 1656, settings)
    path = settings.artifacts / "machine.json"
    (key,) = json.loads(path.read_text())
    path.write_text(json.dumps({key: {"speed_ratio": 2.0, "error": 0.5}}))

    assert hardware.resolve(asked, 1656, settings).execution.precision == "fp32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(EngineError, match="'cuda' is not on this machine; there is"):
        hardware.choose_device("cuda")
