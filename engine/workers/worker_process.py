"""Runs the job of a worker process, from the claimed row to the recorded end. Loads no torch.

The supervisor starts the process with the id and the token of a job. Every write to the database
checks the token. A process whose token is stale exits without a write.
"""

import errno
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TypeVar

from engine.errors import DatabaseUnavailableError, DivergedError, EngineError, StoreError
from engine.records.runs import Job, RunState
from engine.settings import Settings
from engine.store import DatabaseReplacedError, LostJobError, Store, utc_now
from engine.system import logs
from engine.system.processes import ProcessId

logger = logging.getLogger(__name__)

T = TypeVar("T")

HEARTBEAT_EVERY_S = 5.0
LOCK_TIMEOUT_S = 5.0  # for one write; `retry_until_written` repeats failed writes
RETRY_EVERY_S = 1.0

ShouldStop = Callable[[], bool]
End = tuple[RunState, str | None]  # the final state of a job, and its reason
Work = Callable[[Store, Settings, Job, ShouldStop], End]


class StoppedError(Exception):
    """The work was stopped on request; the message names the position, after a space."""


class Progress:
    """Reports the progress of some work, and stops the work on request.

    Args:
        report: called with the number of processed items and the total number.
        every_s: the minimum number of seconds between two reports.
        should_stop: returns whether a stop was requested.
        where: the message of the `StoppedError`.
    """

    def __init__(
        self,
        report: Callable[[int, int], None],
        every_s: float,
        should_stop: ShouldStop,
        where: str = "",
    ) -> None:
        self._report, self._every_s = report, every_s
        self._should_stop, self._where = should_stop, where
        self._reported_at = time.monotonic()

    def update(self, done: int, total: int) -> None:
        """Reports the progress, unless the last report is too recent.

        Raises:
            StoppedError: a stop was requested.
        """
        if self._should_stop():
            raise StoppedError(self._where)
        if time.monotonic() - self._reported_at > self._every_s:
            self._reported_at = time.monotonic()
            self._report(done, total)


def run(arguments: Sequence[str], work: Work) -> RunState | None:
    """Runs the job of this process.

    Args:
        arguments: the id and the token of the job.
        work: the function that does the work of this kind of job.

    Returns:
        The final state of the job; None if the job belongs to another attempt, or if the database
        was replaced.
    """
    logs.adopt_loggers()  # of the modules that the work has imported
    stop = threading.Event()

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, request_stop)
    job_id, token = int(arguments[0]), arguments[1]
    settings = Settings.from_environment()
    try:
        store = retry_until_written(
            lambda: Store(settings.database_url, LOCK_TIMEOUT_S, on_read_error=_wait_after_error)
        )
        job = store.jobs.read(job_id)
        if job.token != token:
            return None
        # The supervisor also stores this id, unless it was killed before.
        process = str(ProcessId.of(os.getpid()))
        retry_until_written(lambda: store.jobs.set_process(job, process, utc_now()))
    except (LostJobError, DatabaseReplacedError) as error:
        logger.error("%s", error)
        return None
    threading.Thread(target=heartbeat_loop, args=(store, job, stop), daemon=True).start()
    return run_job(store, settings, job, stop.is_set, work)


def _wait_after_error(error: StoreError) -> None:
    """Waits before a failed read is tried again."""
    logger.warning("waiting for the database: %s", error)
    time.sleep(RETRY_EVERY_S)


def retry_until_written(write: Callable[[], T], poll: Callable[[], None] = lambda: None) -> T:
    """Retries a write while the database is unavailable; logs the outage and the recovery.

    Args:
        write: the write; it may be called many times.
        poll: called between two attempts; it may raise an error to end the retries.

    Returns:
        The result of the write.

    Raises:
        DatabaseReplacedError: the database file was deleted or replaced.
        StoreError: the database rejected the write, for example because a table is missing.
    """
    failed_at = None
    while True:
        try:
            result = write()
            if failed_at is not None:
                outage_s = time.monotonic() - failed_at
                logger.info("the database accepted the write after %.0f s", outage_s)
            return result
        except DatabaseUnavailableError as error:
            if failed_at is None:
                failed_at = time.monotonic()
                logger.warning("waiting for the database: %s", error)
            poll()
            time.sleep(RETRY_EVERY_S)


def run_job(
    store: Store, settings: Settings, job: Job, should_stop: ShouldStop, work: Work
) -> RunState | None:
    """Does the work of a job and records its end.

    Returns:
        The final state of the job; None if the job was lost before its end.
    """
    state = None
    try:
        state, reason = _do_work(store, settings, job, should_stop, work)
        may_retry = state == RunState.CRASHED
        log_end(state, reason)
        final_state = state
        retry_until_written(
            lambda: store.jobs.finish(job, final_state, reason, utc_now(), may_retry)
        )
    except LostJobError:
        logger.warning("the job belongs to another attempt, or was ended; the process exits")
    except DatabaseReplacedError as error:
        logger.error("the process exits: %s", error)
    return state


def log_end(state: RunState, reason: str | None) -> None:
    """Logs the final state of a job and its reason, as the last line of an attempt."""
    is_expected = state in (RunState.DONE, RunState.STOPPED)
    level = logging.INFO if is_expected else logging.ERROR
    logger.log(level, "%s", f"{state}: {reason}" if reason else state)


def _do_work(
    store: Store, settings: Settings, job: Job, should_stop: ShouldStop, work: Work
) -> End:
    """Does the work of a job, and converts exceptions into final states."""
    try:
        return work(store, settings, job, should_stop)
    except (LostJobError, DatabaseReplacedError):
        raise
    except StoppedError as error:
        store.require_same_file()  # the stop may be due to a database that was replaced
        if store.jobs.read(job.id).stop_requested_at is not None:
            return RunState.STOPPED, f"stopped by the user{error}"
        return RunState.CRASHED, f"ended by the system{error}, perhaps a shutdown"
    except DivergedError as error:
        return RunState.DIVERGED, f"diverged: {error}"
    except EngineError as error:
        return RunState.FAILED, str(error)
    except Exception as error:  # the boundary of a job: the traceback is logged
        logger.exception("the work ends")
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return RunState.FAILED, f"the disk of {settings.artifacts} is full; make room, resume"
        return RunState.FAILED, f"{type(error).__name__}: {error}"


def heartbeat_loop(store: Store, job: Job, stop: threading.Event) -> None:
    """Writes heartbeats; sets `stop` on a stop request, or when the token is stale.

    Work also stops if the database was deleted or replaced, because the results would be lost.
    """
    was_written = True
    while True:
        time.sleep(HEARTBEAT_EVERY_S)
        try:
            store.require_same_file()
            store.jobs.heartbeat(job, utc_now())
            # Without a supervisor, no process sends SIGTERM: read stop requests from the database.
            if store.jobs.read(job.id).stop_requested_at is not None:
                stop.set()
            was_written = True
        except (LostJobError, DatabaseReplacedError):
            stop.set()
            return
        except Exception as error:  # the boundary of a thread: the next heartbeat may succeed
            if was_written:
                logger.warning("no heartbeat for now: %s", error)
            was_written = False
