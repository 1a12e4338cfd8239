"""One attempt at one job: its process, from the claim to the recorded end. Torch-free.

Started by the supervisor with a job's id and token. Every write goes under the token; a process
that has lost its job leaves without a word in the database.
"""

import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType

from engine.errors import DivergedError, EngineError, StoreError
from engine.records import Job, RunState
from engine.settings import Settings
from engine.store import LostJobError, Store, utc_now

HEARTBEAT_S = 5.0

ShouldStop = Callable[[], bool]
End = tuple[RunState, str | None]  # how it ended, and why
Work = Callable[[Store, Settings, Job, ShouldStop], End]


def main(arguments: Sequence[str], work: Work) -> int:
    """Does the job whose id and token are given; the exit status is for the supervisor."""
    job_id, token = int(arguments[0]), arguments[1]
    settings = Settings.from_environment()
    store = Store(settings.database_url)
    job = store.read_job(job_id)
    if job.token != token:
        return 0
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    beating = threading.Thread(target=_beat, args=(store, job, stop), daemon=True)
    beating.start()
    do(store, settings, job, stop.is_set, work)
    return 0


def stopped(store: Store, job: Job, where: str = "") -> End:
    """How a job ends that was asked to: by the user, with a row, or by a signal alone."""
    if store.read_job(job.id).stop_requested_at is not None:
        return RunState.STOPPED, f"stopped by the user{where}"
    return RunState.CRASHED, f"ended by the system{where}, perhaps a shutdown"


def do(store: Store, settings: Settings, job: Job, should_stop: ShouldStop, work: Work) -> None:
    """Does a job and records how it ended; only here is every exception caught."""
    about = f"run {job.run_id}" if job.run_id is not None else f"job {job.id}"
    try:
        state, reason = work(store, settings, job, should_stop)
    except LostJobError:
        print(f"{about} belongs to another attempt; leaving", flush=True)
        return
    except DivergedError as error:
        state, reason = RunState.DIVERGED, f"diverged: {error}"
    except EngineError as error:
        state, reason = RunState.FAILED, str(error)
    except Exception as error:  # the job boundary: the log has the traceback, the run the reason
        state, reason = RunState.FAILED, f"{type(error).__name__}: {error}"
        traceback.print_exc()
    print(f"{about} {state}" + (f": {reason}" if reason else ""), flush=True)
    try:
        store.finish_job(job, state, reason, utc_now())
    except LostJobError:
        print(f"{about} was ended by somebody else", flush=True)


def _beat(store: Store, job: Job, stop: threading.Event) -> None:
    """Says every few seconds that this process lives; asks it to leave when it lost the job."""
    while True:
        time.sleep(HEARTBEAT_S)
        try:
            store.beat(job, utc_now())
        except LostJobError:
            stop.set()
            return
        except StoreError as error:
            print(f"no heartbeat this time: {error}", flush=True)
