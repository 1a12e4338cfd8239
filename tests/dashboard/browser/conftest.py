"""A dashboard of the test's own, in headless Chromium."""

import os

import pytest
from playwright.sync_api import expect, sync_playwright

from engine.jobs import spawn
from engine.system import processes
from tests.conftest import NOW, end_processes_of
from tests.dashboard.browser.driver import CHROMIUM, FLAGS, PATIENCE_MS, end, start_dashboard
from tests.dashboard.conftest import add_study, train

if CHROMIUM is None and not os.environ.get("CHROMABENCH_REQUIRE_BROWSER"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def app_settings(tiny_settings):
    """The settings of the app; whatever the app started is ended with the test."""
    yield tiny_settings
    end_processes_of(tiny_settings)


@pytest.fixture
def dashboard(app_settings, tmp_path):
    """Starts dashboards: -> (process, address, log). Those still open end with the test."""
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
    """A browser; each of its contexts is as somebody else's."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


def open_tab(chromium):
    """A page of a person of their own."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(PATIENCE_MS)
    return context.new_page()


@pytest.fixture
def page(chromium):
    return open_tab(chromium)


@pytest.fixture
def nobody_supervises(app_settings):
    """Queued runs stay queued: somebody else seems to look after them."""
    with spawn.supervisor_lock(app_settings):
        yield


@pytest.fixture
def held_job(app_settings, store, nobody_supervises):
    """The first of three runs, at work after two epochs: the test is its worker."""
    add_study(store)
    job = train(store, app_settings, epochs=2)
    store.set_process(job, processes.identify(os.getpid()), NOW)
    return job
