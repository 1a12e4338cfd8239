"""Tiny runs, waiting, and the data that all tests share."""

import shutil
import time
from datetime import UTC, datetime

import psutil
import torch

from engine.config import RunConfig, change
from engine.data import batches, packing
from engine.data.sources.registry import parse_source
from engine.overrides import apply_settings
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.training import execution

TIMEOUT_S = 300  # of real processes, which may be slow on a shared machine


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def prepare_data(settings) -> None:
    """Packs the pairs and measures the machine, which all runs of the tests need."""
    packing.prepare(parse_source("openmoji", settings), 32, settings)
    config = RunConfig(
        data="openmoji", configuration=CONFIGURATIONS["standard"], budget=BUDGETS["smoke"]
    )
    execution.resolve(config, 64, settings)


def share_prepared_data(packed_settings, settings) -> None:
    """Links the packed pairs and the features of real images, which all tests share.

    The measurements of the machine are copied.
    """
    settings.artifacts.mkdir(parents=True)
    shutil.copy(packed_settings.artifacts / "machine.json", settings.artifacts)
    for name in ("data_dir", "features_dir"):
        getattr(packed_settings, name).mkdir(exist_ok=True)
        getattr(settings, name).symlink_to(getattr(packed_settings, name))


def tiny_config(configuration="standard", seed=0, **changes) -> RunConfig:
    """The config of a run that takes about a second, without any `auto`."""
    config = RunConfig(
        data="openmoji",
        configuration=CONFIGURATIONS[configuration],
        budget=BUDGETS["smoke"],
        seed=seed,
    )
    fixed = {
        "device": "cpu",
        "precision": "fp32",
        "threads": "1",
        "channels_last": "off",
        "compile": "off",
        "graph": "off",
        "keep_maps": "off",
        "record_every": "1",
        "ema": "32",
        "perceptual_features": "efficientnet_lite0",
    }
    return apply_settings(config, {**fixed, **changes})


def palette_config(seed=0, **changes) -> RunConfig:
    """The config of a run like that of `tiny_config`, whose generator has a palette and regions."""
    palette = {
        "name": "palette",
        "recipe": {"terms": [{"name": "palette", "weight": 1}, {"name": "l1", "weight": 2}]},
        "output": "palette",
        "n_colours": 8,
        "regions": True,
        "lr_g": 1e-3,
        "decoding": "median:1+flat",
    }
    config = tiny_config(seed=seed, **{"epochs": 2, **changes})
    configuration = change(config.configuration, palette)
    return config.model_copy(update={"configuration": configuration})


def wait_for(condition, timeout_s=TIMEOUT_S):
    """Waits until a condition is true, and returns its result."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.1)
    raise AssertionError(f"the condition did not become true within {timeout_s} s")


def kill_processes_of(settings):
    """Kills all processes whose environment names the artifacts folder of an installation."""
    folder = str(settings.artifacts)
    for process in psutil.process_iter():
        try:
            if process.environ().get("CHROMABENCH_ARTIFACTS") == folder:
                process.kill()
        except psutil.Error:
            continue


def load_pairs(packed, split, count):
    return batches.load_pair_set(packed, split, count, torch.device("cpu"))
