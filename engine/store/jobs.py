"""The job queue: jobs are added, claimed, stopped, released and finished.

Every state change is one guarded UPDATE or one transaction that locks the job, so that concurrent
supervisors, workers and users cannot overwrite each other's changes.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from engine.errors import BadInputError
from engine.records.runs import Job, JobKind, RunState
from engine.store import rows
from engine.store.database import FINISHED_STATES, REQUEUED, Database, lock_jobs, newest_step
from engine.store.schema import attempts, exports, installation, jobs, runs

MAX_AUTOMATIC_RETRIES = 3
UNFINISHED_STATES = tuple(state for state in RunState if not state.is_finished())


@dataclass(frozen=True)
class WorkerSlot:
    """The machine, the slot and the process that claim a job.

    Attributes:
        host: the machine.
        slot: a slot of this machine for jobs of this kind; the database assigns a slot to one job
            at a time.
        process: the identity of the supervisor, until the identity of the worker is stored.
    """

    host: str | None = None
    slot: str | None = None
    process: str | None = None


class Jobs:
    """Repository of jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, job_id: int) -> Job:
        """Returns one job.

        Raises:
            BadInputError: there is no such job.
        """
        matches = self._database.rows(sa.select(jobs).where(jobs.c.id == job_id))
        if not matches:
            raise BadInputError(f"There is no job {job_id}.")
        return rows.job(matches[0])

    def read_all(self, *states: RunState) -> list[Job]:
        """Returns the jobs in any of the given states, in the order of the queue."""
        query = sa.select(jobs).where(jobs.c.state.in_(states))
        ordered = query.order_by(-jobs.c.priority, jobs.c.id)
        return [rows.job(row) for row in self._database.rows(ordered)]

    def read_newest(self, kind: JobKind, subject: str) -> Job | None:
        """Returns the newest job of a kind about a subject; None if there is none."""
        query = sa.select(jobs).where(jobs.c.kind == kind, jobs.c.subject == subject)
        matches = self._database.rows(query.order_by(-jobs.c.id).limit(1))
        return rows.job(matches[0]) if matches else None

    def has_queued(self, *kinds: JobKind) -> bool:
        """Returns whether a job of any of the given kinds is queued."""
        query = sa.select(jobs.c.id).where(jobs.c.state == RunState.QUEUED, jobs.c.kind.in_(kinds))
        return bool(self._database.rows(query.limit(1)))

    def add(self, kind: JobKind, subject: str, now: datetime) -> Job:
        """Queues a job about a subject, or returns the unfinished job about this subject."""
        unfinished = (
            jobs.c.kind == kind,
            jobs.c.subject == subject,
            jobs.c.state.in_(UNFINISHED_STATES),
        )
        with self._database.transaction() as connection:
            self._database.serialise(connection, f"{kind} {subject}")
            row = connection.execute(sa.select(jobs).where(*unfinished)).mappings().first()
            if row is None:
                values = {"kind": kind, "subject": subject, "created_at": now}
                insert = sa.insert(jobs).values(state=RunState.QUEUED, **values).returning(jobs)
                row = connection.execute(insert).mappings().one()
            return rows.job(row)

    def claim(
        self, now: datetime, kind: JobKind = "train", worker_slot: WorkerSlot | None = None
    ) -> Job | None:
        """Claims the next queued job in one statement, so that no two callers claim the same job.

        Args:
            now: the time of the claim.
            kind: the kind of job.
            worker_slot: where the job will run.

        Returns:
            The claimed job; None if no job is queued, or the slot is in use.
        """
        target = worker_slot or WorkerSlot()
        next_job = (
            sa.select(jobs.c.id)
            .where(jobs.c.state == RunState.QUEUED, jobs.c.kind == kind)
            .order_by(-jobs.c.priority, jobs.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        values = {
            "state": RunState.RUNNING,
            "attempt": jobs.c.attempt + 1,
            "token": secrets.token_hex(16),
            "heartbeat_at": now,
            "host": target.host,
            "slot": target.slot,
            "process": target.process,
        }
        claim = (
            sa.update(jobs)
            .where(jobs.c.id == next_job, jobs.c.state == RunState.QUEUED)
            .values(values)
            .returning(jobs)
        )
        with self._database.transaction() as connection:
            try:
                row = connection.execute(claim).mappings().first()
            except sa.exc.IntegrityError:  # the unique index `jobs_slot_in_use`
                return None
            if row is None:
                return None
            job = rows.job(row)
            _start_attempt(connection, job, now)
            return job

    def set_process(self, job: Job, process: str, now: datetime) -> None:
        """Stores the identity of the process that works on a job."""
        with self._database.job_transaction(job, now) as connection:
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(process=process))

    def set_progress(self, job: Job, progress: float, now: datetime) -> None:
        """Stores the progress of a job, from 0 to 1."""
        with self._database.job_transaction(job, now) as connection:
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(progress=progress))

    def heartbeat(self, job: Job, now: datetime) -> None:
        """Renews the heartbeat of a job."""
        with self._database.job_transaction(job, now):
            return  # opening the transaction renews the heartbeat

    def request_stop(self, job_id: int, now: datetime) -> None:
        """Stops a queued job at once; stores a stop request for a running job."""
        with self._database.transaction() as connection:
            request_stop(connection, (jobs.c.id == job_id,), now)

    def request_run_stop(self, run_id: int, now: datetime) -> RunState:
        """Stops a queued run at once; stores a stop request for a running run.

        A second request is stored as a request to kill the worker. A crashed run is not retried any
        more.

        Returns:
            The state of the run after the request.

        Raises:
            BadInputError: there is no such run.
        """
        job_of_run = (jobs.c.run_id == run_id, jobs.c.kind == "train")
        run = sa.update(runs).where(runs.c.id == run_id)
        with self._database.transaction() as connection:
            if request_stop(connection, job_of_run, now):
                verb = "continued" if newest_step(connection, run_id) else "started"
                reason = f"stopped by the user before it {verb}"
                values = {"state": RunState.STOPPED, "reason": reason, "ended_at": now}
                connection.execute(run.values(values))
            is_running = run.where(runs.c.state == RunState.RUNNING)
            connection.execute(is_running.values(state=RunState.STOPPING))
            reason = "stopped by the user before it continued"
            not_retried = {"state": RunState.STOPPED, "reason": reason, "will_retry": False}
            connection.execute(run.where(runs.c.will_retry).values(not_retried))
            state = connection.execute(sa.select(runs.c.state).where(runs.c.id == run_id)).scalar()
        if state is None:
            raise BadInputError(f"There is no run {run_id}.")
        return RunState(state)

    def requeue(self, run_id: int) -> bool:
        """Queues an ended run; its next attempt continues from the newest checkpoint.

        Returns:
            False if the run has not ended, or is done.
        """
        resumable = [state for state in FINISHED_STATES if state != RunState.DONE]
        condition = (runs.c.id == run_id, runs.c.state.in_(resumable))
        with self._database.transaction() as connection:
            lock_jobs(connection, jobs.c.run_id == run_id)
            return _requeue(connection, condition, retries=0, reason=None)

    def retry_crashed(self, run_id: int) -> bool:
        """Queues a crashed run for its automatic retry; returns False if no retry is pending."""
        reason = sa.literal("retried automatically; before: ") + runs.c.reason
        condition = (runs.c.id == run_id, runs.c.will_retry)
        with self._database.transaction() as connection:
            lock_jobs(connection, jobs.c.run_id == run_id)
            return _requeue(connection, condition, retries=jobs.c.retries + 1, reason=reason)

    def move_to_front(self, run_id: int) -> bool:
        """Moves a queued run to the front of the queue; returns False if it is not queued."""
        highest = sa.select(sa.func.max(jobs.c.priority)).where(jobs.c.state == RunState.QUEUED)
        front = sa.func.coalesce(highest.scalar_subquery(), 0) + 1
        condition = (jobs.c.run_id == run_id, jobs.c.state == RunState.QUEUED)
        with self._database.transaction() as connection:
            update = sa.update(jobs).where(*condition).values(priority=front)
            return bool(connection.execute(update).rowcount)

    def release(self, job: Job, reason: str, now: datetime, was_refused: bool = False) -> None:
        """Queues a claimed job again because its worker did not start.

        If a stop was requested after the claim, the job is stopped instead.

        Args:
            job: the job, with the token of the caller.
            reason: why the worker did not start; the queued run shows this reason.
            now: the time of the release.
            was_refused: whether the launcher did not take the job. The attempt then ends in the
                state `queued`; otherwise it has crashed.
        """
        with self._database.job_transaction(job, now) as connection:
            state, run_reason, ended_at = RunState.QUEUED, reason, None
            if _current_state(connection, job) == RunState.STOPPING:
                state, ended_at = RunState.STOPPED, now
                run_reason = "stopped by the user before it started"
            released = {"state": state, "token": None, "process": None}
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(released))
            values = {"state": state, "reason": run_reason, "phase": None, "ended_at": ended_at}
            connection.execute(sa.update(runs).where(runs.c.id == job.run_id).values(values))
            attempt_state = RunState.QUEUED if was_refused else RunState.CRASHED
            _end_attempt(connection, job, attempt_state, reason, now)

    def finish(
        self,
        job: Job,
        state: RunState,
        reason: str | None,
        now: datetime,
        may_retry: bool = False,
    ) -> None:
        """Ends a job and its run.

        A crash after a stop request is recorded as a stop.

        Args:
            job: the job, with the token of the caller.
            state: the final state.
            reason: the reason that pages show.
            now: the time of the end.
            may_retry: allows an automatic retry. The run is retried if this attempt wrote a newer
                checkpoint than the one it started from, at most `MAX_AUTOMATIC_RETRIES` times in
                a row.
        """
        with self._database.job_transaction(job, now) as connection:
            was_stopping = _current_state(connection, job) == RunState.STOPPING
            if state == RunState.CRASHED and was_stopping:
                state, reason, may_retry = RunState.STOPPED, "stopped by the user", False
            finished = {"state": state, "reason": reason, "token": None}
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(finished))
            first_step = sa.select(attempts.c.from_step).where(*_attempt_key(job))
            from_step = connection.execute(first_step).scalar() or 0
            has_progressed = newest_step(connection, job.run_id) > from_step
            values = {
                "state": state,
                "reason": reason,
                "phase": None,
                "ended_at": now,
                "will_retry": may_retry and has_progressed and job.retries < MAX_AUTOMATIC_RETRIES,
            }
            connection.execute(sa.update(runs).where(runs.c.id == job.run_id).values(values))
            _end_attempt(connection, job, state, reason, now)

    def detach_running(self, is_copy: bool, now: datetime) -> None:
        """Removes the processes of another installation from a restored database.

        Running jobs are queued and continue from their newest checkpoint; stopping jobs are
        stopped.

        Args:
            is_copy: whether the original database may still be in use; a copy gets a new
                installation id and exports nothing.
            now: the time of the restore.
        """
        transitions = {
            RunState.RUNNING: RunState.QUEUED,
            RunState.STOPPING: RunState.STOPPED,
        }
        with self._database.transaction() as connection:
            for before, after in transitions.items():
                released: Mapping[str, object] = {
                    **REQUEUED,
                    **{"state": after, "token": None, "host": None, "slot": None},
                }
                connection.execute(sa.update(jobs).where(jobs.c.state == before).values(released))
                reason = "the backup was made while the run was active"
                values = {"state": after, "reason": reason, "phase": None}
                connection.execute(sa.update(runs).where(runs.c.state == before).values(values))
            open_attempts = sa.update(attempts).where(attempts.c.state.is_(None))
            ended = {"state": RunState.CRASHED, "reason": "the backup was made", "ended_at": now}
            connection.execute(open_attempts.values(ended))
            if is_copy:
                connection.execute(sa.update(installation).values(id=secrets.token_hex(8)))
                # The uploaded runs belong to the original database, which continues them.
                connection.execute(sa.delete(jobs).where(jobs.c.kind == "export"))
                connection.execute(sa.delete(exports))


def _start_attempt(connection: Connection, job: Job, now: datetime) -> None:
    run = {
        "state": RunState.RUNNING,
        "attempt": job.attempt,
        "phase": "starting",
        "reason": None,
        "started_at": sa.func.coalesce(runs.c.started_at, now),
        "ended_at": None,
    }
    connection.execute(sa.update(runs).where(runs.c.id == job.run_id).values(run))
    attempt = {
        "job_id": job.id,
        "run_id": job.run_id,
        "number": job.attempt,
        "host": job.host,
        "from_step": newest_step(connection, job.run_id),
        "started_at": now,
    }
    connection.execute(sa.insert(attempts).values(attempt))


def _end_attempt(
    connection: Connection, job: Job, state: RunState, reason: str | None, now: datetime
) -> None:
    values = {"state": state, "reason": reason, "ended_at": now}
    connection.execute(sa.update(attempts).where(*_attempt_key(job)).values(values))


def _attempt_key(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    return attempts.c.job_id == job.id, attempts.c.number == job.attempt


def _current_state(connection: Connection, job: Job) -> RunState:
    """Returns the stored state of a job; the caller's record may be outdated."""
    query = sa.select(jobs.c.state).where(jobs.c.id == job.id)
    return RunState(connection.execute(query).scalar_one())


def request_stop(
    connection: Connection, condition: tuple[sa.ColumnElement[bool], ...], now: datetime
) -> bool:
    """Requests the stop of one job; returns True if it was queued and is stopped now.

    The row lock prevents a concurrent claim, finish or requeue between the read and the update.
    """
    query = sa.select(jobs.c.state).where(*condition).with_for_update()
    state = connection.execute(query).scalar()
    changes: dict[RunState, dict[str, object]] = {
        RunState.QUEUED: {"state": RunState.STOPPED},
        RunState.RUNNING: {"state": RunState.STOPPING, "stop_requested_at": now},
        RunState.STOPPING: {"kill_requested_at": now},
    }
    if state in changes:
        connection.execute(sa.update(jobs).where(*condition).values(changes[RunState(state)]))
    return state == RunState.QUEUED


def _requeue(
    connection: Connection,
    condition: tuple[sa.ColumnElement[bool], ...],
    retries: int | sa.ColumnElement[int],
    reason: sa.ColumnElement[str] | None,
) -> bool:
    values = {"state": RunState.QUEUED, "will_retry": False, "ended_at": None, "reason": reason}
    update_runs = sa.update(runs).where(*condition).values(values).returning(runs.c.id)
    run_ids = list(connection.execute(update_runs).scalars())
    of_runs = (jobs.c.run_id.in_(run_ids), jobs.c.kind == "train")
    connection.execute(sa.update(jobs).where(*of_runs).values({**REQUEUED, "retries": retries}))
    return bool(run_ids)
