"""Submitting, cancelling and reaping: rows only. Nothing here trains or knows torch.

The database is the queue. Any entrance may call `ensure_supervisor`; a lock file sees to it
that only one lives.
"""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from engine import processes
from engine.config import RunConfig
from engine.data.sources import read_source
from engine.errors import BadInputError, EngineError
from engine.planning import check_name
from engine.records import Job, JobKind, Run, RunState, Study
from engine.settings import PROJECT_ROOT, Settings
from engine.store import LostJobError, Store

# Which process does which kind of job.
MODULES: dict[JobKind, str] = {"train": "engine.worker", "check": "engine.examiner"}
# Idle threads spin briefly, then sleep: nearly full speed alone, no collapse on a busy machine.
SPIN_COUNT = "5000"
UNCLAIMED_AFTER = timedelta(seconds=60)  # a claimed job without a process by then is lost
UNHEARD_AFTER = timedelta(minutes=5)  # one on another host without a heartbeat by then


def submit(
    store: Store,
    settings: Settings,
    configs: Sequence[RunConfig],
    name: str,
    key: str,
    now: datetime,
) -> tuple[Study, list[Run]]:
    """Stores a study, queues its runs and makes sure that a supervisor lives.

    The same key again gives the same study: Start pressed twice starts once.
    """
    settings.require_writable_artifacts()
    supervisor_lives(settings)  # says now what would stand in the way of starting one
    study, runs = store.add_study(key, check_name(name), configs, now)
    ensure_supervisor(settings)
    return study, runs


def cancel(store: Store, settings: Settings, run_id: int, now: datetime) -> RunState:
    """Stops a queued run at once and asks a running one to stop; its last epoch is kept.

    Raises:
        BadInputError: there is no such run, or it has ended already.
    """
    run = store.read_run(run_id)
    if run.state.is_finished():
        raise BadInputError(f"Run {run_id} is {run.state} already; there is nothing to cancel.")
    settings.require_writable_artifacts()
    state = store.request_stop(run_id, now)
    ensure_supervisor(settings)
    return state


def supervisor_lock(settings: Settings) -> FileLock:
    """The lock that the one supervisor of a database holds."""
    digest = hashlib.sha256(settings.database_url.encode()).hexdigest()[:12]
    return FileLock(settings.artifacts / f"supervisor-{digest}.lock")


def supervisor_lives(settings: Settings) -> bool:
    """Whether somebody holds the supervisor's lock."""
    lock = supervisor_lock(settings)
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError as error:
        raise EngineError(f"{lock.lock_file} cannot be locked ({error.strerror}).") from error


def ensure_supervisor(settings: Settings) -> None:
    """Starts a detached supervisor; it leaves at once when another holds the lock."""
    if supervisor_lives(settings):
        return
    log = settings.artifacts / "supervisor.log"
    try:
        child = processes.start_detached(
            [sys.executable, "-m", "engine", "supervise"], log, worker_environment(settings)
        )
    except OSError as error:
        raise EngineError(f"No supervisor could be started ({error}); runs wait.") from error
    # Whoever started it outlives it or not; if so, it must not leave a zombie.
    threading.Thread(target=child.wait, daemon=True).start()


def worker_environment(settings: Settings) -> dict[str, str]:
    """The environment of processes we start: the same places, the same code."""
    slots = {"CHROMABENCH_SLOTS": str(settings.slots)} if settings.slots else {}
    paths = [str(PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "CHROMABENCH_DATABASE_URL": settings.database_url,
        "CHROMABENCH_ARTIFACTS": str(settings.artifacts),
        "GOMP_SPINCOUNT": SPIN_COUNT,
        **slots,
        "PYTHONPATH": os.pathsep.join(paths),
    }


def submit_check(store: Store, settings: Settings, source: str, now: datetime) -> Job:
    """Queues a look at a source; asked for twice, it is done once.

    Raises:
        BadInputError: there is no such source.
    """
    text = read_source(source, settings).text
    settings.require_writable_artifacts()
    supervisor_lives(settings)
    job = store.add_job("check", text, now)
    ensure_supervisor(settings)
    return job


def cancel_job(store: Store, settings: Settings, job_id: int, now: datetime) -> None:
    """Stops a job that is queued; asks one that is running to stop."""
    store.request_job_stop(job_id, now)
    ensure_supervisor(settings)


def start_worker(job: Job, settings: Settings, gpu: str | None) -> subprocess.Popen[bytes]:
    """Starts the detached process of one attempt; its output goes to the run's log.

    Args:
        job: claimed.
        settings: the places it works in.
        gpu: the one GPU that it may see, by index or id; None: as its parent does.
    """
    return processes.start_detached(
        [sys.executable, "-m", MODULES[job.kind], str(job.id), str(job.token)],
        log_path(job.run_id, settings)
        if job.run_id is not None
        else settings.artifacts / "jobs" / f"{job.id:06d}.log",
        worker_environment(settings) | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}),
    )


def log_path(run_id: int, settings: Settings) -> Path:
    """The log of a run."""
    return settings.run_dir(run_id) / "run.log"


def reap(store: Store, now: datetime, returncodes: Mapping[int, int | None] | None = None) -> None:
    """Ends the jobs whose process is gone, with the reason as far as it can be known.

    Args:
        store: where the jobs are.
        now: the present moment.
        returncodes: job -> what its process returned, for the children of the caller; None while
            it has not. Only its parent knows how a process ended, so it alone judges it.
    """
    children = returncodes or {}
    for job in store.read_jobs(RunState.RUNNING, RunState.STOPPING):
        returncode = children.get(job.id)
        if returncode is None and (job.id in children or not _is_gone(job, now)):
            continue
        # The worker may have ended the job itself since the list was read.
        state, reason = _verdict(job, returncode)
        try:
            store.finish_job(job, state, reason, now)
        except LostJobError:
            continue


def attend(store: Store, settings: Settings, now: datetime) -> None:
    """For a reader who finds work and no supervisor: reaps, and starts one for what waits."""
    unfinished = store.read_jobs(RunState.QUEUED, RunState.RUNNING, RunState.STOPPING)
    if not unfinished or supervisor_lives(settings):
        return
    reap(store, now)
    ensure_supervisor(settings)


def _is_gone(job: Job, now: datetime) -> bool:
    silent = now - job.heartbeat_at if job.heartbeat_at is not None else timedelta.max
    if job.process is None:
        return silent > UNCLAIMED_AFTER
    if not processes.is_here(job.process):
        return silent > UNHEARD_AFTER
    return not processes.is_alive(job.process)


def _verdict(job: Job, returncode: int | None) -> tuple[RunState, str]:
    if job.state == RunState.STOPPING:
        return RunState.STOPPED, "stopped by the user"
    if returncode is None:
        return RunState.CRASHED, "its process is gone; the machine or somebody ended it"
    if returncode == -9:
        return RunState.CRASHED, "killed by the system, probably out of memory"
    if returncode < 0:
        return RunState.CRASHED, f"its process was ended by signal {-returncode}"
    return RunState.CRASHED, f"its process ended with code {returncode}; the log says more"
