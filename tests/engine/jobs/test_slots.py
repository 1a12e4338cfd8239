"""The decisions of a supervisor, without worker processes: slots, GPUs, lost jobs."""

import os
import threading
from dataclasses import replace

import pytest

from engine.errors import EngineError
from engine.jobs import periodic, reaping, spawn, supervisor, worker_command
from engine.jobs.launchers.interface import LauncherUnavailableError
from engine.jobs.launchers.local import LocalLauncher
from engine.records.runs import RunState
from engine.store import WorkerSlot, database_path, utc_now
from engine.system import child_environment, gpus
from engine.system.processes import ProcessId
from tests.support.records import checkpoint_of
from tests.support.runs import NOW, tiny_config

OTHER_HOST_SLOT = WorkerSlot("elsewhere", "0", "elsewhere/boot/1/1")


class RunningChild:
    """A process that runs as long as the test."""

    pid = os.getpid()

    def poll(self):
        return None


@pytest.fixture
def started(monkeypatch):
    """(run id, GPUs) of every worker that would have been started."""
    workers = []

    def start(job, settings, visible_gpus):
        workers.append((job.run_id, visible_gpus))
        return RunningChild()

    monkeypatch.setattr(worker_command, "start_worker", start)
    return workers


@pytest.fixture
def queue(store):
    names = ("standard", "gan", "ganv2", "ganv3")
    store.studies.add("key", "a", [tiny_config(name) for name in names], NOW)
    return store


def make_supervisor(store, settings, monkeypatch, gpu_ids=(), slots=None):
    monkeypatch.setattr(gpus, "find_gpus", lambda: list(gpu_ids))
    return supervisor.Supervisor(store, replace(settings, slots=slots), threading.Event())


@pytest.fixture
def clock(monkeypatch):
    """The monotonic time, in a list of one item."""
    seconds = [1000.0]
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: seconds[0])
    return seconds


def test_a_machine_without_gpus_trains_one_run_at_a_time(queue, settings, started, monkeypatch):
    one = make_supervisor(queue, settings, monkeypatch)

    one.tick()
    one.tick()

    assert started == [(1, None)]


def test_each_gpu_has_one_run_and_a_free_gpu_gets_the_next(queue, settings, started, monkeypatch):
    one = make_supervisor(queue, settings, monkeypatch, gpu_ids=["0", "GPU-b"])
    one.tick()
    assert started == [(1, "0"), (2, "GPU-b")]
    (second,) = (job for job in queue.jobs.read_all(RunState.RUNNING) if job.run_id == 2)

    queue.jobs.finish(second, RunState.DONE, None, NOW)
    one.tick()

    assert started[2:] == [(3, "GPU-b")]


def test_the_next_supervisor_knows_which_gpu_is_in_use(queue, settings, started, monkeypatch):
    make_supervisor(queue, settings, monkeypatch, gpu_ids=["0", "1"], slots=1).tick()

    make_supervisor(queue, settings, monkeypatch, gpu_ids=["0", "1"]).tick()

    assert started == [(1, "0"), (2, "1")]


def test_more_slots_than_gpus_share_the_gpus(queue, settings, started, monkeypatch):
    make_supervisor(queue, settings, monkeypatch, gpu_ids=["0", "1"], slots=4).tick()

    assert started == [(1, "0"), (2, "1"), (3, "0"), (4, "1")]


def test_runs_of_another_host_take_no_slot_of_this_host(queue, settings, started, monkeypatch):
    queue.jobs.claim(NOW, worker_slot=OTHER_HOST_SLOT)

    make_supervisor(queue, settings, monkeypatch).tick()

    assert started == [(2, None)]


def test_a_scan_does_not_wait_for_runs(queue, settings, started, monkeypatch):
    queue.jobs.add("check", "openmoji", NOW)

    make_supervisor(queue, settings, monkeypatch).tick()

    assert started == [(1, None), (None, None)]


def test_an_export_starts_beside_the_run_after_its_first_step(
    queue, settings, started, monkeypatch
):
    queue.exports.request(1, "http://127.0.0.1:9", NOW)
    one = make_supervisor(queue, settings, monkeypatch, gpu_ids=["0"])
    one.tick()
    one.exports.queue_due()
    one.tick()
    assert started == [(1, "0")]

    (job,) = queue.jobs.read_all(RunState.RUNNING)
    queue.curves.add_points(job, 0, 1, [], NOW)
    one.exports.queue_due()
    one.tick()

    assert started[1:] == [(None, None)]
    assert {job.kind for job in queue.jobs.read_all(RunState.RUNNING)} == {"train", "export"}


def test_a_speed_probe_does_not_wait_for_an_export(store, settings, started, monkeypatch):
    one = make_supervisor(store, settings, monkeypatch)
    claim_export(store, WorkerSlot(one.host, "0", str(ProcessId.of(os.getpid()))))
    store.jobs.add("probe", "[]", NOW)

    one.tick()

    assert {job.kind for job in store.jobs.read_all(RunState.RUNNING)} == {"export", "probe"}


def test_an_idle_supervisor_exits_although_an_export_waits_for_its_server(
    store, settings, monkeypatch
):
    job = claim_export(store)
    store.exports.record_failure(job, 1, "no route to host", utc_now())
    store.jobs.finish(job, RunState.FAILED, "no route to host", utc_now())

    make_supervisor(store, settings, monkeypatch).run(exit_when_idle_s=0.0)

    assert store.jobs.read(job.id).state == RunState.FAILED
    assert not supervisor._has_work(store)


def test_an_idle_supervisor_does_not_exit_before_it_has_started_an_export_that_is_due(
    store, settings, monkeypatch
):
    claim_export(store)
    store.jobs.finish(store.jobs.read_newest("export", "1"), RunState.DONE, None, NOW)
    store.exports.renew(1, NOW)
    one = make_supervisor(store, settings, monkeypatch)
    kinds = []

    def start(job, *_):
        kinds.append(job.kind)
        one.should_exit.set()
        return RunningChild()

    monkeypatch.setattr(worker_command, "start_worker", start)
    assert supervisor._has_work(store)
    one.run(exit_when_idle_s=0.0)

    assert kinds == ["export"]


def claim_export(store, worker_slot=None):
    """Claims the job of the export of an ended study."""
    store.studies.add("key", "a", [tiny_config()], NOW)
    store.jobs.request_run_stop(1, NOW)
    store.exports.request(1, "http://127.0.0.1:9", NOW)
    store.exports.queue_due(NOW)
    return store.jobs.claim(NOW, "export", worker_slot)


def test_an_evaluation_of_a_study_gets_the_next_free_training_slot_with_its_gpu(
    queue, settings, started, monkeypatch
):
    one = make_supervisor(queue, settings, monkeypatch, gpu_ids=["0", "1"])
    one.tick()
    queue.jobs.add("evaluate", "1", NOW)
    one.tick()
    assert started == [(1, "0"), (2, "1")]
    (second,) = (job for job in queue.jobs.read_all(RunState.RUNNING) if job.run_id == 2)

    queue.jobs.finish(second, RunState.DONE, None, NOW)
    one.tick()
    one.tick()

    assert started[2:] == [(None, "1")]


def test_a_run_waits_while_an_evaluation_has_the_only_slot(queue, settings, started, monkeypatch):
    queue.jobs.add("evaluate", "1", NOW)
    one = make_supervisor(queue, settings, monkeypatch)

    one.tick()
    one.tick()

    assert started == [(None, None)]
    (job,) = queue.jobs.read_all(RunState.RUNNING)
    queue.jobs.finish(job, RunState.DONE, None, NOW)
    one.tick()
    assert started[1:] == [(1, None)]


def test_a_run_whose_process_cannot_be_started_fails_with_the_reason(queue, settings, monkeypatch):
    def fail(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(worker_command, "start_worker", fail)
    one = make_supervisor(queue, settings, monkeypatch)

    one.tick()
    one.tick()

    run = queue.runs.read(1)
    assert run.state == RunState.FAILED
    assert run.reason == "its process could not be started (Resource temporarily unavailable)"


def test_a_run_that_the_launcher_refuses_waits_in_the_queue_with_the_reason(
    queue, settings, monkeypatch
):
    refusal = "the Ray cluster did not take run 1 (timed out)"

    class RefusingLauncher(LocalLauncher):
        def submit(self, job, gpus):
            raise LauncherUnavailableError(refusal)

    one = make_supervisor(queue, settings, monkeypatch)
    one.launchers["train"] = RefusingLauncher(settings)
    one.tick()

    run, (attempt,) = queue.runs.read(1), queue.runs.read_attempts([1])
    assert (run.state, run.reason, run.will_retry) == (RunState.QUEUED, refusal, False)
    assert (attempt.state, attempt.reason) == (RunState.QUEUED, refusal)


def test_a_job_on_another_host_is_lost_if_its_heartbeat_does_not_change(
    queue, settings, started, monkeypatch, clock
):
    job = queue.jobs.claim(NOW, worker_slot=OTHER_HOST_SLOT)
    one = make_supervisor(queue, settings, monkeypatch)
    one.tick()

    for minutes in (4, 8, 12):  # the heartbeat changes in between, whatever its time is
        clock[0] = 1000.0 + 60 * minutes
        queue.jobs.heartbeat(job, NOW.replace(minute=minutes))
        one.tick()
    assert queue.runs.read(1).state == RunState.RUNNING
    clock[0] += reaping.LOST_AFTER_S + 1
    one.tick()

    assert queue.runs.read(1).state == RunState.CRASHED
    assert queue.runs.read(1).reason == "no heartbeat from elsewhere for five minutes"


def test_a_crashed_run_is_retried_after_a_delay(queue, settings, started, monkeypatch, clock):
    one = make_supervisor(queue, settings, monkeypatch)
    one.tick()
    (job,) = queue.jobs.read_all(RunState.RUNNING)
    queue.checkpoints.add(job, checkpoint_of(1), NOW)
    queue.jobs.finish(job, RunState.CRASHED, "killed", NOW, may_retry=True)

    assert one.tick()
    assert queue.runs.read(1).state == RunState.CRASHED
    clock[0] += periodic.RETRY_AFTER_S
    one.tick()

    assert queue.runs.read(1).state == RunState.QUEUED


def test_the_second_stop_request_kills_at_once(queue, settings, started, monkeypatch):
    signals = []
    monkeypatch.setattr(ProcessId, "terminate", lambda process: signals.append("terminate"))
    monkeypatch.setattr(ProcessId, "kill_tree", lambda process: signals.append("kill"))
    one = make_supervisor(queue, settings, monkeypatch)
    one.tick()
    queue.jobs.request_run_stop(1, NOW)
    one.tick()
    one.tick()
    assert signals == ["terminate"]

    queue.jobs.request_run_stop(1, NOW)
    one.tick()

    assert signals == ["terminate", "kill"]


def test_a_supervisor_exits_when_its_database_is_deleted(settings, store, monkeypatch, caplog):
    store.studies.add("key", "a", [tiny_config()], NOW)
    settings.artifacts.mkdir()
    monkeypatch.setattr(supervisor.signal, "signal", lambda *_: None)
    tick = supervisor.Supervisor.tick

    def delete_database(self):
        database_path(settings.database_url).unlink(missing_ok=True)
        return tick(self)

    monkeypatch.setattr(supervisor.Supervisor, "tick", delete_database)
    monkeypatch.setattr(worker_command, "start_worker", lambda *_: RunningChild())

    assert supervisor.supervise(settings)
    assert caplog.text.count("was deleted or replaced") == 1


def test_each_run_gets_as_many_gpus_as_it_has_ranks(queue, settings, started, monkeypatch):
    two_ranks = replace(settings, ranks=2)

    make_supervisor(queue, two_ranks, monkeypatch, gpu_ids=["0", "1", "2", "3", "4"]).tick()

    assert started == [(1, "0,1"), (2, "2,3")]


def test_more_ranks_than_gpus_are_refused(queue, settings, monkeypatch):
    with pytest.raises(EngineError, match="CHROMABENCH_RANKS must be at most 1, the number of GPU"):
        make_supervisor(queue, replace(settings, ranks=2), monkeypatch, gpu_ids=["0"])
    with pytest.raises(EngineError, match="runs wait"):
        spawn.ensure_supervisor(replace(settings, ranks=2))


def test_a_worker_does_not_inherit_the_rank_of_the_supervisors_parent(settings, monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "3")

    environment = child_environment.build_child_environment(settings)

    assert not {"RANK", "WORLD_SIZE"} & environment.keys()
    assert environment["CHROMABENCH_RANKS"] == "1"
