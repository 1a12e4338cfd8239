"""Kills workers and supervisors; compares the results with those of undisturbed runs."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.jobs.reaping import process_of
from engine.records.runs import Job, RunState
from tests.chaos.installation import Installation, is_equal, temporary_installation

SUPERVISOR_SHARE = 0.15  # of all kills
IMMEDIATE_SHARE = 0.15  # of the kills of workers; the others wait for one of the phases below
TARGET_PHASES = ("training", "training", "checkpoint", "samples", "evaluating")
PHASE_TIMEOUT_S, WORKER_TIMEOUT_S = 8.0, 300.0
# The kills are spread over this share of the work, so that every run is hit.
KILLED_SHARE_OF_WORK = 0.95


@dataclass(frozen=True)
class Outcome:
    """The result of a study whose processes were killed, compared with an undisturbed study.

    Attributes:
        kills: what was killed, or the phase of the killed worker -> number of kills.
        attempts: number of attempts of each run.
        is_database_intact: whether SQLite finds no error in the database file.
        all_done: whether all runs are done.
        missing: number of metric points that were not recorded.
        extra: number of metric points that were recorded in addition.
        different: number of metric points with another value.
        different_states: number of runs with another final state.
    """

    kills: Counter[str]
    attempts: list[int]
    is_database_intact: bool
    all_done: bool
    missing: int
    extra: int
    different: int
    different_states: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, doubled or changed."""
        n_wrong = self.missing + self.extra + self.different + self.different_states
        return self.is_database_intact and self.all_done and not n_wrong


def compare_with_undisturbed(
    folder: Path,
    shared: Path,
    study: Callable[[Installation], object],
    kill: Callable[[Installation], Counter[str]],
    report: Callable[[str], None],
    run_undisturbed: Callable[[Installation], object] = Installation.finish_all,
) -> Outcome:
    """Runs a study undisturbed, and again while its processes are killed.

    Args:
        folder: an empty folder.
        shared: the folder that `prepare_shared` has made.
        study: submits runs to an installation; called for both.
        kill: supervises the second installation, and kills its processes meanwhile; returns the
            number of kills in each phase.
        report: called with the current activity.
        run_undisturbed: runs all runs of the first installation.
    """
    with (
        temporary_installation(folder / "undisturbed", shared) as undisturbed,
        temporary_installation(folder / "killed", shared) as killed,
    ):
        study(undisturbed)
        report("undisturbed")
        run_undisturbed(undisturbed)
        study(killed)
        kills = kill(killed)
        report("resuming")
        killed.finish_all()

        expected, actual = undisturbed.metric_values(), killed.metric_values()
        common = expected.keys() & actual.keys()
        pairs = zip(undisturbed.store.runs.read_all(), killed.store.runs.read_all(), strict=True)
        return Outcome(
            kills=kills,
            attempts=[run.attempt for run in killed.store.runs.read_all()],
            is_database_intact=killed.is_database_intact(),
            all_done=killed.is_done(),
            missing=len(expected.keys() - actual.keys()),
            extra=killed.count_points() - undisturbed.count_points(),
            different=sum(expected[key] != actual[key] for key in common),
            different_states=sum(
                not is_equal(undisturbed.final_state(one), killed.final_state(other))
                for one, other in pairs
            ),
        )


def kill_at_random(
    installation: Installation, n_kills: int, seed: int, report: Callable[[str], None]
) -> Counter[str]:
    """Kills processes at the pace of the work, so that kills and work end at the same time.

    Args:
        installation: the installation; its supervisor is started.
        n_kills: number of kills; some hit supervisors.
        seed: seed of the moments of the kills.
        report: called with the current activity.

    Returns:
        What was killed, or the phase of the killed worker -> number of kills.
    """
    rng, kills = random.Random(seed), Counter[str]()
    while kills.total() < n_kills and not installation.is_done():
        installation.supervise()
        installation.resume_ended()
        done = _progress(installation)
        if done < KILLED_SHARE_OF_WORK * kills.total() / n_kills:
            time.sleep(0.2)
            continue
        is_late = done > (kills.total() + 1) / n_kills
        if not is_late:
            time.sleep(rng.uniform(0.0, 3.0))
        if rng.random() < SUPERVISOR_SHARE and installation.supervisor is not None:
            _kill_supervisor(installation)
            kills["supervisor"] += 1
        elif jobs := installation.running_jobs():
            job = rng.choice(jobs)
            run_id = job.run_id or 0
            phase = _phase(installation, run_id) if is_late else _wait_for(installation, job, rng)
            if _kill_worker(job):
                kills[phase] += 1
        report(f"{kills.total()} of {n_kills} kills")
    return kills


def kill_in_each_phase(installation: Installation) -> Counter[str]:
    """Kills the worker of the only run while it trains, its supervisor, and it in an evaluation.

    Returns:
        What was killed, or the phase of the killed worker -> number of kills.
    """
    kills = Counter[str]()
    for phase in ("training", "supervisor", "evaluating"):
        job = _wait_for_worker(installation, "training" if phase == "supervisor" else phase)
        if phase == "supervisor":
            _kill_supervisor(installation)
        if phase == "supervisor" or _kill_worker(job):
            kills[phase] += 1
    return kills


def _wait_for_worker(installation: Installation, phase: str) -> Job:
    """Waits until the worker of the only run is in a phase, and has finished an epoch."""
    deadline = time.monotonic() + WORKER_TIMEOUT_S
    while time.monotonic() < deadline:
        installation.supervise()
        installation.resume_ended()
        for job in installation.running_jobs():
            run_id = job.run_id or 0
            if installation.store.runs.read(run_id).epoch and _phase(installation, run_id) == phase:
                return job
        time.sleep(0.02)
    raise TimeoutError(f"no worker was {phase}: {installation.store.runs.read_all()}")


def _progress(installation: Installation) -> float:
    runs = installation.store.runs.read_all()
    return sum(run.state == RunState.DONE or run.progress for run in runs) / len(runs)


def _wait_for(installation: Installation, job: Job, rng: random.Random) -> str:
    """Waits for a random phase of a run; returns the phase after the wait."""
    assert job.run_id is not None
    folder, run_id = installation.settings.run_dir(job.run_id), job.run_id
    if rng.random() < IMMEDIATE_SHARE:
        return _phase(installation, run_id)
    target = rng.choice(TARGET_PHASES)
    deadline = time.monotonic() + PHASE_TIMEOUT_S
    while time.monotonic() < deadline:
        if target == "checkpoint" and any(folder.glob("checkpoints/*.partial")):
            return "writing a checkpoint"
        if target == "samples" and any(folder.glob("samples/*.partial")):
            return "writing samples"
        if target in ("training", "evaluating") and _phase(installation, run_id) == target:
            time.sleep(rng.uniform(0.0, 2.0))
            break
        time.sleep(0.002 if target in ("checkpoint", "samples") else 0.05)
    return _phase(installation, run_id)


def _phase(installation: Installation, run_id: int) -> str:
    phase = installation.store.runs.read(run_id).phase or "between attempts"
    return "evaluating" if phase.startswith(("evaluating", "validating")) else phase


def _kill_supervisor(installation: Installation) -> None:
    assert installation.supervisor is not None
    installation.supervisor.kill()
    installation.supervisor.wait()


def _kill_worker(job: Job) -> bool:
    """Kills the worker of a job; returns False if it has ended already."""
    process = process_of(job)
    if process is None or process.pid is None or not process.is_alive():
        return False
    os.kill(process.pid, signal.SIGKILL)
    return True
