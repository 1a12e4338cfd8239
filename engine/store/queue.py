"""Jobs are queued, claimed, stopped, ended and taken up again, by guarded transitions."""

import secrets
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from engine.records.runs import Job, JobKind, RunState
from engine.store import rows
from engine.store.reading import Reading
from engine.store.schema import attempts, checkpoints, jobs, runs
from engine.store.session import FINISHED, QUEUED_AGAIN, lock_jobs

MOST_RETRIES = 3  # that a run makes by itself
UNFINISHED = tuple(state for state in RunState if not state.is_finished())


@dataclass(frozen=True)
class Place:
    """Where a job is claimed, and by whom.

    Attributes:
        host: the machine.
        slot: one of its places for a job of this kind; the database gives it to one at a time.
        process: identity of the supervisor, until the worker's own is known.
    """

    host: str | None = None
    slot: str | None = None
    process: str | None = None


class Queue(Reading):
    """The rows that say what is to be done, and by whom it is being done."""

    def add_job(self, kind: JobKind, subject: str, now: datetime) -> Job:
        """Queues a job about a subject; one that is not finished yet is not doubled."""
        same = (jobs.c.kind == kind, jobs.c.subject == subject, jobs.c.state.in_(UNFINISHED))
        with self._writing() as connection:
            self._take_turns(connection, f"{kind} {subject}")
            row = connection.execute(sa.select(jobs).where(*same)).mappings().first()
            if row is None:
                values = {"kind": kind, "subject": subject, "created_at": now}
                insert = sa.insert(jobs).values(state=RunState.QUEUED, **values).returning(jobs)
                row = connection.execute(insert).mappings().one()
            return rows.job(row)

    def _take_turns(self, connection: Connection, about: str) -> None:
        """Lets no other transaction about the same thing begin before this one ends.

        On SQLite no two transactions write at the same time anyway.
        """
        if self._engine.dialect.name != "sqlite":
            key = sa.func.hashtext(about)
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))

    def claim_job(
        self, now: datetime, kind: JobKind = "train", place: Place | None = None
    ) -> Job | None:
        """Takes the next queued job, in one statement, so that no two can take the same.

        Args:
            now: the moment of the claim.
            kind: of job.
            place: where it will be done.

        Returns:
            None where nothing waits, or the place is taken already.
        """
        where = place or Place()
        waiting = (
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
            "host": where.host,
            "slot": where.slot,
            "process": where.process,
        }
        claim = (
            sa.update(jobs)
            .where(jobs.c.id == waiting, jobs.c.state == RunState.QUEUED)
            .values(values)
            .returning(jobs)
        )
        try:
            with self._writing() as connection:
                row = connection.execute(claim).mappings().first()
                if row is None:
                    return None
                job = rows.job(row)
                self._begin_attempt(connection, job, now)
                return job
        except sa.exc.IntegrityError:  # the slot is in use, whatever its supervisor believes
            return None

    def _begin_attempt(self, connection: Connection, job: Job, now: datetime) -> None:
        started = {
            "state": RunState.RUNNING,
            "attempt": job.attempt,
            "phase": "starting",
            "reason": None,
            "started_at": sa.func.coalesce(runs.c.started_at, now),
            "ended_at": None,
        }
        connection.execute(sa.update(runs).where(runs.c.id == job.run_id).values(started))
        attempt = {
            "job_id": job.id,
            "run_id": job.run_id,
            "number": job.attempt,
            "host": job.host,
            "from_step": _newest_step(connection, job.run_id),
            "started_at": now,
        }
        connection.execute(sa.insert(attempts).values(attempt))

    def set_process(self, job: Job, process: str, now: datetime) -> None:
        """Notes which process works on the job."""
        with self._held(job, now) as connection:
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(process=process))

    def beat(self, job: Job, now: datetime) -> None:
        """Says that the job's worker lives."""
        with self._held(job, now):
            return  # opening the transaction renews the heartbeat

    def request_stop(self, run_id: int, now: datetime) -> RunState:
        """Stops a queued run at once, asks a running one to stop; asked again, it is killed.

        A run that crashed and would go on by itself does not.

        Returns:
            The run's state.
        """
        with self._writing() as connection:
            of_run = (jobs.c.run_id == run_id, jobs.c.kind == "train")
            if self._request_stop(connection, of_run, now):
                reason = "stopped by the user before it began"
                if _newest_step(connection, run_id):
                    reason = "stopped by the user before it went on"
                end = {"state": RunState.STOPPED, "reason": reason, "ended_at": now}
                connection.execute(sa.update(runs).where(runs.c.id == run_id).values(end))
            this = sa.update(runs).where(runs.c.id == run_id)
            stopping = this.where(runs.c.state == RunState.RUNNING)
            connection.execute(stopping.values(state=RunState.STOPPING))
            reason = "stopped by the user before it went on"
            staying = {"state": RunState.STOPPED, "reason": reason, "will_retry": False}
            connection.execute(this.where(runs.c.will_retry).values(staying))
        return self.read_run(run_id).state

    def request_job_stop(self, job_id: int, now: datetime) -> None:
        """Stops a job that is queued; asks one that is running to stop."""
        with self._writing() as connection:
            self._request_stop(connection, (jobs.c.id == job_id,), now)

    def _request_stop(
        self, connection: Connection, which: tuple[sa.ColumnElement[bool], ...], now: datetime
    ) -> bool:
        """Whether the job was still queued, and is stopped now."""
        # Nobody claims it, ends it or queues it again between the look and the deed.
        state = connection.execute(sa.select(jobs.c.state).where(*which).with_for_update()).scalar()
        values: dict[str, object] = {}
        if state == RunState.QUEUED:
            values = {"state": RunState.STOPPED}
        elif state == RunState.RUNNING:
            values = {"state": RunState.STOPPING, "stop_requested_at": now}
        elif state == RunState.STOPPING:
            values = {"kill_requested_at": now}
        if values:
            connection.execute(sa.update(jobs).where(*which).values(values))
        return state == RunState.QUEUED

    def requeue(self, run_id: int, now: datetime) -> bool:
        """Queues an ended run again; its next attempt continues from the newest checkpoint.

        Returns:
            False where it is not one that ended without being done.
        """
        with self._writing() as connection:
            lock_jobs(connection, jobs.c.run_id == run_id)
            open_end = [state for state in FINISHED if state != RunState.DONE]
            this = (runs.c.id == run_id, runs.c.state.in_(open_end))
            return self._requeue(connection, this, now, retries=0, reason=None)

    def retry_crashed(self, run_id: int, now: datetime) -> bool:
        """Queues a crashed run that goes on by itself; False where it does not any more."""
        with self._writing() as connection:
            lock_jobs(connection, jobs.c.run_id == run_id)
            this = (runs.c.id == run_id, runs.c.will_retry)
            reason = sa.literal("goes on; before: ") + runs.c.reason
            return self._requeue(connection, this, now, jobs.c.retries + 1, reason)

    def _requeue(
        self,
        connection: Connection,
        which: tuple[sa.ColumnElement[bool], ...],
        now: datetime,
        retries: int | sa.ColumnElement[int],
        reason: sa.ColumnElement[str] | None,
    ) -> bool:
        again = {"state": RunState.QUEUED, "will_retry": False, "ended_at": None}
        again["reason"] = reason
        ended = sa.update(runs).where(*which).values(again).returning(runs.c.id)
        run_ids = list(connection.execute(ended).scalars())
        job = sa.update(jobs).where(jobs.c.run_id.in_(run_ids), jobs.c.kind == "train")
        connection.execute(job.values({**QUEUED_AGAIN, "retries": retries}))
        return bool(run_ids)

    def move_to_front(self, run_id: int) -> bool:
        """Lets a queued run be the next; False where it does not wait."""
        first = sa.select(sa.func.max(jobs.c.priority)).where(jobs.c.state == RunState.QUEUED)
        this = (jobs.c.run_id == run_id, jobs.c.state == RunState.QUEUED)
        with self._writing() as connection:
            front = sa.func.coalesce(first.scalar_subquery(), 0) + 1
            moved = connection.execute(sa.update(jobs).where(*this).values(priority=front))
            return bool(moved.rowcount)

    def give_back(self, job: Job, now: datetime) -> None:
        """Queues a job again whose claim came to nothing; one that was to be stopped is stopped."""
        with self._held(job, now) as connection:
            state, reason = RunState.QUEUED, None
            if _state(connection, job) == RunState.STOPPING:
                state, reason = RunState.STOPPED, "stopped by the user before it began"
            freed = {"state": state, "token": None, "process": None}
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(freed))
            ended_at = None if reason is None else now
            waits = {"state": state, "reason": reason, "phase": None, "ended_at": ended_at}
            connection.execute(sa.update(runs).where(runs.c.id == job.run_id).values(waits))
            this = (attempts.c.job_id == job.id, attempts.c.number == job.attempt)
            ended = {"state": RunState.CRASHED, "ended_at": now}
            ended["reason"] = "its supervisor ended before it began"
            connection.execute(sa.update(attempts).where(*this).values(ended))

    def finish_job(
        self,
        job: Job,
        state: RunState,
        reason: str | None,
        now: datetime,
        may_retry: bool = False,
    ) -> None:
        """Ends a job, and its run with it.

        A crash of a job that was asked to stop is its stop, whenever the wish came.

        Args:
            job: held by the caller.
            state: how it ended.
            reason: why, for a person.
            now: the moment.
            may_retry: whether its run may go on by itself: it does if this attempt brought a
                checkpoint further, and at most three times in a row.
        """
        with self._held(job, now) as connection:
            if state == RunState.CRASHED and _state(connection, job) == RunState.STOPPING:
                state, reason, may_retry = RunState.STOPPED, "stopped by the user", False
            done = {"state": state, "reason": reason, "token": None}
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(done))
            this = (attempts.c.job_id == job.id, attempts.c.number == job.attempt)
            before = connection.execute(sa.select(attempts.c.from_step).where(*this)).scalar()
            further = _newest_step(connection, job.run_id) > (before or 0)
            end = {
                "state": state,
                "reason": reason,
                "phase": None,
                "ended_at": now,
                "will_retry": may_retry and further and job.retries < MOST_RETRIES,
            }
            connection.execute(sa.update(runs).where(runs.c.id == job.run_id).values(end))
            ended = {"state": state, "reason": reason, "ended_at": now}
            connection.execute(sa.update(attempts).where(*this).values(ended))


def _state(connection: Connection, job: Job) -> RunState:
    """As it is now: the record that the caller holds may be older."""
    return RunState(
        connection.execute(sa.select(jobs.c.state).where(jobs.c.id == job.id)).scalar_one()
    )


def _newest_step(connection: Connection, run_id: int | None) -> int:
    newest = sa.select(sa.func.max(checkpoints.c.step)).where(checkpoints.c.run_id == run_id)
    return connection.execute(newest).scalar() or 0
