"""Small real objects for tests: a database in a temporary folder, pairs of 32 px, tiny runs."""

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
from engine.data.sources.registry import parse_source
from engine.overrides import apply_settings
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.settings import Settings
from engine.store import Store
from engine.system import child_environment, processes
from tests.support.mlflow_server import Server
from tests.support.ray_cluster import running_cluster
from tests.support.training_jobs import run_training_job

TIMEOUT_S = 300  # of real processes, which may be slow on a shared machine
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(f"sqlite:///{tmp_path}/runs.db", tmp_path / "artifacts", slots=1)


@pytest.fixture
def store(settings):
    store = Store(settings.database_url)
    yield store
    store.close()


@pytest.fixture(scope="session")
def packed_settings(tmp_path_factory) -> Settings:
    """Settings whose artifacts hold the packed pairs of OpenMoji at 32 px, for all tests."""
    folder = tmp_path_factory.mktemp("packed")
    settings = Settings(f"sqlite:///{folder}/runs.db", folder / "artifacts", slots=1)
    packing.prepare(parse_source("openmoji", settings), 32, settings)
    return settings


@pytest.fixture(scope="session")
def packed(packed_settings):
    return packing.load_packed(parse_source("openmoji", packed_settings), 32, packed_settings)


@pytest.fixture
def tiny_settings(settings, packed_settings):
    """Settings with an empty database that share packed pairs and features of real images."""
    share_prepared_data(packed_settings, settings)
    return settings


def share_prepared_data(packed_settings, settings) -> None:
    """Links the packed pairs and the features of real images, which all tests share."""
    settings.artifacts.mkdir(parents=True)
    for name in ("data_dir", "features_dir"):
        getattr(packed_settings, name).mkdir(exist_ok=True)
        getattr(settings, name).symlink_to(getattr(packed_settings, name))


@dataclass(frozen=True)
class Trained:
    """A trained and evaluated study of two configurations, without metrics of Inception.

    Attributes:
        store: its store, to which tests may add evaluations.
        settings: its settings.
        pristine: a folder with copies of its database and runs, which no test changes.
    """

    store: Store
    settings: Settings
    pristine: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory, packed_settings):
    """A study that is trained once for all tests; they only read it or repeat evaluations."""
    folder = tmp_path_factory.mktemp("trained")
    settings = Settings(f"sqlite:///{folder}/runs.db", folder / "artifacts", slots=1)
    share_prepared_data(packed_settings, settings)
    store = Store(settings.database_url)
    configs = [tiny_config(name, epochs=3, evaluations=2) for name in ("standard", "gan")]
    store.studies.add("key", "two <b>alike</b>", configs, NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder))
        while (job := store.jobs.claim(NOW)) is not None:
            run_training_job(store, settings, job, lambda: False)
    pristine = folder / "pristine"
    shutil.copytree(settings.artifacts / "runs", pristine / "runs")
    store.snapshot(pristine / "runs.db")
    yield Trained(store, settings, pristine)
    store.close()


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
        "threads": "2",
        "channels_last": "off",
        "compile": "off",
        "graph": "off",
        "keep_maps": "off",
        "record_every": "1",
        "ema": "32",
        "perceptual_features": "efficientnet_lite0",
    }
    return apply_settings(config, {**fixed, **changes})


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


@pytest.fixture
def supervise_with():
    """A function that starts a supervisor; all its processes are killed after the test."""
    supervisors = []

    def start(settings, *options):
        command = [sys.executable, "-m", "engine", "supervise", *options]
        log = settings.artifacts / "supervisor.log"
        child = processes.start_detached(
            command, log, child_environment.build_child_environment(settings)
        )
        supervisors.append((child, settings))
        return child

    yield start
    for child, settings in supervisors:
        if child.poll() is None:
            child.kill()
        child.wait()
        kill_processes_of(settings)


def load_pairs(packed, split, count):
    return batches.load_pair_set(packed, split, count, torch.device("cpu"))


@pytest.fixture(scope="session")
def few_pairs(packed):
    return load_pairs(packed, "train", 16)


@pytest.fixture(scope="session")
def few_val_pairs(packed):
    return load_pairs(packed, "val", 8)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """A real MLflow server for the tests."""
    server = Server(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def ray_cluster():
    """A real Ray cluster on this machine, which requires a token."""
    with running_cluster() as cluster:
        yield cluster
