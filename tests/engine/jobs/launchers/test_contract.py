"""The contract of all launchers, with real supervisors, workers, kills and clusters.

A worker takes seconds to start. So one run per launcher passes through everything that can happen
to a run, and each fixture takes it one stage further: adopted, stopped, crashed, ended.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace

import psutil
import pytest

from engine.jobs import lifecycle, reaping, spawn
from engine.jobs.launchers import select
from engine.jobs.worker_command import job_log_path
from engine.records.runs import Run, RunState
from engine.settings import Settings
from engine.store import Store, database_path, utc_now
from engine.system.files import load_tail
from engine.system.processes import ProcessId
from tests.support.image_files import write_photographs
from tests.support.runs import tiny_config, wait_for
from tests.support.supervisors import prepare_installation, supervisors_of

pytestmark = pytest.mark.slow

N_EPOCHS = 20  # enough that the run does not end before a test reacts to its first checkpoint


@dataclass(frozen=True)
class Installation:
    """An installation of a launcher, and a function that starts its supervisors."""

    settings: Settings
    store: Store
    supervise: object


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("local", marks=pytest.mark.xdist_group("local launcher")),
        pytest.param("ray", marks=pytest.mark.xdist_group("ray")),
    ],
)
def launcher_options(request):
    """The settings that select a launcher: runs start on this machine, or on a Ray cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spawn, "ensure_supervisor", lambda settings: None)
        if request.param == "local":
            yield {}
            return
        cluster = request.getfixturevalue("ray_cluster")
        patch.setenv("RAY_AUTH_TOKEN", cluster.token)
        patch.setenv("RAY_AUTH_MODE", "token")
        yield {"launcher": "ray", "ray_address": cluster.address, "ray_gpus": 0}


@pytest.fixture(scope="module")
def installation(launcher_options, tmp_path_factory, packed_settings):
    folder = tmp_path_factory.mktemp("launcher")
    settings = prepare_installation(folder, packed_settings, **launcher_options)
    with closing(Store(settings.database_url)) as store, supervisors_of(settings) as supervise:
        yield Installation(settings, store, supervise)


@pytest.fixture(scope="module")
def adopted(installation, tmp_path_factory):
    """The suspended worker and the run, after its supervisor was killed and another one works."""
    settings, store = installation.settings, installation.store
    config = tiny_config(epochs=N_EPOCHS, n_val=8, n_test=8)
    lifecycle.submit(store, settings, [config], "a", "key", utc_now())
    first = installation.supervise()
    job = wait_for(lambda: job_with_checkpoint(store, after_step=0))
    worker = psutil.Process(ProcessId.parse(job.process).pid)
    # Without a pause, the run might end before it is stopped.
    wait_for(lambda: is_suspended_outside_a_write(worker, settings))
    first.kill()
    first.wait()

    # The second supervisor examines the run before it starts the scan.
    installation.supervise()
    folder = write_photographs(tmp_path_factory.mktemp("scanned") / "photos", 4)
    scan = lifecycle.submit_scan(store, settings, f"photos:{folder}", utc_now())
    wait_for(lambda: store.jobs.read(scan.id).state == RunState.DONE)
    return worker, store.runs.read(1)


@pytest.fixture(scope="module")
def stopped(adopted, installation):
    """The run after a user has stopped it."""
    worker, _ = adopted
    lifecycle.cancel(installation.store, installation.settings, 1, utc_now())
    worker.resume()
    return wait_for(lambda: ended_run(installation.store, attempt=1))


@pytest.fixture(scope="module")
def crashed(stopped, installation):
    """The second attempt, after its worker was killed."""
    store = installation.store
    lifecycle.resume(store, installation.settings, 1)
    job = wait_for(lambda: job_with_checkpoint(store, after_step=stopped.step))
    ProcessId.parse(job.process).kill_tree()
    wait_for(lambda: store.runs.read_attempts([1])[1].state)
    return store.runs.read_attempts([1])[1]


@pytest.fixture(scope="module")
def ended(crashed, installation) -> Run:
    """The run after its third attempt, which the supervisor has started."""
    return wait_for(lambda: ended_run(installation.store, attempt=3))


def job_with_checkpoint(store, after_step):
    """The running job once it has saved a checkpoint after a step, else None."""
    saved = store.checkpoints.read_last(1)
    if saved is None or saved.step <= after_step:
        return None
    (job,) = store.jobs.read_all(RunState.RUNNING)
    return None if reaping.is_submitted(job) else job


def is_suspended_outside_a_write(worker, settings):
    """Suspends a process; resumes it and returns False if the database is locked."""
    worker.suspend()
    with closing(sqlite3.connect(database_path(settings.database_url), timeout=0)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
            return True
        except sqlite3.OperationalError:
            worker.resume()
            return False


def ended_run(store, attempt):
    """The run once the attempt has ended, else None."""
    run = store.runs.read(1)
    return run if run.attempt == attempt and run.state.is_finished() else None


def test_a_run_survives_its_supervisor_and_the_next_supervisor_manages_it(adopted):
    worker, run = adopted

    assert worker.is_running()
    assert (run.state, run.attempt) == (RunState.RUNNING, 1)


def test_a_stop_saves_a_checkpoint_from_which_the_run_is_resumed(stopped, crashed):
    assert stopped.state == RunState.STOPPED
    assert stopped.reason.startswith("stopped by the user at epoch")
    assert crashed.from_step == stopped.step > 0


def test_a_killed_worker_is_detected_and_its_run_is_resumed(crashed, ended, installation):
    assert crashed.state == RunState.CRASHED
    assert "killed by the system" in crashed.reason
    last_attempt = installation.store.runs.read_attempts([1])[2]
    assert last_attempt.from_step > crashed.from_step


def test_no_point_of_an_interrupted_run_is_stored_twice(ended, installation):
    points = installation.store.curves.read([1])

    assert len({(point.step, point.name) for point in points}) == len(points)
    steps = sorted(point.step for point in points if point.name == "g_loss")
    assert steps == list(range(1, ended.steps + 1))


def test_a_run_ends_done_and_its_log_can_be_loaded(ended, installation):
    (job,) = (job for job in installation.store.jobs.read_all(RunState.DONE) if job.run_id)

    assert ended.state == RunState.DONE
    assert load_tail(job_log_path(job, installation.settings)).endswith(" run 1, job 1: done")


def test_an_attempt_that_is_submitted_twice_starts_once(
    launcher_options, store, tiny_settings, tmp_path
):
    settings = replace(tiny_settings, **launcher_options)
    launcher = select.select_launchers(settings)["train"]
    # A scan starts faster than a run, because it loads no torch.
    store.jobs.add("check", f"photos:{write_photographs(tmp_path / 'photos', 4)}", utc_now())
    job = store.jobs.claim(utc_now(), "check")

    first, second = launcher.submit(job, None), launcher.submit(job, None)

    assert first == second
    wait_for(lambda: launcher.poll(job) not in ("alive", "unknown"))
    assert launcher.poll(job) == 0
    assert store.jobs.read(job.id).state == RunState.DONE
    assert load_tail(job_log_path(job, settings)).count(f"job {job.id}: done") == 1
    launcher.forget_ended(set())


def test_a_job_that_was_never_submitted_is_unknown_and_can_be_stopped(
    launcher_options, store, tiny_settings
):
    launcher = select.select_launchers(replace(tiny_settings, **launcher_options))["train"]
    store.studies.add("key", "a", [tiny_config()], utc_now())
    job = store.jobs.claim(utc_now())

    assert launcher.is_ready()
    assert launcher.poll(job) == "unknown"
    launcher.stop(job, by_force=False)
    launcher.stop(job, by_force=True)
    assert launcher.poll(job) == "unknown"
