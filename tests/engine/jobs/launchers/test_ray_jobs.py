"""A Ray cluster that does not answer, was restarted, or must not be used with the settings."""

from dataclasses import replace

import pytest

from engine.cli import doctor
from engine.errors import BadInputError
from engine.jobs import reaping, spawn
from engine.jobs.launchers import ray_jobs, select
from engine.jobs.launchers.interface import LauncherUnavailableError
from engine.records.runs import RunState
from engine.store import utc_now
from tests.support.runs import tiny_config

UNREACHABLE = "http://127.0.0.1:9"


@pytest.fixture
def unreachable(settings, monkeypatch):
    """Settings of a cluster that does not answer."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    settings.artifacts.mkdir()
    return replace(settings, launcher="ray", ray_address=UNREACHABLE, ray_gpus=0)


@pytest.mark.parametrize(
    ("changes", "variables", "message"),
    [
        ({"ray_address": "http://head:8265"}, {}, "PostgreSQL"),
        (
            {"ray_address": "http://head:8265", "database_url": "postgresql://x@db/c"},
            {"RAY_AUTH_MODE": "disabled"},
            "Unset RAY_AUTH_MODE",
        ),
        ({"database_url": "postgresql://x:secret@db/c"}, {}, "PGPASSWORD"),
        ({"database_url": "postgresql://x@db/c?password=secret"}, {}, "PGPASSWORD"),
        (
            {"ray_address": "http://head:8265", "database_url": "postgresql://x@127.0.0.1/c"},
            {},
            "must reach the database",
        ),
    ],
)
def test_unusable_settings_of_a_cluster_are_refused_at_once(
    settings, monkeypatch, changes, variables, message
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInputError, match=message):
        select.require_usable_cluster(replace(settings, launcher="ray", **changes))


def test_usable_settings_of_a_cluster_are_accepted(settings, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    select.require_usable_cluster(
        replace(settings, ray_address="https://head", database_url="postgresql://x@db/c")
    )


def test_jobs_stay_in_the_queue_while_the_cluster_does_not_answer(unreachable, store, caplog):
    launcher = ray_jobs.RayLauncher(unreachable)
    store.studies.add("key", "a", [tiny_config()], utc_now())
    job = store.jobs.claim(utc_now())

    assert not launcher.is_ready()
    assert launcher.poll(job) == "unknown"
    launcher.stop(job, by_force=False)
    with pytest.raises(LauncherUnavailableError, match="did not take run 1"):
        launcher.submit(job, None)
    assert caplog.text.count("does not answer") == 1


def test_the_doctor_reports_a_cluster_that_does_not_answer(unreachable, store):
    (check,) = [check for check in doctor.run_checks(unreachable) if check.subject == "Launcher"]

    assert check.state == "broken"
    assert "does not answer; runs wait" in check.detail


def test_a_job_that_the_cluster_lost_before_it_started_is_queued_again(unreachable, store):
    store.studies.add("key", "a", [tiny_config()], utc_now())
    job = store.jobs.claim(utc_now())
    store.jobs.set_process(job, "elsewhere/chromabench-x", utc_now())

    reaping.reap(store, unreachable, utc_now(), {str(job.token): None})
    assert store.runs.read(1).state == RunState.RUNNING  # it waits in the cluster
    reaping.reap(store, unreachable, utc_now(), {str(job.token): ray_jobs.LOST})
    assert store.runs.read(1).state == RunState.QUEUED


def test_a_job_that_failed_in_the_cluster_before_it_started_is_crashed(unreachable, store):
    store.studies.add("key", "a", [tiny_config()], utc_now())
    job = store.jobs.claim(utc_now())
    store.jobs.set_process(job, "elsewhere/chromabench-x", utc_now())

    reaping.reap(store, unreachable, utc_now(), {str(job.token): 1})
    assert store.runs.read(1).reason == "the cluster ended the job before it started; see its log"


def test_a_submitted_job_without_heartbeats_is_lost(unreachable, store):
    store.studies.add("key", "a", [tiny_config()], utc_now())
    job = store.jobs.claim(utc_now())
    store.jobs.set_process(job, "elsewhere/chromabench-x", utc_now())

    reaping.reap(
        store, unreachable, utc_now(), heartbeat_ages_s={str(job.token): reaping.LOST_AFTER_S + 1}
    )
    assert store.runs.read(1).state == RunState.CRASHED


def test_the_environment_that_ray_shows_holds_no_secret(unreachable):
    environment = ray_jobs.RayLauncher(replace(unreachable, server_token="a" * 20))._environment()

    assert environment["CHROMABENCH_ARTIFACTS"] == str(unreachable.artifacts)
    assert "CHROMABENCH_SERVER_TOKEN" not in environment
    assert not [name for name in environment if "TOKEN" in name or "PASSWORD" in name]
