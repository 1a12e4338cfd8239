"""Real objects made small: a database in a temporary folder, pairs of 32 px, a tiny budget."""

import shutil
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import torch

from engine.config import RunConfig
from engine.data import batches, packing
from engine.data.sources.registry import read_source
from engine.overrides import apply_settings
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.settings import Settings
from engine.store import Store
from engine.system import child_environment, processes
from engine.workers import train
from tests.support.mlflow_server import Server
from tests.support.ray_cluster import running_cluster

PATIENCE_S = 300  # for what real processes do; machines are shared and slow at times
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(f"sqlite:///{tmp_path}/runs.db", tmp_path / "artifacts", slots=1)


@pytest.fixture
def store(settings):
    opened = Store(settings.database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def packed_settings(tmp_path_factory) -> Settings:
    """Settings whose artifacts hold the embedded pairs at 32 px, drawn once for all tests."""
    folder = tmp_path_factory.mktemp("packed")
    settings = Settings(f"sqlite:///{folder}/runs.db", folder / "artifacts", slots=1)
    packing.prepare(read_source("openmoji", settings), 32, settings)
    return settings


@pytest.fixture(scope="session")
def packed(packed_settings):
    return packing.load_packed(read_source("openmoji", packed_settings), 32, packed_settings)


@pytest.fixture
def tiny_settings(settings, packed_settings):
    """Fresh settings that share the drawn pairs and the features of real pictures."""
    share_what_is_drawn(packed_settings, settings)
    return settings


def share_what_is_drawn(packed_settings, settings) -> None:
    """Packed pairs and the features of real pictures, made once for all tests."""
    settings.artifacts.mkdir(parents=True)
    for shared in ("data_dir", "features_dir"):
        getattr(packed_settings, shared).mkdir(exist_ok=True)
        getattr(settings, shared).symlink_to(getattr(packed_settings, shared))


@dataclass(frozen=True)
class Trained:
    """A study of two configurations, trained and evaluated; no Inception on its machine.

    Attributes:
        pristine: a folder with its database and runs, as no test has added to them.
    """

    store: Store
    settings: Settings
    pristine: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory, packed_settings):
    """Made once for all tests, which only read it, or repeat what is in it."""
    folder = tmp_path_factory.mktemp("trained")
    settings = Settings(f"sqlite:///{folder}/runs.db", folder / "artifacts", slots=1)
    share_what_is_drawn(packed_settings, settings)
    store = Store(settings.database_url)
    configs = [tiny_config(name, epochs=3, evaluations=2) for name in ("standard", "gan")]
    store.add_study("key", "two <b>alike</b>", configs, NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder))
        while (job := store.claim_job(NOW)) is not None:
            train.run_job(store, settings, job, lambda: False)
    pristine = folder / "pristine"
    shutil.copytree(settings.artifacts / "runs", pristine / "runs")
    store.snapshot(pristine / "runs.db")
    yield Trained(store, settings, pristine)
    store.close()


def tiny_config(configuration="standard", seed=0, **changes) -> RunConfig:
    """A run of a second, with nothing left `auto`."""
    config = RunConfig(
        data="openmoji",
        configuration=CONFIGURATIONS[configuration],
        budget=BUDGETS["smoke"],
        seed=seed,
    )
    decided = {
        "device": "cpu",
        "precision": "fp32",
        "threads": "2",
        "channels_last": "off",
        "compile": "off",
        "graph": "off",
        "keep_maps": "off",
        "record_every": "1",
        "ema": "32",
        "perceptual_features": "efficientnet_lite0",
    }
    return apply_settings(config, {**decided, **changes})


def wait_for(condition, patience_s=PATIENCE_S):
    """What the condition gives once it is true."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def end_processes_of(settings):
    """Whatever still runs for an installation, found by its environment, ends."""
    folder = str(settings.artifacts)
    for process in psutil.process_iter():
        try:
            if process.environ().get("CHROMABENCH_ARTIFACTS") == folder:
                process.kill()
        except psutil.Error:
            continue


@pytest.fixture
def supervise_with():
    """Starts supervisors of some settings; what they started ends with the test."""
    started = []

    def start(settings, *options):
        command = [sys.executable, "-m", "engine", "supervise", *options]
        log = settings.artifacts / "supervisor.log"
        child = processes.start_detached(
            command, log, child_environment.worker_environment(settings)
        )
        started.append((child, settings))
        return child

    yield start
    for child, settings in started:
        if child.poll() is None:
            child.kill()
        child.wait()
        end_processes_of(settings)


def load(packed, split, count):
    return batches.load_pairs(packed, split, count, torch.device("cpu"))


@pytest.fixture(scope="session")
def few_pairs(packed):
    return load(packed, "train", 16)


@pytest.fixture(scope="session")
def few_val_pairs(packed):
    return load(packed, "val", 8)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """A real MLflow server of our own."""
    server = Server(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def ray_cluster():
    """A real Ray cluster of our own, on this machine, behind its token."""
    with running_cluster() as cluster:
        yield cluster
