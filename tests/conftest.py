"""Small real objects for tests: a database in a temporary folder, pairs of 32 px, tiny runs."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.data import packing
from engine.data.sources.registry import parse_source
from engine.settings import Settings
from engine.store import Store
from engine.system import child_environment, processes
from tests.support.mlflow_server import Server
from tests.support.ray_cluster import running_cluster
from tests.support.runs import (
    NOW,
    kill_processes_of,
    load_pairs,
    share_prepared_data,
    tiny_config,
)
from tests.support.training_jobs import run_training_job


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
