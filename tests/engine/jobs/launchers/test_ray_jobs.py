"""A cluster that is away, began anew, or must not be used as it is."""

from dataclasses import replace

import pytest

from engine.cli import doctor
from engine.errors import BadInputError
from engine.jobs import lifecycle, spawn
from engine.jobs.launchers import ray_jobs
from engine.jobs.launchers.interface import NotNowError
from engine.records.runs import RunState
from engine.store import utc_now
from tests.conftest import tiny_config

AWAY = "http://127.0.0.1:9"


@pytest.fixture
def away(settings, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    monkeypatch.setattr(lifecycle, "ensure_supervisor", lambda settings: None)
    settings.artifacts.mkdir()
    return replace(settings, launcher="ray", ray_address=AWAY, ray_gpus=0)


@pytest.mark.parametrize(
    ("changes", "variables", "said"),
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
            "all of them reach",
        ),
    ],
)
def test_a_cluster_that_would_not_do_is_refused_at_once(
    settings, monkeypatch, changes, variables, said
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInputError, match=said):
        spawn.check_cluster(replace(settings, launcher="ray", **changes))


def test_a_cluster_that_would_do_is_not_refused(settings, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    spawn.check_cluster(
        replace(settings, ray_address="https://head", database_url="postgresql://x@db/c")
    )


def test_without_its_client_that_is_said(settings, monkeypatch):
    monkeypatch.setattr(spawn, "find_spec", lambda name: None)
    with pytest.raises(BadInputError, match="chromabench\\[cluster\\]"):
        spawn.check_cluster(settings)


def test_while_the_cluster_is_away_jobs_stay_in_the_queue(away, store, capsys):
    launcher = ray_jobs.RayLauncher(away)
    store.add_study("key", "a", [tiny_config()], utc_now())
    job = store.claim_job(utc_now())

    assert not launcher.is_ready()
    assert launcher.poll(job) == "unknown"
    launcher.stop(job, by_force=False)
    assert "has no log" in launcher.logs(job)
    with pytest.raises(NotNowError, match="did not take run 1"):
        launcher.submit(job, None)
    assert capsys.readouterr().out.count("does not answer") == 1


def test_the_doctor_says_that_it_is_away(away, store):
    (found,) = [it for it in doctor.examine(away) if it.about == "Launcher"]

    assert found.state == "broken"
    assert "does not answer; runs wait" in found.found


def test_what_a_cluster_lost_before_it_began_waits_again(away, store):
    store.add_study("key", "a", [tiny_config()], utc_now())
    job = store.claim_job(utc_now())
    store.set_process(job, "elsewhere/chromabench-x", utc_now())

    lifecycle.reap(store, utc_now(), {str(job.token): None})
    assert store.read_run(1).state == RunState.RUNNING  # it waits for a machine
    lifecycle.reap(store, utc_now(), {str(job.token): ray_jobs.LOST})
    assert store.read_run(1).state == RunState.QUEUED


def test_what_a_cluster_refused_after_taking_it_is_crashed_with_the_reason(away, store):
    store.add_study("key", "a", [tiny_config()], utc_now())
    job = store.claim_job(utc_now())
    store.set_process(job, "elsewhere/chromabench-x", utc_now())

    lifecycle.reap(store, utc_now(), {str(job.token): 1})
    assert store.read_run(1).reason == "the cluster ended it before it began; its log says why"


def test_what_was_submitted_by_a_supervisor_that_is_silent_is_lost_in_the_end(away, store):
    store.add_study("key", "a", [tiny_config()], utc_now())
    job = store.claim_job(utc_now())
    store.set_process(job, "elsewhere/chromabench-x", utc_now())

    lifecycle.reap(store, utc_now(), unheard_s={str(job.token): lifecycle.UNHEARD_AFTER_S + 1})
    assert store.read_run(1).state == RunState.CRASHED


def test_no_secret_is_in_the_environment_that_ray_shows(away):
    shown = ray_jobs.RayLauncher(replace(away, server_token="a" * 20))._environment()

    assert shown["CHROMABENCH_ARTIFACTS"] == str(away.artifacts)
    assert "CHROMABENCH_SERVER_TOKEN" not in shown
    assert not [name for name in shown if "TOKEN" in name or "PASSWORD" in name]
