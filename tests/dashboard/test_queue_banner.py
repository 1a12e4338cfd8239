"""A page opens although queued jobs cannot run, and shows the reason in a banner."""

import os
from dataclasses import replace

import pytest

from engine.jobs import spawn
from engine.records.runs import RunState
from engine.system.processes import ProcessId
from tests.support.pages import PAGES, open_page, texts
from tests.support.runs import NOW, kill_processes_of

ensure_supervisor = spawn.ensure_supervisor  # before the fixture of the app replaces it


@pytest.fixture
def with_supervisors(queued, app_settings, monkeypatch):
    """A store with queued runs, and an app that can start supervisors, which are killed later."""
    monkeypatch.setattr(spawn, "ensure_supervisor", ensure_supervisor)
    yield queued
    kill_processes_of(app_settings)


@pytest.fixture
def read_only_artifacts(with_supervisors, app_settings):
    app_settings.artifacts.chmod(0o555)
    yield f"The artifacts folder {app_settings.artifacts} cannot be written"
    app_settings.artifacts.chmod(0o755)


@pytest.fixture
def broken_cluster(with_supervisors, monkeypatch):
    monkeypatch.setenv("CHROMABENCH_LAUNCHER", "ray")
    monkeypatch.setenv("CHROMABENCH_RAY_ADDRESS", "http://cluster.invalid:8265")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    return "The Ray cluster at http://cluster.invalid:8265 is used only with its token"


@pytest.mark.parametrize("obstacle", ["read_only_artifacts", "broken_cluster"])
@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_with_a_banner_if_no_supervisor_can_start(request, name, obstacle):
    reason = request.getfixturevalue(obstacle)

    app = open_page(name)

    assert not app.exception
    assert app.title[0].value.lower() == name
    (banner,) = [warning.value for warning in app.warning if "do not run" in warning.value]
    assert reason in banner.replace("\\", "")


@pytest.mark.parametrize("name", ["overview", "live", "run"])
def test_the_banner_disappears_when_a_supervisor_can_start_again(
    request, name, app_settings, monkeypatch
):
    request.getfixturevalue("read_only_artifacts")
    app = open_page(name)
    app_settings.artifacts.chmod(0o755)
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)

    app.run()

    assert not app.exception
    assert "do not run" not in texts(app)


def test_no_page_has_a_banner_if_no_job_is_unfinished(finished, app_settings):
    app_settings.artifacts.chmod(0o555)
    try:
        shown = texts(open_page("overview"))
    finally:
        app_settings.artifacts.chmod(0o755)

    assert "do not run" not in shown


def test_artifacts_of_another_database_are_named_in_the_banner(with_supervisors, app_settings):
    (app_settings.artifacts / "installation").write_text("another")

    shown = texts(open_page("overview")).replace("\\", "")

    assert "belongs to another database (another," in shown
    assert not (app_settings.artifacts / "supervisor.log").exists()


@pytest.mark.parametrize("name", PAGES)
def test_every_page_ends_runs_whose_process_was_lost(running, name):
    lost = replace(ProcessId.of(os.getpid()), start=1)
    running.jobs.set_process(running.jobs.read(1), str(lost), NOW)

    open_page(name)

    assert running.runs.read(1).state == RunState.CRASHED
