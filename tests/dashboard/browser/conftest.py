"""Fixtures: one browser and one dashboard for all tests, and dashboards of single tests."""

import os
from dataclasses import dataclass

import pytest
from playwright.sync_api import expect, sync_playwright

from engine.jobs import spawn
from engine.records.runs import RunState
from engine.settings import Settings
from engine.store import Store
from engine.system.processes import ProcessId
from tests.dashboard.browser.driver import (
    CHROMIUM,
    FLAGS,
    TIMEOUT_MS,
    VIEWPORT,
    end,
    open_tab,
    start_dashboard,
)
from tests.support.pages import add_study, train
from tests.support.runs import NOW, kill_processes_of

if CHROMIUM is None and not os.environ.get("CHROMABENCH_REQUIRE_BROWSER"):
    collect_ignore_glob = ["test_*.py"]


# The package is the scope, because Playwright runs an event loop in this thread: other tests
# could not run theirs while the browser is open.
@pytest.fixture(scope="package")
def chromium(tmp_path_factory):
    """A browser for all tests; the cache of its profile makes all pages after the first cheap."""
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=CHROMIUM,
            args=FLAGS.split(),
            viewport=VIEWPORT,
        )
        browser.set_default_timeout(TIMEOUT_MS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A tab, which has its own session of the dashboard; all tabs are closed after the test."""
    yield open_tab(chromium)
    for tab in chromium.pages[1:]:  # without the last tab the browser would end
        tab.close()


@dataclass(frozen=True)
class App:
    """A running dashboard.

    Attributes:
        address: its URL.
        settings: its settings.
        store: its store, to which each test adds a study of its own.
    """

    address: str
    settings: Settings
    store: Store


@pytest.fixture(scope="package")
def app(tmp_path_factory):
    """A dashboard for all tests that train nothing: no supervisor starts the queued runs."""
    folder = tmp_path_factory.mktemp("app")
    settings = Settings(f"sqlite:///{folder}/runs.db", folder / "artifacts", slots=1)
    settings.artifacts.mkdir()
    store = Store(settings.database_url)
    with spawn.supervisor_lock(settings):
        server, address = start_dashboard(settings, folder / "server.log")
        yield App(address, settings, store)
        end(server)
    store.close()


@pytest.fixture
def held_job(app):
    """The job of the first of three runs, after two epochs; the test acts as its worker."""
    add_study(app.store, key=f"study {len(app.store.studies.read_all())}")
    job = train(app.store, app.settings, epochs=2)
    app.store.jobs.set_process(job, str(ProcessId.of(os.getpid())), NOW)
    yield job
    end_runs(app.store)


def end_runs(store):
    """Ends all runs, so that the next test claims a run of its own study."""
    for job in store.jobs.read_all(RunState.RUNNING, RunState.STOPPING):
        store.jobs.finish(job, RunState.STOPPED, None, NOW)
    for job in store.jobs.read_all(RunState.QUEUED):
        store.jobs.request_run_stop(job.run_id, NOW)


@pytest.fixture
def app_settings(tiny_settings):
    """The settings of a test's dashboards; processes that they have started are killed after it."""
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
