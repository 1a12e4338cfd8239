"""What a supervisor decides, without the processes: slots, GPUs, deaths elsewhere."""

import os
import threading
from dataclasses import replace

import pytest

from engine.errors import EngineError
from engine.jobs import lifecycle, spawn, supervisor
from engine.records.runs import RunState
from engine.store import Place, database_path
from engine.system import child_environment, processes
from tests.conftest import NOW, tiny_config
from tests.engine.store.test_store import saved


class Child:
    """A process that lives as long as the test."""

    pid = os.getpid()

    def poll(self):
        return None


@pytest.fixture
def started(monkeypatch):
    """(run, GPU) of every worker that would have been started."""
    found = []

    def start(job, settings, gpu):
        found.append((job.run_id, gpu))
        return Child()

    monkeypatch.setattr(spawn, "start_worker", start)
    return found


@pytest.fixture
def queue(store):
    names = ("standard", "gan", "ganv2", "ganv3")
    store.add_study("key", "a", [tiny_config(name) for name in names], NOW)
    return store


def watch(store, settings, monkeypatch, gpus=(), slots=None):
    monkeypatch.setattr(spawn, "find_gpus", lambda: list(gpus))
    return supervisor._Supervisor(store, replace(settings, slots=slots), threading.Event())


def test_a_machine_without_gpus_does_one_run_at_a_time(queue, settings, started, monkeypatch):
    one = watch(queue, settings, monkeypatch)

    one.look()
    one.look()

    assert started == [(1, None)]


def test_each_gpu_has_one_run_and_a_free_one_gets_the_next(queue, settings, started, monkeypatch):
    one = watch(queue, settings, monkeypatch, gpus=["0", "GPU-b"])
    one.look()
    assert started == [(1, "0"), (2, "GPU-b")]
    (second,) = (it for it in queue.read_jobs(RunState.RUNNING) if it.run_id == 2)

    queue.finish_job(second, RunState.DONE, None, NOW)
    one.look()

    assert started[2:] == [(3, "GPU-b")]


def test_the_next_supervisor_knows_which_gpu_is_in_use(queue, settings, started, monkeypatch):
    watch(queue, settings, monkeypatch, gpus=["0", "1"], slots=1).look()

    watch(queue, settings, monkeypatch, gpus=["0", "1"]).look()

    assert started == [(1, "0"), (2, "1")]


def test_more_slots_than_gpus_share_them(queue, settings, started, monkeypatch):
    watch(queue, settings, monkeypatch, gpus=["0", "1"], slots=4).look()

    assert started == [(1, "0"), (2, "1"), (3, "0"), (4, "1")]


def test_another_hosts_runs_take_no_slot_here(queue, settings, started, monkeypatch):
    queue.claim_job(NOW, place=Place("elsewhere", "0", "elsewhere/boot/1/1"))

    watch(queue, settings, monkeypatch).look()

    assert started == [(2, None)]


def test_a_check_does_not_wait_for_runs(queue, settings, started, monkeypatch):
    queue.add_job("check", "openmoji", NOW)

    watch(queue, settings, monkeypatch).look()

    assert started == [(1, None), (None, None)]


def test_a_process_that_cannot_be_started_is_the_runs_reason(queue, settings, monkeypatch):
    def fail(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(spawn, "start_worker", fail)
    one = watch(queue, settings, monkeypatch)

    one.look()
    one.look()

    run = queue.read_run(1)
    assert run.state == RunState.FAILED
    assert run.reason == "its process could not be started (Resource temporarily unavailable)"


def test_a_job_elsewhere_is_lost_when_its_heartbeat_stands_still_before_ones_eyes(
    queue, settings, started, monkeypatch
):
    job = queue.claim_job(NOW, place=Place("elsewhere", "0", "elsewhere/boot/1/1"))
    one, clock = watch(queue, settings, monkeypatch), [1000.0]
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: clock[0])
    one.look()

    for minutes in (4, 8, 12):  # it is heard in between, by whatever clock
        clock[0] = 1000.0 + 60 * minutes
        queue.beat(job, NOW.replace(minute=minutes))
        one.look()
    assert queue.read_run(1).state == RunState.RUNNING
    clock[0] += lifecycle.UNHEARD_AFTER_S + 1
    one.look()

    assert queue.read_run(1).state == RunState.CRASHED
    assert queue.read_run(1).reason == "nothing was heard from elsewhere for five minutes"


def test_a_crashed_run_is_seen_for_a_while_before_it_goes_on(queue, settings, started, monkeypatch):
    one, clock = watch(queue, settings, monkeypatch), [1000.0]
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: clock[0])
    one.look()
    (job,) = queue.read_jobs(RunState.RUNNING)
    queue.add_checkpoint(job, saved(1), NOW)
    queue.finish_job(job, RunState.CRASHED, "killed", NOW, may_retry=True)

    assert one.look()
    assert queue.read_run(1).state == RunState.CRASHED
    clock[0] += supervisor.RETRY_AFTER_S
    one.look()

    assert queue.read_run(1).state == RunState.QUEUED


def test_the_second_wish_to_stop_kills_at_once(queue, settings, started, monkeypatch):
    done = []
    monkeypatch.setattr(processes, "terminate", lambda it: done.append("asked"))
    monkeypatch.setattr(processes, "kill_tree", lambda it: done.append("killed"))
    one = watch(queue, settings, monkeypatch)
    one.look()
    queue.request_stop(1, NOW)
    one.look()
    one.look()
    assert done == ["asked"]

    queue.request_stop(1, NOW)
    one.look()

    assert done == ["asked", "killed"]


def test_a_deleted_database_ends_its_supervisor(settings, store, monkeypatch, capsys):
    store.add_study("key", "a", [tiny_config()], NOW)
    settings.artifacts.mkdir()
    monkeypatch.setattr(supervisor.signal, "signal", lambda *_: None)
    look = supervisor._Supervisor.look

    def lose(self):
        database_path(settings.database_url).unlink(missing_ok=True)
        return look(self)

    monkeypatch.setattr(supervisor._Supervisor, "look", lose)
    monkeypatch.setattr(spawn, "start_worker", lambda *_: Child())

    assert supervisor.supervise(settings)
    assert capsys.readouterr().out.count("was deleted or replaced") == 1


def test_gpus_are_given_out_in_groups(queue, settings, started, monkeypatch):
    together = replace(settings, ranks=2)

    watch(queue, together, monkeypatch, gpus=["0", "1", "2", "3", "4"]).look()

    assert started == [(1, "0,1"), (2, "2,3")]


def test_more_processes_than_gpus_are_refused(queue, settings, monkeypatch):
    with pytest.raises(EngineError, match="CHROMABENCH_RANKS must be at most 1, the number of GPU"):
        watch(queue, replace(settings, ranks=2), monkeypatch, gpus=["0"])
    with pytest.raises(EngineError, match="runs wait"):
        spawn.ensure_supervisor(replace(settings, ranks=2))


def test_a_worker_is_no_member_of_whatever_started_the_supervisor(settings, monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "3")

    environment = child_environment.worker_environment(settings)

    assert not {"RANK", "WORLD_SIZE"} & environment.keys()
    assert environment["CHROMABENCH_RANKS"] == "1"
