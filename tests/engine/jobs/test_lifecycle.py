import os
import subprocess
import sys
from datetime import timedelta

import psutil
import pytest

from engine.data.sources.registry import read_source
from engine.errors import BadInputError, EngineError
from engine.jobs import lifecycle, planning, spawn
from engine.presets import DEFAULT_CONFIGURATIONS
from engine.records.runs import RunState
from engine.system import processes
from tests.conftest import NOW, tiny_config, wait_for


def plan(settings, **changes):
    asked = {
        "data": "openmoji",
        "budget": "smoke",
        "configurations": DEFAULT_CONFIGURATIONS,
        "seeds": 1,
        "changes": {},
        **changes,
    }
    source = read_source(asked.pop("data"), settings)
    return planning.plan_study(source, **asked, settings=settings)


@pytest.fixture
def nobody_starts(monkeypatch):
    """No supervisor is started; the test plays its part."""
    monkeypatch.setattr(lifecycle, "ensure_supervisor", lambda settings: None)


def test_a_plan_has_a_run_for_each_configuration_and_seed(settings):
    configs = plan(settings, seeds=2)

    assert [config.label for config in configs] == [
        f"{name}, seed {seed}" for name in DEFAULT_CONFIGURATIONS for seed in (0, 1)
    ]


def test_the_perceptual_network_is_chosen_before_the_start(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    configs = plan(settings, configurations=["perceptual"])

    assert configs[0].execution.perceptual_features == "efficientnet_lite0"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data": "nowhere"}, "no data source 'nowhere'"),
        ({"budget": "huge"}, "no budget 'huge'"),
        ({"configurations": []}, "at least one configuration"),
        ({"configurations": ["best"]}, "no configuration 'best'"),
        ({"seeds": 0}, "seeds must be from 1 to 100, not 0"),
        ({"changes": {"batch": "65"}}, "batch must be at most 64"),
        ({"changes": {"jitter": "32"}}, r"jitter must be less than px \(32\)"),
        ({"changes": {"lr_g": "nan"}}, "lr_g cannot be 'nan'"),
    ],
)
def test_a_bad_plan_is_refused_in_a_sentence(settings, changes, sentence):
    with pytest.raises(BadInputError, match=sentence):
        plan(settings, **changes)

    assert not settings.artifacts.exists()


def test_compiling_without_a_compiler_is_refused_with_the_way_out(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BadInputError, match="needs a C compiler and there is none"):
        plan(settings, changes={"compile": "on"})


@pytest.mark.parametrize("name", ["", "   ", "a" * 121, "two\nlines", "bell\a"])
def test_a_name_that_is_no_name_is_refused(name):
    with pytest.raises(BadInputError, match="printable"):
        planning.check_name(name)


def test_start_pressed_twice_starts_once(store, settings, nobody_starts):
    configs = plan(settings)

    first = lifecycle.submit(store, settings, configs, "a", "key", NOW)
    second = lifecycle.submit(store, settings, configs, "a", "key", NOW)

    assert first == second
    assert len(store.read_runs()) == 3


def test_nothing_is_queued_when_the_artifacts_cannot_be_written(store, settings, nobody_starts):
    settings.artifacts.mkdir(mode=0o555)

    with pytest.raises(EngineError, match="cannot be written"):
        lifecycle.submit(store, settings, plan(settings), "a", "key", NOW)

    assert store.read_studies() == []


def test_a_run_that_has_ended_cannot_be_cancelled(store, settings, nobody_starts):
    lifecycle.submit(store, settings, plan(settings), "a", "key", NOW)
    lifecycle.cancel(store, settings, 1, NOW)

    with pytest.raises(BadInputError, match="stopped already"):
        lifecycle.cancel(store, settings, 1, NOW)


def claimed(store, process):
    store.add_study("key", "a", [tiny_config()], NOW)
    job = store.claim_job(NOW)
    if process:
        store.set_process(job, process, NOW)
    return job


@pytest.fixture
def ended_process():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    identity = processes.identify(child.pid)
    child.kill()
    child.wait()
    return identity


def test_a_run_whose_process_is_gone_is_crashed(store, ended_process):
    claimed(store, ended_process)

    lifecycle.reap(store, NOW)

    assert store.read_run(1).state == RunState.CRASHED
    assert "its process is gone" in store.read_run(1).reason


@pytest.mark.parametrize(
    ("returncode", "reason"),
    [(-9, "probably out of memory"), (-11, "ended by signal 11"), (3, "ended with code 3")],
)
def test_the_reason_says_how_the_process_ended(store, ended_process, returncode, reason):
    job = claimed(store, ended_process)

    lifecycle.reap(store, NOW, {job.token: returncode})

    assert reason in store.read_run(1).reason


def test_a_dead_child_is_judged_by_its_parent_once_that_knows_how_it_ended(store, ended_process):
    job = claimed(store, ended_process)

    lifecycle.reap(store, NOW, {job.token: None})
    assert store.read_run(1).state == RunState.RUNNING

    lifecycle.reap(store, NOW, {job.token: -9})
    assert "probably out of memory" in store.read_run(1).reason


def test_a_run_that_was_asked_to_stop_and_is_gone_has_stopped(store, ended_process):
    claimed(store, ended_process)
    store.request_stop(1, NOW)

    lifecycle.reap(store, NOW)

    assert store.read_run(1).state == RunState.STOPPED


def test_a_living_process_is_left_alone(store):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    claimed(store, processes.identify(child.pid))

    lifecycle.reap(store, NOW + timedelta(days=1))

    assert store.read_run(1).state == RunState.RUNNING
    child.kill()
    child.wait()


def test_a_process_on_another_host_is_judged_by_its_heartbeat_alone(store):
    job = claimed(store, "another-host/boot/1/1")

    lifecycle.reap(store, NOW + timedelta(days=1), unheard_s={job.token: 240.0})
    assert store.read_run(1).state == RunState.RUNNING

    lifecycle.reap(store, NOW, unheard_s={job.token: 301.0})
    assert store.read_run(1).state == RunState.CRASHED


@pytest.mark.parametrize("end", ["crash", "give_back"])
def test_a_wish_to_stop_that_comes_last_is_not_lost(store, end):
    job = claimed(store, "host/boot/1/1")
    store.request_stop(1, NOW)  # after somebody has read the job as running

    if end == "crash":
        store.finish_job(job, RunState.CRASHED, "killed", NOW, may_retry=True)
    else:
        store.give_back(job, NOW)

    run = store.read_run(1)
    assert (run.state, run.will_retry) == (RunState.STOPPED, False)
    assert run.reason.startswith("stopped by the user")


def test_a_zombie_is_dead(store):
    child = subprocess.Popen([sys.executable, "-c", ""])
    identity = processes.identify(child.pid)
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    claimed(store, identity)

    lifecycle.reap(store, NOW)

    assert store.read_run(1).state == RunState.CRASHED
    child.wait()


def test_a_pid_that_belongs_to_another_process_by_now_is_no_life(store):
    *before, start = processes.identify(os.getpid()).split("/")
    claimed(store, "/".join([*before, str(int(start) - 1)]))

    lifecycle.reap(store, NOW)

    assert store.read_run(1).state == RunState.CRASHED


def test_a_claim_whose_supervisor_died_before_the_worker_began_waits_again(store, ended_process):
    job = claimed(store, f"{ended_process}/{lifecycle.CLAIMING}")

    lifecycle.reap(store, NOW)

    assert store.read_run(1).state == RunState.QUEUED
    again = store.claim_job(NOW)
    assert (again.id, again.attempt) == (job.id, 2)
    assert [it.state for it in store.read_attempts([1])] == [RunState.CRASHED, None]


def test_the_clock_does_not_kill_a_claim(store):
    claimed(store, processes.identify(os.getpid(), lifecycle.CLAIMING))

    lifecycle.reap(store, NOW + timedelta(days=1))

    assert store.read_run(1).state == RunState.RUNNING


def test_a_reader_starts_a_supervisor_for_what_waits_in_vain(store, settings, monkeypatch):
    started = []
    monkeypatch.setattr(lifecycle, "ensure_supervisor", started.append)
    settings.require_writable_artifacts()
    lifecycle.attend(store, settings, NOW)
    assert started == []

    store.add_study("key", "a", [tiny_config()], NOW)
    lifecycle.attend(store, settings, NOW)

    assert started == [settings]


def test_a_reader_reaps_only_when_no_supervisor_lives(
    store, settings, ended_process, nobody_starts
):
    settings.require_writable_artifacts()
    claimed(store, ended_process)

    with spawn.supervisor_lock(settings).acquire():
        lifecycle.attend(store, settings, NOW)
        assert store.read_run(1).state == RunState.RUNNING

    lifecycle.attend(store, settings, NOW)
    assert store.read_run(1).state == RunState.CRASHED
