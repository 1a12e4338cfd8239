"""Stops, kills and suspends workers; measures how soon this is detected, and what is left."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.jobs.reaping import process_of
from engine.records.runs import Job, RunState
from engine.store import utc_now
from engine.system.processes import ProcessId
from engine.training import checkpoint
from tests.chaos.installation import Installation, temporary_installation, wait_until


@dataclass(frozen=True)
class StopResult:
    """The result of repeated stop requests.

    Attributes:
        seconds: time from each request to the recorded end.
        unloadable: number of checkpoints that could not be loaded.
        left: number of processes that were still running.
    """

    seconds: list[float]
    unloadable: int
    left: int


def stop_repeatedly(
    folder: Path, shared: Path, n_stops: int, seed: int, report: Callable[[str], None]
) -> StopResult:
    """Stops a run at random moments and resumes it each time."""
    rng, seconds, n_unloadable, n_left = random.Random(seed), [], 0, 0
    with temporary_installation(folder, shared, slots=1) as installation:
        store = installation.store
        (run,) = installation.submit(["standard"], 1, epochs="100000")
        while len(seconds) < n_stops:
            job = _resume(installation, run.id)
            process = _process(job)
            time.sleep(rng.uniform(0.0, 8.0))
            requested_at = time.monotonic()
            store.jobs.request_run_stop(run.id, utc_now())
            wait_until(lambda: store.runs.read(run.id).state.is_finished(), 60)
            seconds.append(time.monotonic() - requested_at)
            n_left += not wait_until(lambda process=process: not process.is_alive(), 5)  # type: ignore[misc]
            for record in store.checkpoints.read(run.id):
                try:
                    checkpoint.load_from_record(installation.settings.artifacts, record)
                except Exception:  # any error is a result of the test
                    n_unloadable += 1
            report(f"{len(seconds)} of {n_stops} stops, the last after {seconds[-1]:.1f} s")
    return StopResult(seconds, n_unloadable, n_left)


@dataclass(frozen=True)
class DeathResult:
    """How soon killed workers are detected, and whether a suspended worker is taken for killed.

    Attributes:
        detected_after_s: time from each kill to the recorded crash.
        suspended_s: how long a worker was suspended.
        survived_suspension: whether the suspended run continued in its attempt.
    """

    detected_after_s: list[float]
    suspended_s: float
    survived_suspension: bool


def kill_and_suspend(
    folder: Path, shared: Path, n_kills: int, suspended_s: float, report: Callable[[str], None]
) -> DeathResult:
    """Kills a worker several times, then suspends one for a while."""
    with temporary_installation(folder, shared, slots=1) as installation:
        store = installation.store
        (run,) = installation.submit(["standard"], 1, epochs="100000")
        detected_after_s = [_kill(installation, run.id, report) for _ in range(n_kills)]

        job = _resume(installation, run.id)
        pid = _process(job).pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        report(f"suspended for {suspended_s:.0f} s")
        deadline, has_survived = time.monotonic() + suspended_s, True
        while time.monotonic() < deadline:
            current = store.runs.read(run.id)
            is_unchanged = (current.state, current.attempt) == (RunState.RUNNING, job.attempt)
            has_survived = has_survived and is_unchanged
            time.sleep(0.5)
        os.kill(pid, signal.SIGCONT)
        step = store.runs.read(run.id).step
        continues = wait_until(lambda: store.runs.read(run.id).step > step, 60)
        return DeathResult(detected_after_s, suspended_s, has_survived and continues)


def _kill(installation: Installation, run_id: int, report: Callable[[str], None]) -> float:
    """Resumes a run and kills its worker; returns the seconds until the crash is recorded."""
    pid = _process(_resume(installation, run_id)).pid
    assert pid is not None
    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    is_detected = wait_until(
        lambda: installation.store.runs.read(run_id).state == RunState.CRASHED, 30
    )
    seconds = time.monotonic() - killed_at
    report(f"a kill was detected after {seconds:.1f} s")
    return seconds if is_detected else float("inf")


def _resume(installation: Installation, run_id: int) -> Job:
    """Resumes a run, if it has ended; waits for its worker and returns the job."""
    installation.store.jobs.requeue(run_id)
    installation.supervise()
    wait_until(lambda: bool(installation.running_jobs()), 60)
    (job,) = installation.running_jobs()
    return job


def _process(job: Job) -> ProcessId:
    process = process_of(job)
    assert process is not None
    return process
