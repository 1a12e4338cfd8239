"""The app with a store of its own per test, in each state that a page can find."""

import functools
import os
import shutil

import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner

from engine.jobs import spawn
from engine.records.runs import RunState
from engine.settings import Settings
from engine.store import Store, database_path
from engine.system.processes import ProcessId
from tests.support.pages import NAMES, add_study, train
from tests.support.runs import NOW


@pytest.fixture(scope="session", autouse=True)
def one_search_for_components():
    """Lets Streamlit search all installed packages for components once, not in every AppTest."""
    with pytest.MonkeyPatch.context() as patch:
        search = functools.cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", search)
        yield


@pytest.fixture
def app_settings(settings, monkeypatch):
    """The settings, set as environment variables of the app; caches of other tests are cleared."""
    settings.artifacts.mkdir(parents=True)
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(settings.artifacts))
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    st.cache_resource.clear()
    return settings


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """A function that returns a folder with a database and artifacts in a state.

    Each state is recorded once for all tests.
    """

    @functools.cache
    def record(state):
        folder = tmp_path_factory.mktemp(state)
        settings = Settings(f"sqlite:///{folder}/runs.db", folder / "artifacts", slots=1)
        settings.artifacts.mkdir()
        store = Store(settings.database_url)
        RECORDERS[state](store, settings)
        store.close()
        return folder

    return record


def record_queued(store, settings):
    add_study(store)


def record_running(store, settings):
    add_study(store)
    job = train(store, settings, epochs=2)
    store.jobs.set_process(job, str(ProcessId.of(os.getpid())), NOW)


def record_finished(store, settings):
    add_study(store)
    for _ in NAMES:
        train(store, settings, 3, RunState.DONE)


def record_failed(store, settings):
    add_study(store, name="![x](http://nowhere/x.png) *loud*")
    train(store, settings, 1, RunState.FAILED, "out of *memory*")
    train(store, settings, 1, RunState.DIVERGED, "diverged: l1 became infinite at step 3")
    train(store, settings, 0, RunState.CRASHED, "killed by the system")


RECORDERS = {
    "queued": record_queued,
    "running": record_running,
    "finished": record_finished,
    "failed": record_failed,
}


@pytest.fixture
def open_copy(app_settings, recorded):
    """A function that opens a store of the test's own in a state."""
    opened = []

    def copy_and_open(state):
        database = database_path(app_settings.database_url)
        shutil.copytree(recorded(state) / "artifacts", app_settings.artifacts, dirs_exist_ok=True)
        shutil.copy(recorded(state) / "runs.db", database)
        opened.append(Store(app_settings.database_url))
        return opened[-1]

    yield copy_and_open
    for store in opened:
        store.close()


@pytest.fixture
def empty(app_settings, store):
    return store


@pytest.fixture
def queued(open_copy):
    return open_copy("queued")


@pytest.fixture
def running(open_copy):
    return open_copy("running")


@pytest.fixture
def finished(open_copy):
    return open_copy("finished")


@pytest.fixture
def failed(open_copy):
    return open_copy("failed")
