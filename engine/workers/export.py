"""Uploads a study to an MLflow server while its runs are trained. Loads no torch.

The supervisor starts this module as `python -m engine.workers.export JOB TOKEN`. The job ends when
everything is uploaded, when the server does not accept the upload, or when no run of the study is
active. The supervisor queues it again when the export is due (`store.exports`).
"""

import logging
import os
import sys
import time
from contextlib import suppress
from datetime import timedelta

from engine.errors import BadInputError, DatabaseUnavailableError, EngineError, StoreError
from engine.records.exports import Export, RunUpload
from engine.records.runs import Job, RunState
from engine.settings import Settings
from engine.store import LostJobError, Store, utc_now
from engine.tracking import mlflow_client, mlflow_format
from engine.tracking.uploader import (
    SERVER_ERRORS,
    Uploader,
    UploadResult,
    UploadStoppedError,
)
from engine.workers import worker_process
from engine.workers.worker_process import End, ShouldStop, StoppedError

POLL_INTERVAL_S = 2.0
STOP_CHECK_S = 0.1
PROGRESS_EVERY_S = 0.5
# The delay before the next upload of a study with active runs, if another export was queued.
YIELD_S = 30.0
NICENESS = 10

logger = logging.getLogger(__name__)


def export_study(store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> End:
    """Uploads the new results of the job's export, until it is complete or must wait.

    Raises:
        StoppedError: a stop was requested.
        EngineError: MLflow's client is not installed.
    """
    mlflow_client.require_installed()
    mlflow_client.set_credentials(settings)
    if job.subject is None:
        raise EngineError("this job names no export")
    export = store.exports.read(int(job.subject))
    if export is None:  # the study was deleted
        return RunState.DONE, None
    try:
        return _ExportWorker(store, settings, job, export, should_stop).run(export)
    except UploadStoppedError as error:
        raise StoppedError from error
    except BadInputError:
        if store.exports.read(export.id) is not None:
            raise
        return RunState.DONE, None  # the study was deleted during the upload
    except (LostJobError, StoreError, StoppedError):
        raise
    except Exception as error:  # the boundary of the upload: the reason is stored
        reason = mlflow_format.reason_of(error)
        worker_process.retry_until_written(
            lambda: store.exports.record_failure(job, export.id, reason, utc_now())
        )
        if not isinstance(error, SERVER_ERRORS):
            raise
        return RunState.FAILED, f"{export.uri} did not accept the upload: {reason}"


class _ExportWorker:
    """Uploads one export and stores its progress, with the token of one job."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        job: Job,
        export: Export,
        should_stop: ShouldStop,
    ) -> None:
        self.store, self.job, self.export_id = store, job, export.id
        self.should_stop = should_stop
        self.uploader = Uploader(
            store, settings, export, self._save, self._store_progress, should_stop
        )
        self._progress_at = 0.0

    def run(self, export: Export) -> End:
        """Uploads until the export is complete, or no run of its study is active.

        If another export is queued, the job ends after an upload, so that it does not hold the only
        slot for exports for hours.
        """
        newest: Export | None = export
        while newest is not None and newest.is_pending:
            result = self.uploader.upload(newest)
            self._record_upload(newest, result)
            if result.is_study_over:
                self._end_upload(newest, is_complete=True)
                if result.error is not None:
                    return RunState.FAILED, result.error
            elif not result.has_active_run:
                self._end_upload(newest, is_complete=False)
                return RunState.DONE, None
            elif self.store.jobs.has_queued("export"):
                self._end_upload(newest, is_complete=False, delay_s=YIELD_S)
                return RunState.DONE, None
            else:
                self._wait()
            newest = self.store.exports.read(self.export_id)
        return RunState.DONE, None

    def _record_upload(self, export: Export, result: UploadResult) -> None:
        is_new = export.uploaded_request < export.request or export.error != result.error
        if is_new or export.phase is not None or result.is_study_over:
            worker_process.retry_until_written(
                lambda: self.store.exports.record_upload(self.job, export, result.error, utc_now())
            )

    def _end_upload(self, export: Export, is_complete: bool, delay_s: float | None = None) -> None:
        next_at = None if delay_s is None else utc_now() + timedelta(seconds=delay_s)
        worker_process.retry_until_written(
            lambda: self.store.exports.end_upload(self.job, export, is_complete, next_at, utc_now())
        )

    def _save(self, upload: RunUpload) -> bool:
        return worker_process.retry_until_written(
            lambda: self.store.exports.save_upload(self.job, self.export_id, upload, utc_now())
        )

    def _store_progress(self, part: str, share: float) -> None:
        """Stores what is uploaded now, unless the last report is too recent."""
        if time.monotonic() - self._progress_at < PROGRESS_EVERY_S:
            return
        self._progress_at = time.monotonic()
        # Progress is not important enough to wait for the database.
        with suppress(DatabaseUnavailableError):
            self.store.exports.set_phase(self.job, self.export_id, part, utc_now())
            self.store.jobs.set_progress(self.job, share, utc_now())

    def _wait(self) -> None:
        """Waits until the next upload.

        Raises:
            UploadStoppedError: a stop was requested.
        """
        wait_until = time.monotonic() + POLL_INTERVAL_S
        while time.monotonic() < wait_until:
            if self.should_stop():
                raise UploadStoppedError
            time.sleep(STOP_CHECK_S)


if __name__ == "__main__":
    os.nice(NICENESS)
    worker_process.run(sys.argv[1:], export_study)
