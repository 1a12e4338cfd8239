"""Uploads studies to MLflow while they run, in a separate process. Loads no torch.

One uploader process runs per artifacts folder. If a server does not answer, the upload is repeated
after a growing delay; training is not affected.
"""

import logging
import os
import signal
import sys
import threading
import time
from dataclasses import replace

from filelock import Timeout

from engine.errors import EngineError
from engine.settings import Settings
from engine.store import DatabaseReplacedError, Store
from engine.system import logs
from engine.tracking import export_requests, mlflow_format
from engine.tracking.export_requests import ExportRequest
from engine.tracking.uploader import UPLOAD_ERRORS, Uploader

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 2.0
MIN_RETRY_DELAY_S, MAX_RETRY_DELAY_S = 2.0, 60.0
# The process exits after this time without new data, even if runs of the study are still queued.
IDLE_TIMEOUT_S = 60.0
# The process exits after this time without a successful upload, if a server does not answer.
UNREACHABLE_TIMEOUT_S = 6 * 3600.0
NICENESS = 10
RETRYABLE_ERRORS: tuple[type[Exception], ...] = (*UPLOAD_ERRORS, EngineError)


class UploadLoop:
    """Uploads all incomplete requests and retries failed ones after a delay.

    Args:
        store: the store with the studies.
        settings: the settings of the installation, which name the folder of the requests.
        stop: the event that ends the loop when it is set.
    """

    def __init__(self, store: Store, settings: Settings, stop: threading.Event) -> None:
        self.store, self.settings, self.stop = store, settings, stop
        # The keys are paths of request files.
        self.uploaders: dict[str, Uploader] = {}
        self.retry_delays_s: dict[str, float] = {}
        self.retry_at: dict[str, float] = {}
        self.last_progress_at = time.monotonic()

    def run(self) -> None:
        """Uploads until all requests are complete, or a timeout has passed without progress."""
        while not self.stop.is_set():
            requests = export_requests.load_requests(self.settings)
            incomplete = [request for request in requests if not request.is_complete]
            failed = [request for request in incomplete if not self.upload(request)]
            timeout_s = UNREACHABLE_TIMEOUT_S if failed else IDLE_TIMEOUT_S
            if not incomplete or time.monotonic() - self.last_progress_at > timeout_s:
                return
            self.stop.wait(POLL_INTERVAL_S)

    def upload(self, request: ExportRequest) -> bool:
        """Uploads the new results of a study; returns False if the upload failed or must wait."""
        key = str(request.path)
        if time.monotonic() < self.retry_at.get(key, 0.0):
            return False
        try:
            if key not in self.uploaders:
                self.uploaders[key] = Uploader(self.store, self.settings, request)
            uploader = self.uploaders[key]
            before = uploader.request
            uploader.upload()
            if uploader.request != before:
                self.last_progress_at = time.monotonic()
        except RETRYABLE_ERRORS as error:
            if isinstance(error, DatabaseReplacedError):
                raise
            self.schedule_retry(request, error)
            return False
        if self.retry_delays_s.pop(key, None) is not None:
            logger.info("%s accepts uploads again", request.uri)
        return True

    def schedule_retry(self, request: ExportRequest, error: Exception) -> None:
        """Doubles the delay before the next upload; logs only the first error in a row."""
        key = str(request.path)
        reason = mlflow_format.first_line(error)
        if key not in self.retry_delays_s:
            logger.warning("%s does not accept study %d: %s", request.uri, request.study_id, reason)
        delay_s = 2 * self.retry_delays_s.get(key, MIN_RETRY_DELAY_S / 2)
        self.retry_delays_s[key] = min(delay_s, MAX_RETRY_DELAY_S)
        self.retry_at[key] = time.monotonic() + self.retry_delays_s[key]
        uploader = self.uploaders.pop(key, None)  # the next upload begins with a new uploader
        progress = request if uploader is None else uploader.request
        replace(progress, error=reason).save_progress()


def main() -> int:
    """Uploads all requests; exits at once if another uploader is running."""
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    os.nice(NICENESS)
    settings = Settings.from_environment()
    export_requests.set_client_credentials(settings)
    try:
        with export_requests.uploader_lock(settings).acquire(timeout=0):
            store = Store(settings.database_url)
            try:
                UploadLoop(store, settings, stop).run()
            finally:
                store.close()
    except Timeout:
        return 0
    except DatabaseReplacedError as error:
        logger.error("%s", error)
    return 0


if __name__ == "__main__":
    logs.configure("MLflow uploader")
    sys.exit(main())
