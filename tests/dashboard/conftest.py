"""The app with a store of its own per test, in each state that a page can find."""

import os

import pytest
import streamlit as st

from engine.jobs import spawn
from engine.records.runs import RunState
from engine.system.processes import ProcessId
from tests.support.pages import NAMES, add_study, train
from tests.support.runs import NOW


@pytest.fixture
def app_settings(settings, monkeypatch):
    """The settings, set as environment variables of the app; caches of other tests are cleared."""
    settings.artifacts.mkdir(parents=True)
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(settings.artifacts))
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    st.cache_resource.clear()
    return settings


@pytest.fixture
def empty(app_settings, store):
    return store


@pytest.fixture
def queued(app_settings, store):
    add_study(store)
    return store


@pytest.fixture
def running(app_settings, store):
    add_study(store)
    job = train(store, app_settings, epochs=2)
    store.jobs.set_process(job, str(ProcessId.of(os.getpid())), NOW)
    return store


@pytest.fixture
def finished(app_settings, store):
    add_study(store)
    for _ in NAMES:
        train(store, app_settings, 3, RunState.DONE)
    return store


@pytest.fixture
def failed(app_settings, store):
    add_study(store, name="![x](http://nowhere/x.png) *loud*")
    train(store, app_settings, 1, RunState.FAILED, "out of *memory*")
    train(store, app_settings, 1, RunState.DIVERGED, "diverged: l1 became infinite at step 3")
    train(store, app_settings, 0, RunState.CRASHED, "killed by the system")
    return store
