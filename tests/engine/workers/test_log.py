"""The log of a run tells how its worker ended: real workers of a real supervisor."""

import threading

import pytest

from engine.jobs import supervisor, worker_command
from engine.records.runs import RunState
from engine.store import run_files
from engine.system.logs import HEAD
from tests.support.runs import NOW, tiny_config, wait_for


@pytest.fixture
def end(store, settings, monkeypatch):
    """A function that runs a worker which ends in some way; returns the run and its log."""
    monkeypatch.setitem(worker_command.WORKER_MODULES, "train", "tests.support.ending_worker")

    def run(ending):
        monkeypatch.setenv("ENDING", ending)
        store.studies.add("key", "a", [tiny_config()], NOW)
        one = supervisor.Supervisor(store, settings, threading.Event())
        one.tick()
        (job,) = store.jobs.read_all(RunState.RUNNING)
        wait_for(lambda: isinstance(one.launchers["train"].poll(job), int))
        one.tick()
        return store.runs.read(1), run_files.log_path(1, settings).read_text().splitlines()

    return run


def messages(log):
    """The lines of a log without their heads."""
    return [HEAD.sub("", line) for line in log]


def test_each_line_of_a_log_has_a_time_a_level_and_the_run(end):
    _, log = end("done")

    assert all(HEAD.match(line) for line in log)
    assert messages(log)[0] == "run 1, job 1: a line that a library prints"
    assert "UserWarning: a warning of a library" in messages(log)[1]
    assert messages(log)[-1] == "run 1, job 1: done"
    assert [HEAD.match(line)["level"] for line in log] == ["INFO", "WARNING", "WARNING", "INFO"]


def test_the_log_of_a_worker_that_raises_ends_with_its_traceback_and_its_reason(end):
    run, log = end("error")

    assert all(HEAD.match(line) for line in log)
    text = "\n".join(messages(log))
    assert "run 1, job 1: Traceback (most recent call last):" in text
    assert 'raise ValueError("12 is no colour' in text
    assert run.state == RunState.FAILED
    assert messages(log)[-2:] == [
        "run 1, job 1: failed: ValueError: 12 is no colour",
        "run 1, job 1: it has one channel",
    ]
    assert HEAD.match(log[-1])["level"] == "ERROR"


def test_the_log_of_a_killed_worker_ends_with_the_reason_of_its_run(end):
    run, log = end("kill")

    assert run.reason == "killed by the system (signal 9, SIGKILL), probably out of memory"
    assert messages(log)[-1] == f"run 1, job 1: crashed: {run.reason}"
    assert HEAD.match(log[-1])["level"] == "ERROR"


def test_the_log_of_a_worker_that_segfaults_has_its_stack_and_the_signal(end):
    run, log = end("fault")

    (begin,) = [line for line in log if line == "Fatal Python error: Segmentation fault"]
    assert any("ending_worker.py" in line for line in log[log.index(begin) :])
    assert run.reason == "its process was ended by signal 11 (SIGSEGV)"
    assert messages(log)[-1] == f"run 1, job 1: crashed: {run.reason}"


def test_the_log_of_a_worker_that_cannot_be_imported_has_the_error(end):
    run, log = end("import")

    assert all(HEAD.match(line) for line in log)
    assert messages(log)[-2] == (
        "run 1, job 1: ended by ImportError: libcudart.so.12: cannot open shared object file"
    )
    assert messages(log)[-1] == f"run 1, job 1: crashed: {run.reason}"
    assert "ended with code 1" in run.reason
