import subprocess
import sys
import threading

from engine.jobs import supervisor, worker_command
from engine.records.runs import RunState
from engine.store import run_files
from tests.support.runs import NOW, tiny_config


def test_a_process_that_ends_before_it_is_identified_fails_its_job(store, settings, monkeypatch):
    def start_and_wait(job, settings, gpus):
        child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
        child.wait()
        return child

    monkeypatch.setattr(worker_command, "start_worker", start_and_wait)
    store.studies.add("key", "a", [tiny_config()], NOW)
    settings.run_dir(1).mkdir(parents=True)
    one = supervisor.Supervisor(store, settings, threading.Event())

    one.tick()
    one.tick()

    run = store.runs.read(1)
    assert (run.state, run.reason) == (RunState.FAILED, "its process ended at once (exit status 3)")
    assert run_files.log_path(1, settings).read_text().endswith(f": failed: {run.reason}\n")
