import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import psutil
import pytest

from engine.jobs import reaping, spawn
from engine.records.runs import RunState
from engine.system.processes import ProcessId
from tests.support.runs import NOW, tiny_config, wait_for

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def claim(store, process):
    """Claims the only job for a process."""
    store.studies.add("key", "a", [tiny_config()], NOW)
    job = store.jobs.claim(NOW)
    store.jobs.set_process(job, str(process), NOW)
    return job


@pytest.fixture
def ended_process():
    child = subprocess.Popen(SLEEP)
    process = ProcessId.of(child.pid)
    child.kill()
    child.wait()
    return process


def test_a_run_whose_process_has_ended_is_crashed(store, settings, ended_process):
    claim(store, ended_process)

    reaping.reap(store, settings, NOW)

    assert store.runs.read(1).state == RunState.CRASHED
    assert "its process disappeared" in store.runs.read(1).reason


@pytest.mark.parametrize(
    ("returncode", "reason"),
    [(-9, "probably out of memory"), (-11, "ended by signal 11"), (3, "ended with code 3")],
)
def test_the_reason_tells_how_the_process_ended(store, settings, ended_process, returncode, reason):
    job = claim(store, ended_process)

    reaping.reap(store, settings, NOW, {job.token: returncode})

    assert reason in store.runs.read(1).reason


def test_an_ended_child_is_reaped_once_its_parent_knows_the_return_code(
    store, settings, ended_process
):
    job = claim(store, ended_process)

    reaping.reap(store, settings, NOW, {job.token: None})
    assert store.runs.read(1).state == RunState.RUNNING

    reaping.reap(store, settings, NOW, {job.token: -9})
    assert "probably out of memory" in store.runs.read(1).reason


def test_a_run_that_ends_after_a_stop_request_is_stopped(store, settings, ended_process):
    claim(store, ended_process)
    store.jobs.request_run_stop(1, NOW)

    reaping.reap(store, settings, NOW)

    assert store.runs.read(1).state == RunState.STOPPED


def test_the_run_of_a_living_process_is_not_reaped(store, settings):
    child = subprocess.Popen(SLEEP)
    claim(store, ProcessId.of(child.pid))

    reaping.reap(store, settings, NOW + timedelta(days=1))

    assert store.runs.read(1).state == RunState.RUNNING
    child.kill()
    child.wait()


def test_a_process_on_another_host_is_judged_by_its_heartbeat_alone(store, settings):
    job = claim(store, "another-host/boot/1/1")

    reaping.reap(store, settings, NOW + timedelta(days=1), heartbeat_ages_s={job.token: 240.0})
    assert store.runs.read(1).state == RunState.RUNNING

    reaping.reap(store, settings, NOW, heartbeat_ages_s={job.token: 301.0})
    assert store.runs.read(1).state == RunState.CRASHED


def test_the_age_of_a_heartbeat_is_measured_from_its_last_change(store, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(reaping.time, "monotonic", lambda: clock[0])
    job, heartbeats = claim(store, "another-host/boot/1/1"), reaping.Heartbeats()
    assert heartbeats.seconds_unchanged(job) == 0.0

    heartbeats.observe(job)
    clock[0] += 10
    heartbeats.observe(job)
    assert heartbeats.seconds_unchanged(job) == 10.0

    heartbeats.observe(replace(job, heartbeat_at=NOW - timedelta(days=1)))
    assert heartbeats.seconds_unchanged(job) == 0.0


@pytest.mark.parametrize("end", ["crash", "release"])
def test_a_stop_request_just_before_the_end_of_a_job_is_obeyed(store, end):
    job = claim(store, "host/boot/1/1")
    store.jobs.request_run_stop(1, NOW)  # after the job was read as running

    if end == "crash":
        store.jobs.finish(job, RunState.CRASHED, "killed", NOW, may_retry=True)
    else:
        store.jobs.release(job, "lost", NOW)

    run = store.runs.read(1)
    assert (run.state, run.will_retry) == (RunState.STOPPED, False)
    assert run.reason.startswith("stopped by the user")


def test_the_run_of_a_zombie_is_crashed(store, settings):
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = ProcessId.of(child.pid)
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    claim(store, process)

    reaping.reap(store, settings, NOW)

    assert store.runs.read(1).state == RunState.CRASHED
    child.wait()


def test_a_run_whose_pid_was_reused_is_crashed(store, settings):
    process = ProcessId.of(os.getpid())
    claim(store, replace(process, start=process.start - 1))

    reaping.reap(store, settings, NOW)

    assert store.runs.read(1).state == RunState.CRASHED


def test_a_claim_is_queued_again_if_its_supervisor_died_before_the_worker_started(
    store, settings, ended_process
):
    job = claim(store, replace(ended_process, role=reaping.CLAIMING))

    reaping.reap(store, settings, NOW)

    assert store.runs.read(1).state == RunState.QUEUED
    second = store.jobs.claim(NOW)
    assert (second.id, second.attempt) == (job.id, 2)
    first, second_attempt = store.runs.read_attempts([1])
    assert (first.state, second_attempt.state) == (RunState.CRASHED, None)
    assert first.reason == "its supervisor ended before the worker started"


def test_a_submission_that_the_cluster_lost_is_queued_again_with_this_reason(store, settings):
    job = claim(store, ProcessId.submitted("chromabench-1"))

    reaping.reap(store, settings, NOW, {job.token: reaping.SIGKILLED})

    (attempt,) = store.runs.read_attempts([1])
    assert store.runs.read(1).state == RunState.QUEUED
    assert attempt.reason == "the cluster lost the job before its worker started"


def test_a_claim_of_a_living_supervisor_never_expires(store, settings):
    claim(store, ProcessId.of(os.getpid(), reaping.CLAIMING))

    reaping.reap(store, settings, NOW + timedelta(days=1))

    assert store.runs.read(1).state == RunState.RUNNING


def test_a_reader_starts_a_supervisor_only_if_jobs_are_unfinished(store, settings, monkeypatch):
    started = []
    monkeypatch.setattr(spawn, "ensure_supervisor", started.append)
    settings.require_writable_artifacts()
    reaping.reap_if_unsupervised(store, settings, NOW)
    assert started == []

    store.studies.add("key", "a", [tiny_config()], NOW)
    reaping.reap_if_unsupervised(store, settings, NOW)

    assert started == [settings]


def test_a_reader_starts_a_supervisor_for_an_export_that_is_due(store, settings, monkeypatch):
    started = []
    monkeypatch.setattr(spawn, "ensure_supervisor", started.append)
    settings.require_writable_artifacts()
    store.studies.add("key", "a", [tiny_config()], NOW)
    store.jobs.request_run_stop(1, NOW)
    reaping.reap_if_unsupervised(store, settings, NOW)
    assert started == []

    store.exports.request(1, "http://127.0.0.1:9", NOW)
    reaping.reap_if_unsupervised(store, settings, NOW)

    assert started == [settings]


def test_a_reader_reaps_only_if_no_supervisor_is_running(
    store, settings, ended_process, monkeypatch
):
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    settings.require_writable_artifacts()
    claim(store, ended_process)

    with spawn.supervisor_lock(settings).acquire():
        reaping.reap_if_unsupervised(store, settings, NOW)
        assert store.runs.read(1).state == RunState.RUNNING

    reaping.reap_if_unsupervised(store, settings, NOW)
    assert store.runs.read(1).state == RunState.CRASHED
