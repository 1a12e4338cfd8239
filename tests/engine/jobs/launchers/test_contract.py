"""What holds of runs wherever they are started: real supervisors, workers, kills, clusters."""

import signal
from dataclasses import replace
from functools import partial

import pytest

from engine.data.sources.openmoji import OpenMoji
from engine.jobs import lifecycle, planning, spawn
from engine.jobs.launchers import select
from engine.records.runs import RunState
from engine.store import utc_now
from engine.system import processes
from tests.conftest import PATIENCE_S, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(params=["local", "ray"])
def settings_there(request, tiny_settings, monkeypatch):
    """Settings that start runs here, or on a cluster."""
    monkeypatch.setattr(lifecycle, "ensure_supervisor", lambda settings: None)
    if request.param == "local":
        return tiny_settings
    cluster = request.getfixturevalue("ray_cluster")
    monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    return replace(tiny_settings, launcher="ray", ray_address=cluster.address, ray_gpus=0)


@pytest.fixture
def supervise(supervise_with, settings_there):
    return partial(supervise_with, settings_there)


@pytest.fixture
def submit(store, settings_there):
    def start(**changes):
        configs = planning.plan_study(
            OpenMoji(), "smoke", ("standard",), 1, changes, settings_there
        )
        return lifecycle.submit(store, settings_there, configs, "a", "key", utc_now())[1][0]

    return start


def require_each_point_once(store, run_id):
    points = store.read_metrics([run_id])
    assert points
    assert len({(it.step, it.name) for it in points}) == len(points)
    losses = sorted(it.step for it in points if it.name == "g_loss")
    assert losses == list(range(1, store.read_run(run_id).steps + 1))


def working(store):
    """The job, once its process is known by its own word."""
    found = store.read_jobs(RunState.RUNNING)
    is_known = found and found[0].process and not processes.is_submitted(found[0].process)
    return found[0] if is_known and store.read_checkpoints(1) else None


def test_a_run_ends_done_and_its_log_can_be_read(store, supervise, submit, settings_there):
    submit()
    supervisor = supervise("--drain")
    job = wait_for(lambda: (found := store.read_jobs(RunState.RUNNING)) and found[0])

    assert supervisor.wait(timeout=PATIENCE_S) == 0
    assert store.read_run(1).state == RunState.DONE
    require_each_point_once(store, 1)
    launcher = select.choose(settings_there)["train"]
    assert "run 1 done" in launcher.logs(job)


def test_a_killed_worker_is_noticed_and_resumed_and_no_point_doubles(store, supervise, submit):
    submit(epochs="40", record_every="1")
    supervisor = supervise("--drain")
    job = wait_for(lambda: working(store))

    processes.kill_tree(job.process)

    wait_for(lambda: store.read_run(1).state == RunState.CRASHED, 30)
    assert "killed by the system" in store.read_run(1).reason
    assert supervisor.wait(timeout=PATIENCE_S) == 0
    run = store.read_run(1)
    assert (run.state, run.attempt) == (RunState.DONE, 2)
    assert store.read_attempts([1])[1].from_step > 0
    require_each_point_once(store, 1)


def test_a_stop_saves_and_a_resubmission_goes_on_from_there(
    store, supervise, submit, settings_there
):
    submit(epochs="60", record_every="1")
    supervise()
    wait_for(lambda: working(store))

    lifecycle.cancel(store, settings_there, 1, utc_now())

    run = wait_for(lambda: (found := store.read_run(1)).state.is_finished() and found)
    assert run.state == RunState.STOPPED
    assert run.reason.startswith("stopped by the user at epoch")
    saved = store.read_checkpoints(1)[0]
    assert saved.step == run.step > 0
    lifecycle.resume(store, settings_there, 1, utc_now())
    run = wait_for(lambda: (found := store.read_run(1)).state.is_finished() and found)
    assert run.state == RunState.DONE
    assert store.read_attempts([1])[1].from_step == saved.step
    require_each_point_once(store, 1)


def test_a_run_outlives_its_supervisor_and_the_next_one_finds_it(store, supervise, submit):
    submit(epochs="40")
    first = supervise()
    job = wait_for(lambda: working(store))
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert processes.is_alive(job.process)

    assert supervise("--drain").wait(timeout=PATIENCE_S) == 0
    run = store.read_run(1)
    assert (run.state, run.attempt) == (RunState.DONE, 1)
    require_each_point_once(store, 1)


def test_an_attempt_that_is_submitted_twice_starts_once(store, submit, settings_there):
    submit(epochs="1")
    launcher = select.choose(settings_there)["train"]
    job = store.claim_job(utc_now())

    first, second = launcher.submit(job, None), launcher.submit(job, None)

    assert first == second
    standing = wait_for(lambda: (it := launcher.poll(job)) not in ("alive", "unknown") and [it])
    assert standing == [0]
    assert store.read_run(1).state == RunState.DONE
    assert spawn.log_tail(job, settings_there).count("run 1 done") == 1
    launcher.tidy(set())


def test_what_was_never_submitted_is_unknown_and_can_be_stopped_without_harm(
    store, submit, settings_there
):
    submit()
    launcher = select.choose(settings_there)["train"]
    job = store.claim_job(utc_now())

    assert launcher.is_ready()
    assert launcher.poll(job) == "unknown"
    launcher.stop(job, by_force=False)
    launcher.stop(job, by_force=True)
    assert launcher.poll(job) == "unknown"
