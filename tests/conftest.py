"""Small real objects for tests: a database in a temporary folder, pairs of 32 px, tiny runs."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from engine.config import RunConfig
from engine.data import packing
from engine.data.sources.registry import parse_source
from engine.environment import FILE_VARIABLE
from engine.settings import Settings
from engine.store import Store, database_path
from engine.system import child_environment, processes
from tests.support.mlflow_server import Server
from tests.support.ray_cluster import running_cluster
from tests.support.runs import (
    NOW,
    kill_processes_of,
    load_pairs,
    palette_config,
    prepare_data,
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


@pytest.fixture(scope="session", autouse=True)
def no_env_file():
    """Keeps the developer's own `.env` file away from all tests and their child processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FILE_VARIABLE, os.devnull)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    """Limits torch to one thread, because several test processes share the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Path:
    """A folder that all processes of a test session share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@contextmanager
def only_process(folder: Path) -> Iterator[bool]:
    """Lets one test process at a time in; yields whether the folder is to be prepared."""
    with FileLock(f"{folder}.lock"):
        marker = folder / "complete"
        yield not marker.exists()
        marker.touch()


@pytest.fixture(scope="session")
def packed_settings(shared_folder) -> Settings:
    """Settings whose artifacts hold the packed pairs of OpenMoji at 32 px, for all tests."""
    folder = shared_folder / "packed"
    settings = Settings(f"sqlite:///{folder}/runs.db", folder / "artifacts", slots=1)
    with only_process(folder) as must_prepare:
        if must_prepare:
            prepare_data(settings)
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
def pristine(shared_folder, packed_settings) -> Path:
    """A folder with the database and the runs of a study that is trained once for all tests."""
    folder = shared_folder / "pristine"
    with only_process(folder) as must_prepare:
        if must_prepare:
            configs = [tiny_config(name, epochs=3, evaluations=2) for name in ("standard", "gan")]
            train_study(folder, packed_settings, "two <b>alike</b>", configs)
    return folder


@pytest.fixture(scope="session")
def pristine_palettes(shared_folder, packed_settings) -> Path:
    """A folder like `pristine` with two seeds of a configuration that has a palette."""
    folder = shared_folder / "pristine_palettes"
    with only_process(folder) as must_prepare:
        if must_prepare:
            configs = [palette_config(seed, evaluations=2) for seed in range(2)]
            train_study(folder, packed_settings, "palettes", configs)
    return folder


@pytest.fixture
def palettes(tiny_settings, pristine_palettes):
    """A store with a copy of the trained study of `pristine_palettes`, which a test may change."""
    shutil.copytree(pristine_palettes / "runs", tiny_settings.artifacts / "runs")
    shutil.copy(pristine_palettes / "runs.db", database_path(tiny_settings.database_url))
    store = Store(tiny_settings.database_url)
    yield store
    store.close()


def train_study(
    folder: Path, packed_settings: Settings, name: str, configs: Sequence[RunConfig]
) -> None:
    """Trains the runs of a study and stores the database and the runs in a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    settings = Settings(f"sqlite:///{folder}/training.db", folder / "artifacts", slots=1)
    share_prepared_data(packed_settings, settings)
    store = Store(settings.database_url)
    store.studies.add("key", name, configs, NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder))
        while (job := store.jobs.claim(NOW)) is not None:
            run_training_job(store, settings, job, lambda: False)
    shutil.copytree(settings.artifacts / "runs", folder / "runs")
    store.snapshot(folder / "runs.db")
    store.close()


@pytest.fixture(scope="session")
def trained(tmp_path_factory, pristine, packed_settings):
    """A study that is trained once for all tests; they only read it or repeat evaluations."""
    folder = tmp_path_factory.mktemp("trained")
    settings = Settings(f"sqlite:///{folder}/runs.db", folder / "artifacts", slots=1)
    share_prepared_data(packed_settings, settings)
    shutil.copytree(pristine / "runs", settings.artifacts / "runs")
    shutil.copy(pristine / "runs.db", folder)
    store = Store(settings.database_url)
    yield Trained(store, settings, pristine)
    store.close()


@pytest.fixture
def trained_copy(tiny_settings, pristine):
    """A store with a copy of the trained study, which the test may change."""
    shutil.copytree(pristine / "runs", tiny_settings.artifacts / "runs")
    shutil.copy(pristine / "runs.db", database_path(tiny_settings.database_url))
    store = Store(tiny_settings.database_url)
    yield store
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


@pytest.fixture
def mlflow_folder(tmp_path, monkeypatch):
    """The address of a folder to which MLflow's client writes without a server."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return f"file://{tmp_path}/mlflow"


@pytest.fixture(scope="session")
def ray_cluster():
    """A real Ray cluster on this machine, which requires a token."""
    with running_cluster() as cluster:
        yield cluster
