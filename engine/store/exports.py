"""Stores the exports of studies to MLflow: what is requested, and what was uploaded.

An export that has something to upload is *due*. `queue_due` queues its job: one job per export,
which is queued again for each upload.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from engine.records.exports import Export, RunUpload
from engine.records.runs import Job, RunState
from engine.store import rows
from engine.store.database import ACTIVE_STATES, REQUEUED, Database
from engine.store.jobs import UNFINISHED_STATES, request_stop
from engine.store.schema import exports, jobs, run_uploads, runs, studies

# The delay before the next upload after a failure doubles with each failure in a row.
MIN_RETRY_DELAY_S, MAX_RETRY_DELAY_S = 5.0, 300.0

_IS_PENDING = sa.not_(exports.c.is_cancelled) & (exports.c.completed_request < exports.c.request)
_JOB_OF_EXPORT = (jobs.c.kind == "export") & (
    jobs.c.subject == sa.cast(exports.c.id, jobs.c.subject.type)
)


class Exports:
    """Repository of exports and of the uploaded parts of their runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, export_id: int) -> Export | None:
        """Returns one export; None if it was deleted together with its study."""
        matches = self._database.rows(sa.select(exports).where(exports.c.id == export_id))
        return rows.export(matches[0]) if matches else None

    def read_all(self, study_ids: Sequence[int] | None = None) -> list[Export]:
        """Returns the exports of some studies, or all exports, in the order of creation."""
        query = sa.select(exports).order_by(exports.c.id)
        if study_ids is not None:
            query = query.where(exports.c.study_id.in_(study_ids))
        return [rows.export(row) for row in self._database.rows(query)]

    def read_uploads(self, export_id: int) -> dict[int, RunUpload]:
        """Returns run id -> the uploaded parts of the run."""
        query = sa.select(run_uploads).where(run_uploads.c.export_id == export_id)
        return {row["run_id"]: rows.run_upload(row) for row in self._database.rows(query)}

    def request(self, study_id: int, uri: str, now: datetime) -> Export:
        """Requests the export of a study to a server, also if an earlier request is complete.

        What was uploaded before is not uploaded again.

        Args:
            study_id: an existing study.
            uri: the address of the server.
            now: the time of the request, from which the export is due.
        """
        insert = self._database.insert(exports).values(
            study_id=study_id, uri=uri, requested_at=now, next_at=now
        )
        upsert = insert.on_conflict_do_update(
            index_elements=["study_id", "uri"],
            set_={**_renewed(now), "is_cancelled": False},
        )
        with self._database.transaction() as connection:
            row = connection.execute(upsert.returning(exports)).mappings().one()
            return rows.export(row)

    def renew(self, study_id: int, now: datetime) -> int:
        """Requests every export of a study again, except cancelled ones.

        Call this method when further results of the study are expected.

        Returns:
            The number of renewed exports.
        """
        of_study = (exports.c.study_id == study_id, sa.not_(exports.c.is_cancelled))
        with self._database.transaction() as connection:
            update = sa.update(exports).where(*of_study).values(_renewed(now))
            return connection.execute(update).rowcount

    def cancel(self, study_id: int, now: datetime) -> list[Export]:
        """Cancels the pending exports of a study, and requests that their jobs stop.

        A second call while a job is stopping is stored as a request to kill its process.

        Returns:
            The exports that this call cancelled.
        """
        job_ids = (
            sa.select(jobs.c.id)
            .join(exports, _JOB_OF_EXPORT)
            .where(exports.c.study_id == study_id, jobs.c.state.in_(UNFINISHED_STATES))
            .order_by(jobs.c.id)
        )
        pending = sa.update(exports).where(exports.c.study_id == study_id, _IS_PENDING)
        with self._database.transaction() as connection:
            for job_id in connection.execute(job_ids).scalars().all():
                request_stop(connection, (jobs.c.id == job_id,), now)
            update = pending.values(is_cancelled=True, phase=None).returning(exports)
            cancelled = [rows.export(row) for row in connection.execute(update).mappings()]
            return sorted(cancelled, key=lambda export: export.id)

    def has_due(self, now: datetime) -> bool:
        """Returns whether an export is due. Reads no run if no export may start now."""
        any_export = sa.select(exports.c.id).limit(1)
        candidates = any_export.where(_IS_PENDING, _is_time(now))
        if not self._database.rows(candidates):
            return False
        return bool(self._database.rows(any_export.where(_is_due(now))))

    def queue_due(self, now: datetime) -> int:
        """Queues the jobs of all exports that are due; returns their number.

        Each start of an upload counts as a failure until the upload succeeds. So an upload that
        always ends its process is not repeated without a delay.
        """
        if not self.has_due(now):
            return 0
        with self._database.transaction() as connection:
            self._database.serialise(connection, "exports")
            due = sa.select(exports).where(_is_due(now)).order_by(exports.c.id)
            due_exports = [rows.export(row) for row in connection.execute(due).mappings()]
            for export in due_exports:
                crash_reason = _queue_job(connection, export, now)
                failures = export.failures + 1
                values = {
                    "failures": failures,
                    "next_at": now + _retry_delay(failures),
                    "error": crash_reason or export.error,
                }
                update = sa.update(exports).where(exports.c.id == export.id)
                connection.execute(update.values(values))
            return len(due_exports)

    def set_phase(self, job: Job, export_id: int, phase: str | None, now: datetime) -> None:
        """Stores in words what is uploaded now."""
        self._update(job, export_id, now, phase=phase)

    def save_upload(self, job: Job, export_id: int, upload: RunUpload, now: datetime) -> bool:
        """Stores the uploaded parts of one run.

        Returns:
            False if the run or the export was deleted.
        """
        values = {"export_id": export_id, **asdict(upload)}
        upsert = (
            self._database.insert(run_uploads)
            .values(values)
            .on_conflict_do_update(index_elements=["export_id", "run_id"], set_=values)
        )
        with self._database.job_transaction(job, now) as connection:
            try:
                connection.execute(upsert)
            except sa.exc.IntegrityError:  # a foreign key: the row that it names was deleted
                return False
            return True

    def record_upload(self, job: Job, export: Export, error: str | None, now: datetime) -> None:
        """Stores that everything was uploaded that was stored at the time of a request.

        The job may continue with newer results, so its start counts as a failure until it ends.

        Args:
            job: the job of the export.
            export: the export as it was read before the upload. A request that was made during the
                upload stays open.
            error: which runs could not be uploaded; None if there are none.
            now: the time of the heartbeat.
        """
        values = {"uploaded_request": export.request, "error": error, "phase": None}
        self._update(job, export.id, now, **values, failures=1)

    def end_upload(
        self, job: Job, export: Export, is_complete: bool, next_at: datetime | None, now: datetime
    ) -> None:
        """Stores that an upload ended without a failure.

        Args:
            job: the job of the export.
            export: the export as it was read before the upload.
            is_complete: whether the study has ended, so that nothing more is to be uploaded.
            next_at: see `Export`. A request during the upload has set another time, which is kept.
            now: the time of the heartbeat.
        """
        is_newest = exports.c.request == export.request
        values: dict[str, object] = {
            "phase": None,
            "failures": 0,
            "next_at": sa.case((is_newest, next_at), else_=exports.c.next_at),
        }
        if is_complete:
            values["completed_request"] = export.request
        self._update(job, export.id, now, **values)

    def record_failure(self, job: Job, export_id: int, error: str, now: datetime) -> None:
        """Stores why an upload failed, and when the next one may start."""
        with self._database.job_transaction(job, now) as connection:
            of_export = exports.c.id == export_id
            failures = connection.execute(sa.select(exports.c.failures).where(of_export)).scalar()
            next_at = now + _retry_delay(failures or 1)
            update = sa.update(exports).where(of_export)
            connection.execute(update.values(error=error, phase=None, next_at=next_at))

    def take_over(
        self,
        study_id: int,
        uri: str,
        is_complete: bool,
        uploads: Sequence[RunUpload],
        now: datetime,
    ) -> bool:
        """Adds an export that was stored in files, unless the study has such an export already.

        Args:
            study_id: the study.
            uri: the address of the server.
            is_complete: whether the export is complete.
            uploads: the uploaded parts of runs; those of deleted runs are ignored.
            now: the time of the request.

        Returns:
            False if the study was deleted.
        """
        request = {"study_id": study_id, "uri": uri, "requested_at": now, "next_at": now}
        insert = self._database.insert(exports).values(
            **request, uploaded_request=int(is_complete), completed_request=int(is_complete)
        )
        export_id = sa.select(exports.c.id).where(
            exports.c.study_id == study_id, exports.c.uri == uri
        )
        run_ids = sa.select(runs.c.id).where(runs.c.study_id == study_id)
        with self._database.transaction() as connection:
            of_study = sa.select(studies.c.id).where(studies.c.id == study_id)
            if connection.execute(of_study).scalar() is None:
                return False
            connection.execute(insert.on_conflict_do_nothing())
            existing_runs = set(connection.execute(run_ids).scalars())
            values = {"export_id": connection.execute(export_id).scalar_one()}
            for upload in uploads:
                if upload.run_id in existing_runs:
                    added = self._database.insert(run_uploads).values(**values, **asdict(upload))
                    connection.execute(added.on_conflict_do_nothing())
            return True

    def _update(self, job: Job, export_id: int, now: datetime, **values: object) -> None:
        with self._database.job_transaction(job, now) as connection:
            update = sa.update(exports).where(exports.c.id == export_id)
            connection.execute(update.values(values))


def _renewed(now: datetime) -> dict[str, object]:
    return {
        "request": exports.c.request + 1,
        "requested_at": now,
        "next_at": now,
        "failures": 0,
        "error": None,
    }


def _retry_delay(failures: int) -> timedelta:
    """Returns the delay before the next upload after some failures in a row."""
    doublings = min(failures - 1, 30)  # avoids an overflow
    return timedelta(seconds=min(MIN_RETRY_DELAY_S * 2**doublings, MAX_RETRY_DELAY_S))


def _is_time(now: datetime) -> sa.ColumnElement[bool]:
    return exports.c.next_at.is_(None) | (exports.c.next_at <= now)


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    """Returns the condition that an export has something to upload, and may upload it now.

    No upload starts while a run starts: such a run may be measuring the best number of threads,
    which an upload would disturb.
    """
    of_study = runs.c.study_id == exports.c.study_id
    is_unfinished = runs.c.state.in_(UNFINISHED_STATES) | runs.c.will_retry
    has_active_run = sa.exists().where(of_study, runs.c.state.in_(ACTIVE_STATES))
    has_unfinished_run = sa.exists().where(of_study, is_unfinished)
    starting_run = runs.alias()
    is_starting = sa.exists().where(
        starting_run.c.state.in_(ACTIVE_STATES), starting_run.c.step == 0
    )
    has_job = sa.exists().where(_JOB_OF_EXPORT, jobs.c.state.in_(UNFINISHED_STATES))
    has_news = (
        exports.c.next_at.is_not(None)
        | (exports.c.uploaded_request < exports.c.request)
        | has_active_run
        | ~has_unfinished_run
    )
    return _IS_PENDING & _is_time(now) & has_news & ~has_job & ~is_starting


def _queue_job(connection: Connection, export: Export, now: datetime) -> str | None:
    """Queues the ended job of an export again, or adds its first job.

    Returns:
        Why the job crashed before; None if it did not.
    """
    of_export = (jobs.c.kind == "export") & (jobs.c.subject == str(export.id))
    query = sa.select(jobs).where(of_export).order_by(-jobs.c.id).limit(1)
    ended = connection.execute(query).mappings().first()
    if ended is None:
        values = {"kind": "export", "subject": str(export.id), "state": RunState.QUEUED}
        connection.execute(sa.insert(jobs).values(**values, created_at=now))
        return None
    requeued = {**REQUEUED, "reason": None, "progress": 0.0}
    connection.execute(sa.update(jobs).where(jobs.c.id == ended["id"]).values(requeued))
    return ended["reason"] if ended["state"] == RunState.CRASHED else None
