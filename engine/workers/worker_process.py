"""One attempt at one job: its process, from the claim to the recorded end. Torch-free.

Started by the supervisor with a job's id and token. Every write goes under the token; a process
that has lost its job leaves without a word in the database.
"""

import errno
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TypeVar

from engine.errors import DivergedError, EngineError, StoreError
from engine.records.runs import Job, RunState
from engine.settings import Settings
from engine.store import GoneDatabaseError, LostJobError, Store, utc_now
from engine.system import processes

T = TypeVar("T")

HEARTBEAT_S = 5.0
PATIENCE_S = 5.0  # for one write; a worker has better things to do than to wait longer at once
TRY_AGAIN_S = 1.0

ShouldStop = Callable[[], bool]
End = tuple[RunState, str | None]  # how it ended, and why
Work = Callable[[Store, Settings, Job, ShouldStop], End]


class StoppedError(Exception):
    """The work was left because somebody asked for it; the text says where, after a space."""


def main(arguments: Sequence[str], work: Work) -> int:
    """Does the job whose id and token are given; the exit status is for the supervisor."""
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    job_id, token = int(arguments[0]), arguments[1]
    settings = Settings.from_environment()
    try:
        store = patiently(lambda: Store(settings.database_url, PATIENCE_S, wait=_wait))
        job = store.read_job(job_id)
        if job.token != token:
            return 0
        # The supervisor does the same; should it die before, this process is known all the same.
        identity = processes.identify(os.getpid())
        patiently(lambda: store.set_process(job, identity, utc_now()))
    except (LostJobError, GoneDatabaseError) as error:
        print(error, flush=True)
        return 0
    beating = threading.Thread(target=_beat, args=(store, job, stop), daemon=True)
    beating.start()
    do(store, settings, job, stop.is_set, work)
    return 0


def _wait(error: StoreError) -> None:
    """Before a read is tried again."""
    print(f"waiting for the database: {error}", flush=True)
    time.sleep(TRY_AGAIN_S)


def patiently(write: Callable[[], T], poll: Callable[[], None] = lambda: None) -> T:
    """Writes, however long the database does not take it; says so, and when it did.

    Args:
        write: the write; may be tried many times.
        poll: called between two tries; may raise to give it up.

    Raises:
        GoneDatabaseError: the database file is not there any more, or is another one.
    """
    began = None
    while True:
        try:
            result = write()
            if began is not None:
                print(f"the database took it after {time.monotonic() - began:.0f} s", flush=True)
            return result
        except GoneDatabaseError:
            raise
        except StoreError as error:
            if began is None:
                began = time.monotonic()
                print(f"waiting for the database: {error}", flush=True)
            poll()
            time.sleep(TRY_AGAIN_S)


def do(store: Store, settings: Settings, job: Job, should_stop: ShouldStop, work: Work) -> None:
    """Does a job and records how it ended; only here is every exception caught."""
    about = f"run {job.run_id}" if job.run_id is not None else f"job {job.id}"
    may_retry = False
    try:
        state, reason = _end(store, settings, job, should_stop, work)
        may_retry = state == RunState.CRASHED
        print(f"{about} {state}" + (f": {reason}" if reason else ""), flush=True)
        patiently(lambda: store.finish_job(job, state, reason, utc_now(), may_retry))
    except LostJobError:
        print(f"{about} belongs to another attempt, or was ended; leaving", flush=True)
    except GoneDatabaseError as error:
        print(f"{about} ends here: {error}", flush=True)


def _end(store: Store, settings: Settings, job: Job, should_stop: ShouldStop, work: Work) -> End:
    try:
        return work(store, settings, job, should_stop)
    except (LostJobError, GoneDatabaseError):
        raise
    except StoppedError as error:
        store.require_same_file()  # what stopped it may be that there is nothing to write to
        if store.read_job(job.id).stop_requested_at is not None:
            return RunState.STOPPED, f"stopped by the user{error}"
        return RunState.CRASHED, f"ended by the system{error}, perhaps a shutdown"
    except DivergedError as error:
        return RunState.DIVERGED, f"diverged: {error}"
    except EngineError as error:
        return RunState.FAILED, str(error)
    except Exception as error:  # the job boundary: the log has the traceback, the run the reason
        traceback.print_exc()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return RunState.FAILED, f"the disk of {settings.artifacts} is full; make room, resume"
        return RunState.FAILED, f"{type(error).__name__}: {error}"


def _beat(store: Store, job: Job, stop: threading.Event) -> None:
    """Says every few seconds that this process lives; asks it to leave when it lost its job.

    Training that goes on beside a database that was deleted or replaced would be for nothing: its
    figures would go nowhere.
    """
    is_heard = True
    while True:
        time.sleep(HEARTBEAT_S)
        try:
            store.require_same_file()
            store.beat(job, utc_now())
            # The supervisor sends a signal; where none lives, the wish is found here.
            if store.read_job(job.id).stop_requested_at is not None:
                stop.set()
            is_heard = True
        except (LostJobError, GoneDatabaseError):
            stop.set()
            return
        except Exception as error:  # whatever it is, the next beat may have more luck
            if is_heard:
                print(f"no heartbeat for now: {error}", flush=True)
            is_heard = False
