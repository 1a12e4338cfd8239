"""The periodic tasks of a supervisor: webhook, exports to MLflow and automatic retries."""

import logging
import threading
import time
from datetime import timedelta

from engine.jobs import webhook
from engine.store import Store, utc_now
from engine.tracking import mlflow_client

logger = logging.getLogger(__name__)

NOTIFY_EVERY_S = 5.0
# A study that ended longer ago, while no supervisor was running, is not posted any more.
NOTIFY_WITHIN_S = 3600.0
EXPORT_CHECK_EVERY_S = 5.0
# A crashed run is retried after this delay, so that users can see the crash.
RETRY_AFTER_S = 10.0


class WebhookNotifier:
    """Posts to the webhook when a study has ended."""

    def __init__(self, store: Store, url: str | None) -> None:
        self._store, self._url = store, url
        self._active_tokens: set[str] = set()
        self._next_check = 0.0

    def run(self, active_tokens: set[str]) -> None:
        """Posts new ends of studies; checks for them when a job has ended, and every few seconds.

        Args:
            active_tokens: the tokens of the jobs that are running or stopping.
        """
        has_job_ended = bool(self._active_tokens - active_tokens)
        self._active_tokens = active_tokens
        is_due = time.monotonic() >= self._next_check
        if self._url is None or not (is_due or has_job_ended):
            return
        self._next_check = time.monotonic() + NOTIFY_EVERY_S
        now = utc_now()
        since = now - timedelta(seconds=NOTIFY_WITHIN_S)
        for study_id in self._store.studies.claim_notifications(since, now):
            study = self._store.studies.read(study_id)
            message = webhook.build_message(study, self._store.runs.read_all(study_id))
            threading.Thread(target=webhook.post, args=(self._url, message)).start()


class ExportStarter:
    """Queues the exports to MLflow that have something to upload."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next_check = 0.0

    def run(self) -> bool:
        """Queues the exports that are due, every few seconds; returns whether any was queued."""
        return time.monotonic() >= self._next_check and self.queue_due()

    def queue_due(self) -> bool:
        """Queues the exports that are due now; returns whether any was queued."""
        self._next_check = time.monotonic() + EXPORT_CHECK_EVERY_S
        return mlflow_client.is_installed() and self._store.exports.queue_due(utc_now()) > 0


class CrashRetries:
    """Queues crashed runs again after a delay."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._crashed_at: dict[int, float] = {}  # run id -> monotonic time of detection

    def run(self) -> bool:
        """Queues the crashed runs whose delay is over; returns whether any retry was pending."""
        run_ids = self._store.runs.read_retrying()
        for run_id in run_ids:
            crashed_at = self._crashed_at.setdefault(run_id, time.monotonic())
            if time.monotonic() - crashed_at >= RETRY_AFTER_S:
                self._store.jobs.retry_crashed(run_id)
                logger.info("run %d is queued again after its crash", run_id)
                del self._crashed_at[run_id]
        return bool(run_ids)
