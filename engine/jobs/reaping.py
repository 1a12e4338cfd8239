"""Ends jobs whose process has ended or was lost, and records the reason."""

import logging
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from engine.errors import BadInputError
from engine.jobs import installation, spawn, worker_command
from engine.records.runs import Job, RunState
from engine.settings import Settings
from engine.store import LostJobError, Store
from engine.system import logs
from engine.system.processes import ProcessId
from engine.tracking import mlflow_client

# The role in `Job.process` until a worker starts: `Job.process` then holds the supervisor's id.
CLAIMING = "claiming"
# Why a job is queued again: no worker had started.
CLAIM_LOST = "its supervisor ended before the worker started"
SUBMISSION_LOST = "the cluster lost the job before its worker started"
SIGKILLED = -signal.SIGKILL
LOST_AFTER_S = 300.0


class Heartbeats:
    """Measures how long the heartbeats of jobs on other hosts have not changed.

    The clocks of two hosts may differ. So a heartbeat is only compared with the previous heartbeat
    of the same job, and the time since the last change is measured by the clock of this host.
    """

    def __init__(self) -> None:
        # Token -> (last heartbeat, monotonic time when it was first read).
        self._last_change: dict[str, tuple[datetime | None, float]] = {}

    def observe(self, job: Job) -> None:
        """Stores the heartbeat of a job on another host, if it has changed.

        Jobs on this host are ignored: whether their process is alive can be checked directly.
        """
        process = process_of(job)
        if job.token is None or (process is not None and process.is_local):
            return
        last = self._last_change.get(job.token)
        if last is None or last[0] != job.heartbeat_at:
            self._last_change[job.token] = (job.heartbeat_at, time.monotonic())

    def seconds_unchanged(self, job: Job) -> float:
        """Returns the seconds since the heartbeat of a job changed; 0 if it was not observed."""
        last = self._last_change.get(str(job.token))
        return 0.0 if last is None else time.monotonic() - last[1]

    def clear(self) -> None:
        """Deletes all observed heartbeats, for example after the database was unavailable."""
        self._last_change.clear()


def reap(
    store: Store,
    settings: Settings,
    now: datetime,
    returncodes: Mapping[str, int | None] | None = None,
    heartbeat_ages_s: Mapping[str, float] | None = None,
) -> None:
    """Ends the jobs whose process has ended or was lost, and records the reason.

    The reason is also the last line of the job's log, in which a killed process wrote no end. A job
    whose worker has not started is queued again.

    Args:
        store: the store with the jobs.
        settings: the settings of the installation.
        now: the time of the end.
        returncodes: token -> return code of the job's process; None while the process runs. The
            process of a job in this mapping is not checked in any other way.
        heartbeat_ages_s: token -> seconds for which the heartbeat of a job on another host has not
            changed, see `Heartbeats`.
    """
    returncodes, heartbeat_ages_s = returncodes or {}, heartbeat_ages_s or {}
    for job in store.jobs.read_all(RunState.RUNNING, RunState.STOPPING):
        token = str(job.token)
        returncode = returncodes.get(token)
        if token in returncodes and returncode is None:
            continue  # the process is running
        if returncode is None and not _is_lost(job, heartbeat_ages_s.get(token, 0.0)):
            continue
        process = process_of(job)
        is_claim = returncode is None and process is not None and process.role == CLAIMING
        # The worker may have ended the job itself since the list was read, and a user deleted it.
        with suppress(LostJobError, BadInputError):
            if is_claim or (returncode == SIGKILLED and is_submitted(job)):
                reason = CLAIM_LOST if is_claim else SUBMISSION_LOST
                store.jobs.release(job, reason, now)  # no worker has started
            else:
                was_signalled = returncode is None or returncode < 0
                reason = _crash_reason(job, returncode)
                store.jobs.finish(job, RunState.CRASHED, reason, now, may_retry=was_signalled)
                log_end(store.jobs.read(job.id), settings)


def log_end(job: Job, settings: Settings) -> None:
    """Appends the state and the reason of an ended job to the log of its process."""
    level = logging.INFO if job.state == RunState.STOPPED else logging.ERROR
    log, subject = worker_command.job_log_path(job, settings), worker_command.log_subject(job)
    logs.append(log, level, subject, f"{job.state}: {job.reason}")


def reap_if_unsupervised(store: Store, settings: Settings, now: datetime) -> None:
    """Reaps jobs and starts a supervisor, if there is work and no supervisor runs.

    Pages and commands that show runs call this function, so that runs continue after a reboot.

    Raises:
        EngineError: jobs are unfinished, but no supervisor can run them: the artifacts folder
            cannot be written or belongs to another database, or `ensure_supervisor` failed.
    """
    has_work = (
        store.jobs.read_all(RunState.QUEUED, RunState.RUNNING, RunState.STOPPING)
        or store.runs.read_retrying()
        or (store.exports.has_due(now) and mlflow_client.is_installed())
    )
    if not has_work or spawn.is_supervisor_running(settings):
        return
    reap(store, settings, now)
    if settings.is_supervised_elsewhere:
        return
    # A supervisor makes this check too, but only its log shows the error.
    installation.claim_artifacts(store, settings)
    spawn.ensure_supervisor(settings)


def process_of(job: Job) -> ProcessId | None:
    """Parses the id of the process that works on a job; returns None if no id is stored."""
    return None if job.process is None else ProcessId.parse(job.process)


def is_submitted(job: Job) -> bool:
    """Returns whether the job was submitted to a cluster and its process has not started yet."""
    process = process_of(job)
    return process is not None and process.is_submitted


def _is_lost(job: Job, heartbeat_age_s: float) -> bool:
    process = process_of(job)
    if process is not None and process.is_local:
        return not process.is_alive()
    return heartbeat_age_s > LOST_AFTER_S


def _crash_reason(job: Job, returncode: int | None) -> str:
    """Returns why a job crashed.

    Args:
        job: the job.
        returncode: the return code of the job's process; None if the process is lost.
    """
    process = process_of(job)
    if returncode is None:
        if process is not None and not process.is_local:
            return f"no heartbeat from {job.host} for five minutes"
        return "its process disappeared: it was killed, or the machine restarted"
    if is_submitted(job):
        return "the cluster ended the job before it started; see its log"
    if returncode == SIGKILLED:
        return "killed by the system (signal 9, SIGKILL), probably out of memory"
    if returncode < 0:
        return f"its process was ended by signal {-returncode}{_signal_name(-returncode)}"
    return f"its process ended with code {returncode}; see the log"


def _signal_name(number: int) -> str:
    """Returns the name of a signal in brackets; empty if the signal has no name."""
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:  # for example a real-time signal
        return ""
