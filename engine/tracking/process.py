"""The process that sends studies to MLflow while they run, and after. Torch-free.

There is one per artifacts folder. A server that does not answer is asked again, less and less
often; training hears nothing of it.
"""

import os
import signal
import sys
import threading
import time
from dataclasses import replace

# Before the client is loaded: how patient it is is said here, not there.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "15"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

from filelock import Timeout

from engine.errors import EngineError
from engine.settings import Settings
from engine.store import GoneDatabaseError, Store
from engine.tracking import export_requests, mlflow_format
from engine.tracking.uploader import TROUBLES, Sender

LOOK_EVERY_S = 2.0
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 60.0
IDLE_S = 60.0  # without anything new to send, while runs wait for a supervisor
GIVE_UP_S = 6 * 3600.0  # after which a server that does not answer is left alone
NICE = 10
PUT_OFF: tuple[type[Exception], ...] = (*TROUBLES, EngineError)


class _Mirror:
    """What is sent now, and how long to wait for each server that does not answer."""

    def __init__(self, store: Store, settings: Settings, leave: threading.Event) -> None:
        self.store, self.settings, self.leave = store, settings, leave
        self.senders: dict[str, Sender] = {}
        self.wait_s: dict[str, float] = {}
        self.again_at: dict[str, float] = {}
        self.heard_at = time.monotonic()

    def work(self) -> None:
        """Sends until all is sent, or nobody has taken anything for long."""
        while not self.leave.is_set():
            left = [it for it in export_requests.read_all(self.settings) if not it.is_over]
            troubled = [it for it in left if not self.send(it)]
            quiet = time.monotonic() - self.heard_at
            if not left or quiet > (GIVE_UP_S if troubled else IDLE_S):
                return
            self.leave.wait(LOOK_EVERY_S)

    def send(self, wanted: export_requests.Tracked) -> bool:
        """Sends what is new of a study; whether its server took it, or will be asked later."""
        key = str(wanted.path)
        if time.monotonic() < self.again_at.get(key, 0.0):
            return False
        try:
            if key not in self.senders:
                self.senders[key] = Sender(self.store, self.settings, wanted)
            before = self.senders[key].tracked
            self.senders[key].send()
            if self.senders[key].tracked != before:
                self.heard_at = time.monotonic()
        except PUT_OFF as error:
            if isinstance(error, GoneDatabaseError):
                raise
            self.put_off(wanted, error)
            return False
        if self.wait_s.pop(key, None) is not None:
            print(f"{wanted.uri} takes it again", flush=True)
        return True

    def put_off(self, wanted: export_requests.Tracked, error: Exception) -> None:
        """Waits twice as long as the last time before it is asked again; says so once."""
        key = str(wanted.path)
        reason = mlflow_format.fault(error)
        if key not in self.wait_s:
            print(f"{wanted.uri} does not take study {wanted.study_id}: {reason}", flush=True)
        wait = min(2 * self.wait_s.get(key, FIRST_WAIT_S / 2), LONGEST_WAIT_S)
        self.wait_s[key], self.again_at[key] = wait, time.monotonic() + wait
        sender = self.senders.pop(key, None)  # what it was in the midst of is read anew
        known = wanted if sender is None else sender.tracked
        replace(known, trouble=reason).save()


def main() -> int:
    """Sends what there is to send, unless another process does."""
    leave = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leave.set())
    os.nice(NICE)
    export_requests.take_credentials()
    settings = Settings.from_environment()
    try:
        with export_requests.mirror_lock(settings).acquire(timeout=0):
            store = Store(settings.database_url)
            try:
                _Mirror(store, settings, leave).work()
            finally:
                store.close()
    except Timeout:
        return 0
    except GoneDatabaseError as error:
        print(error, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
