"""Describes the exports of studies to MLflow: what is uploaded, what waits and what failed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from engine.records.exports import Export
from engine.records.runs import Job, RunState
from engine.store import Store


@dataclass(frozen=True)
class ExportStatus:
    """An export and its newest job.

    Attributes:
        export: the export.
        job: its job, which is queued again for each upload; None before the first upload.
    """

    export: Export
    job: Job | None

    @property
    def is_notable(self) -> bool:
        """Whether the export is not finished, or some runs could not be uploaded."""
        is_working = self.job is not None and not self.job.state.is_finished()
        return self.export.is_pending or is_working or self.export.error is not None

    def describe(self, now: datetime) -> str:
        """Describes the export in a clause.

        Args:
            now: the current time, to tell when a failed upload is repeated.
        """
        export, uri = self.export, self.export.uri
        state = None if self.job is None else self.job.state
        if state == RunState.STOPPING:
            return f"the export to {uri} is stopping"
        if export.is_cancelled:
            return f"the export to {uri} was cancelled"
        if not export.is_pending:
            return f"exported to {uri}" + (f", but {export.error}" if export.error else "")
        if state == RunState.RUNNING and export.error is None:
            return f"exporting to {uri}, {export.phase or 'waiting for new results'}"
        if export.error is not None and export.uploaded_request < export.request:
            return f"not exported to {uri} yet: {export.error}; {self._next_upload(now)}"
        if export.uploaded_request == export.request:
            remark = f", but {export.error}" if export.error else ""
            return f"exported to {uri} so far{remark}; the export continues with its runs"
        return f"waiting for the export to {uri}"

    def _next_upload(self, now: datetime) -> str:
        is_working = self.job is not None and not self.job.state.is_finished()
        if is_working or self.export.next_at is None or self.export.next_at <= now:
            return "the upload is repeated now"
        seconds = math.ceil((self.export.next_at - now).total_seconds())
        return f"the next attempt is in {seconds} s"


def read_export_statuses(
    store: Store, study_ids: Sequence[int] | None = None
) -> list[ExportStatus]:
    """Reads the exports of some studies, or of all, with their jobs."""
    return [
        ExportStatus(export, store.jobs.read_newest("export", str(export.id)))
        for export in store.exports.read_all(study_ids)
    ]
