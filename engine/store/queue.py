"""Studies come in, jobs are claimed, stopped and ended."""

import secrets
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from engine.config import RunConfig
from engine.records import Job, JobKind, Run, RunState, Study
from engine.store import rows
from engine.store.reading import Reading
from engine.store.schema import jobs, runs, studies


class Queue(Reading):
    """The rows that say what is to be done, and by whom it is being done."""

    def add_study(
        self, key: str, name: str, configs: Sequence[RunConfig], now: datetime
    ) -> tuple[Study, list[Run]]:
        """Stores a study with one queued run and job per config; the same key again is the same.

        Args:
            key: made once for each intention to start.
            name: what people call it.
            configs: one per run, all on the same data and budget.
            now: the moment of its creation.
        """
        first = configs[0]
        with self._writer.begin() as connection:
            values = {
                "key": key,
                "name": name,
                "data": first.data,
                "budget": first.budget.model_dump(mode="json"),
                "created_at": now,
            }
            insert = self._insert(studies).values(values).on_conflict_do_nothing()
            added = connection.execute(insert.returning(studies.c.id)).scalar()
            if added is not None:
                for config in configs:
                    self._add_run(connection, added, config, now)
            study_id = connection.execute(
                sa.select(studies.c.id).where(studies.c.key == key)
            ).scalar_one()
        return self.read_study(study_id), self.read_runs(study_id)

    def _add_run(
        self, connection: Connection, study_id: int, config: RunConfig, now: datetime
    ) -> None:
        values = {
            "study_id": study_id,
            "configuration": config.configuration.name,
            "seed": config.seed,
            "state": RunState.QUEUED,
            "config": config.model_dump(mode="json"),
            "epochs": config.budget.epochs,
            "created_at": now,
        }
        run_id = connection.execute(sa.insert(runs).values(values).returning(runs.c.id)).scalar()
        job = {"kind": "train", "run_id": run_id, "state": RunState.QUEUED, "created_at": now}
        connection.execute(sa.insert(jobs).values(job))

    def add_job(self, kind: JobKind, subject: str, now: datetime) -> Job:
        """Queues a job about a subject; one that is not finished yet is not doubled."""
        unfinished = [state for state in RunState if not state.is_finished()]
        same = (jobs.c.kind == kind, jobs.c.subject == subject, jobs.c.state.in_(unfinished))
        with self._writer.begin() as connection:
            row = connection.execute(sa.select(jobs).where(*same)).mappings().first()
            if row is None:
                values = {"kind": kind, "subject": subject, "created_at": now}
                insert = sa.insert(jobs).values(state=RunState.QUEUED, **values).returning(jobs)
                row = connection.execute(insert).mappings().one()
            return rows.job(row)

    def claim_job(self, now: datetime, kind: JobKind = "train") -> Job | None:
        """Takes the next queued job, in one statement, so that no two can take the same."""
        waiting = (
            sa.select(jobs.c.id)
            .where(jobs.c.state == RunState.QUEUED, jobs.c.kind == kind)
            .order_by(-jobs.c.priority, jobs.c.id)
            .limit(1)
            .scalar_subquery()
        )
        values = {
            "state": RunState.RUNNING,
            "attempt": jobs.c.attempt + 1,
            "token": secrets.token_hex(16),
            "heartbeat_at": now,
        }
        claim = (
            sa.update(jobs)
            .where(jobs.c.id == waiting, jobs.c.state == RunState.QUEUED)
            .values(values)
            .returning(jobs)
        )
        with self._writer.begin() as connection:
            row = connection.execute(claim).mappings().first()
            if row is None:
                return None
            started = {
                "state": RunState.RUNNING,
                "attempt": row["attempt"],
                "phase": "starting",
                "reason": None,
                "started_at": sa.func.coalesce(runs.c.started_at, now),
                "ended_at": None,
            }
            connection.execute(sa.update(runs).where(runs.c.id == row["run_id"]).values(started))
            return rows.job(row)

    def set_process(self, job: Job, process: str, now: datetime) -> None:
        """Notes which process works on the job."""
        with self._held(job, now) as connection:
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(process=process))

    def beat(self, job: Job, now: datetime) -> None:
        """Says that the job's worker lives."""
        with self._held(job, now):
            return  # opening the transaction renews the heartbeat

    def request_stop(self, run_id: int, now: datetime) -> RunState:
        """Stops a queued run at once; asks a running one to stop. Returns the run's state."""
        with self._writer.begin() as connection:
            of_run = (jobs.c.run_id == run_id, jobs.c.kind == "train")
            queued = connection.execute(
                sa.update(jobs)
                .where(*of_run, jobs.c.state == RunState.QUEUED)
                .values(state=RunState.STOPPED)
            )
            running = connection.execute(
                sa.update(jobs)
                .where(*of_run, jobs.c.state == RunState.RUNNING)
                .values(state=RunState.STOPPING, stop_requested_at=now)
            )
            if queued.rowcount:
                reason = "stopped by the user before it began"
                end = {"state": RunState.STOPPED, "reason": reason, "ended_at": now}
                connection.execute(sa.update(runs).where(runs.c.id == run_id).values(end))
            if running.rowcount:
                stopping = sa.update(runs).where(runs.c.id == run_id)
                connection.execute(stopping.values(state=RunState.STOPPING))
        return self.read_run(run_id).state

    def request_job_stop(self, job_id: int, now: datetime) -> None:
        """Stops a job that is queued; asks one that is running to stop."""
        with self._writer.begin() as connection:
            this = jobs.c.id == job_id
            queued = sa.update(jobs).where(this, jobs.c.state == RunState.QUEUED)
            connection.execute(queued.values(state=RunState.STOPPED))
            running = sa.update(jobs).where(this, jobs.c.state == RunState.RUNNING)
            connection.execute(running.values(state=RunState.STOPPING, stop_requested_at=now))

    def requeue(self, run_id: int, now: datetime) -> None:
        """Queues an ended run again; its next attempt continues from the newest checkpoint."""
        with self._writer.begin() as connection:
            again = {"state": RunState.QUEUED, "reason": None, "ended_at": None}
            finished = [state for state in RunState if state.is_finished()]
            ended = (runs.c.id == run_id, runs.c.state.in_(finished))
            if connection.execute(sa.update(runs).where(*ended).values(again)).rowcount:
                job = {"state": RunState.QUEUED, "stop_requested_at": None, "process": None}
                of_run = (jobs.c.run_id == run_id, jobs.c.kind == "train")
                connection.execute(sa.update(jobs).where(*of_run).values(job))

    def finish_job(self, job: Job, state: RunState, reason: str | None, now: datetime) -> None:
        """Ends a job, and its run with it."""
        with self._held(job, now) as connection:
            done = {"state": state, "reason": reason, "token": None}
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(done))
            end = {"state": state, "reason": reason, "phase": None, "ended_at": now}
            connection.execute(sa.update(runs).where(runs.c.id == job.run_id).values(end))
