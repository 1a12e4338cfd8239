"""Fixtures: a dashboard per test, in headless Chromium."""

import os

import pytest
from playwright.sync_api import expect, sync_playwright

from engine.jobs import spawn
from engine.system.processes import ProcessId
from tests.dashboard.browser.driver import (
    CHROMIUM,
    FLAGS,
    TIMEOUT_MS,
    end,
    open_tab,
    start_dashboard,
)
from tests.support.pages import add_study, train
from tests.support.runs import NOW, kill_processes_of

if CHROMIUM is None and not os.environ.get("CHROMABENCH_REQUIRE_BROWSER"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def app_settings(tiny_settings):
    """The settings of the app; processes that the app has started are killed after the test."""
    yield tiny_settings
    kill_processes_of(tiny_settings)


@pytest.fixture
def dashboard(app_settings, tmp_path):
    """A function that starts a dashboard and returns (process, address, log).

    Dashboards that are still running are stopped after the test.
    """
    started = []

    def start():
        log = tmp_path / f"server-{len(started)}.log"
        server, address = start_dashboard(app_settings, log)
        started.append(server)
        return server, address, log

    yield start
    for server in started:
        if server.poll() is None:
            end(server)


@pytest.fixture
def chromium():
    """A browser; each of its contexts has its own session."""
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    return open_tab(chromium)


@pytest.fixture
def no_supervisor(app_settings):
    """Holds the supervisor's lock, so that no supervisor starts and queued runs stay queued."""
    with spawn.supervisor_lock(app_settings):
        yield


@pytest.fixture
def held_job(app_settings, store, no_supervisor):
    """The job of the first of three runs, after two epochs; the test acts as its worker."""
    add_study(store)
    job = train(store, app_settings, epochs=2)
    store.jobs.set_process(job, str(ProcessId.of(os.getpid())), NOW)
    return job
