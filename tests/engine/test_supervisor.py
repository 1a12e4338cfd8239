"""Real processes: supervisors, workers, kills."""

import signal
import sys

import psutil
import pytest

from engine import jobs, planning, processes, starting
from engine.data.openmoji import OpenMoji
from engine.presets import DEFAULT_CONFIGURATIONS
from engine.records import RunState
from engine.store import utc_now
from tests.conftest import PATIENCE_S, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def supervise(tiny_settings):
    """Starts supervisors on the test's own database and ends what is left of them."""
    started = []

    def start(*options):
        command = [sys.executable, "-m", "engine", "supervise", *options]
        log = tiny_settings.artifacts / "supervisor.log"
        child = processes.start_detached(command, log, starting.worker_environment(tiny_settings))
        started.append(child)
        return child

    yield start
    for child in started:
        if child.poll() is None:
            for member in [*psutil.Process(child.pid).children(recursive=True)]:
                member.kill()
            child.kill()
        child.wait()


@pytest.fixture
def submit(store, tiny_settings, monkeypatch):
    monkeypatch.setattr(jobs, "ensure_supervisor", lambda settings: None)

    def start(configurations=("standard",), **changes):
        configs = planning.plan_study(
            OpenMoji(), "smoke", configurations, 1, changes, tiny_settings
        )
        key = f"key {len(store.read_studies())}"
        return jobs.submit(store, tiny_settings, configs, "a", key, utc_now())[1]

    return start


def states(store):
    return [run.state for run in store.read_runs()]


def test_a_drained_queue_leaves_all_runs_done_and_no_process(store, supervise, submit):
    submit(DEFAULT_CONFIGURATIONS)

    child = supervise("--drain")

    assert child.wait(timeout=PATIENCE_S) == 0
    assert states(store) == [RunState.DONE] * 3
    points = store.read_metrics([1, 2, 3])
    assert len({(it.run_id, it.step, it.name) for it in points}) == len(points)


def test_of_two_supervisors_one_lives(store, supervise, submit, tiny_settings):
    submit(epochs="40")
    first = supervise()
    wait_for(lambda: starting.supervisor_lives(tiny_settings))

    second = supervise()

    assert second.wait(timeout=90) == 0
    assert first.poll() is None


def test_a_killed_worker_is_a_crashed_run_with_its_reason_and_goes_on_by_itself(
    store, supervise, submit
):
    submit(epochs="200")
    supervise("--drain")
    wait_for(lambda: store.read_checkpoints(1))  # it has got further than where it began
    (job,) = store.read_jobs(RunState.RUNNING)  # by now its own process is known

    processes.kill_tree(job.process)

    wait_for(lambda: store.read_run(1).state == RunState.CRASHED, 20)
    assert store.read_run(1).reason == "killed by the system, probably out of memory"
    again = wait_for(lambda: (found := store.read_run(1)).state == RunState.RUNNING and found, 60)
    assert (again.attempt, again.epoch >= 1) == (2, True)


def test_a_run_outlives_its_supervisor_and_the_next_one_looks_after_it(store, supervise, submit):
    submit(epochs="60")
    first = supervise()
    wait_for(lambda: store.read_run(1).epoch >= 1)
    (job,) = store.read_jobs(RunState.RUNNING)

    first.send_signal(signal.SIGKILL)
    first.wait()
    assert processes.is_alive(job.process)
    second = supervise("--drain")

    assert second.wait(timeout=PATIENCE_S) == 0
    assert states(store) == [RunState.DONE]


def test_cancel_ends_a_running_run_and_keeps_its_checkpoint(
    store, supervise, submit, tiny_settings
):
    submit(epochs="500")
    supervise("--drain")
    wait_for(lambda: store.read_run(1).epoch >= 1)

    jobs.cancel(store, tiny_settings, 1, utc_now())

    run = wait_for(lambda: (found := store.read_run(1)).state.is_finished() and found, 60)
    assert run.state == RunState.STOPPED
    assert run.reason.startswith("stopped by the user at epoch")
    assert store.read_checkpoints(1)


def test_submitting_starts_a_supervisor_that_does_the_work(store, tiny_settings):
    configs = planning.plan_study(OpenMoji(), "smoke", ["gan"], 1, {}, tiny_settings)

    jobs.submit(store, tiny_settings, configs, "a", "key", utc_now())
    jobs.submit(store, tiny_settings, configs, "a", "key", utc_now())

    try:
        wait_for(lambda: states(store) == [RunState.DONE])
    finally:
        folder = str(tiny_settings.artifacts)
        for process in psutil.process_iter(["environ"]):
            if (process.info["environ"] or {}).get("CHROMABENCH_ARTIFACTS") == folder:
                process.kill()
