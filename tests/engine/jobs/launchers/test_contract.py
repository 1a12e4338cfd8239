"""The contract of all launchers, with real supervisors, workers, kills and clusters."""

import signal
from dataclasses import replace
from functools import partial

import pytest

from engine.data.sources.openmoji import OpenMoji
from engine.jobs import lifecycle, planning, reaping, spawn
from engine.jobs.launchers import select
from engine.jobs.worker_command import job_log_path
from engine.records.runs import RunState
from engine.store import utc_now
from engine.system.files import load_tail
from engine.system.processes import ProcessId
from tests.support.runs import TIMEOUT_S, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(params=["local", "ray"])
def launcher_settings(request, tiny_settings, monkeypatch):
    """Settings that start runs on this machine, or on a Ray cluster."""
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    if request.param == "local":
        return tiny_settings
    cluster = request.getfixturevalue("ray_cluster")
    monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    return replace(tiny_settings, launcher="ray", ray_address=cluster.address, ray_gpus=0)


@pytest.fixture
def supervise(supervise_with, launcher_settings):
    return partial(supervise_with, launcher_settings)


@pytest.fixture
def submit(store, launcher_settings):
    def start(**changes):
        configs = planning.plan_study(
            OpenMoji(), "smoke", ("standard",), 1, changes, launcher_settings
        )
        return lifecycle.submit(store, launcher_settings, configs, "a", "key", utc_now())[1][0]

    return start


def require_each_point_once(store, run_id):
    points = store.curves.read([run_id])
    assert points
    assert len({(point.step, point.name) for point in points}) == len(points)
    steps = sorted(point.step for point in points if point.name == "g_loss")
    assert steps == list(range(1, store.runs.read(run_id).steps + 1))


def finished_run(store):
    """The run once it has ended, else None."""
    run = store.runs.read(1)
    return run if run.state.is_finished() else None


def started_job(store):
    """The running job once its worker has stored its process id and a checkpoint, else None."""
    for job in store.jobs.read_all(RunState.RUNNING):
        if job.process and not reaping.is_submitted(job) and store.checkpoints.read(1):
            return job
    return None


def test_a_run_ends_done_and_its_log_can_be_loaded(store, supervise, submit, launcher_settings):
    submit()
    supervisor = supervise("--drain")
    (job,) = wait_for(lambda: store.jobs.read_all(RunState.RUNNING))

    assert supervisor.wait(timeout=TIMEOUT_S) == 0
    assert store.runs.read(1).state == RunState.DONE
    require_each_point_once(store, 1)
    assert "run 1 done" in load_tail(job_log_path(job, launcher_settings))


def test_a_killed_worker_is_detected_and_resumed_and_no_point_is_stored_twice(
    store, supervise, submit
):
    submit(epochs="40", record_every="1")
    supervisor = supervise("--drain")
    job = wait_for(lambda: started_job(store))

    ProcessId.parse(job.process).kill_tree()

    wait_for(lambda: store.runs.read(1).state == RunState.CRASHED, 30)
    assert "killed by the system" in store.runs.read(1).reason
    assert supervisor.wait(timeout=TIMEOUT_S) == 0
    run = store.runs.read(1)
    assert (run.state, run.attempt) == (RunState.DONE, 2)
    assert store.runs.read_attempts([1])[1].from_step > 0
    require_each_point_once(store, 1)


def test_a_stop_saves_a_checkpoint_from_which_the_run_is_resumed(
    store, supervise, submit, launcher_settings
):
    submit(epochs="60", record_every="1")
    supervise()
    wait_for(lambda: started_job(store))

    lifecycle.cancel(store, launcher_settings, 1, utc_now())

    run = wait_for(lambda: finished_run(store))
    assert run.state == RunState.STOPPED
    assert run.reason.startswith("stopped by the user at epoch")
    saved = store.checkpoints.read(1)[0]
    assert saved.step == run.step > 0
    lifecycle.resume(store, launcher_settings, 1)
    run = wait_for(lambda: finished_run(store))
    assert run.state == RunState.DONE
    assert store.runs.read_attempts([1])[1].from_step == saved.step
    require_each_point_once(store, 1)


def test_a_run_survives_its_supervisor_and_the_next_supervisor_manages_it(store, supervise, submit):
    submit(epochs="40")
    first = supervise()
    job = wait_for(lambda: started_job(store))
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert ProcessId.parse(job.process).is_alive()

    assert supervise("--drain").wait(timeout=TIMEOUT_S) == 0
    run = store.runs.read(1)
    assert (run.state, run.attempt) == (RunState.DONE, 1)
    require_each_point_once(store, 1)


def test_an_attempt_that_is_submitted_twice_starts_once(store, submit, launcher_settings):
    submit(epochs="1")
    launcher = select.select_launchers(launcher_settings)["train"]
    job = store.jobs.claim(utc_now())

    first, second = launcher.submit(job, None), launcher.submit(job, None)

    assert first == second
    wait_for(lambda: launcher.poll(job) not in ("alive", "unknown"))
    assert launcher.poll(job) == 0
    assert store.runs.read(1).state == RunState.DONE
    assert load_tail(job_log_path(job, launcher_settings)).count("run 1 done") == 1
    launcher.forget_ended(set())


def test_a_job_that_was_never_submitted_is_unknown_and_can_be_stopped(
    store, submit, launcher_settings
):
    submit()
    launcher = select.select_launchers(launcher_settings)["train"]
    job = store.jobs.claim(utc_now())

    assert launcher.is_ready()
    assert launcher.poll(job) == "unknown"
    launcher.stop(job, by_force=False)
    launcher.stop(job, by_force=True)
    assert launcher.poll(job) == "unknown"
