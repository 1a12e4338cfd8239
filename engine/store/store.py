"""The store: the only place that speaks SQL. Records go in, records come out.

Who works on a job holds its token. Every write of a worker is one transaction that begins by
renewing the job's heartbeat under that token; when no row answers, somebody else owns the job,
`LostJobError` is raised and nothing is written. Reading needs no token and never waits.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from engine.config import RunConfig
from engine.errors import BadInputError, EngineError
from engine.records import (
    Checkpoint,
    Evaluation,
    ImageScore,
    Job,
    MetricPoint,
    MetricSummary,
    Run,
    RunState,
    Sample,
    Study,
)
from engine.store import rows
from engine.store.connection import connect
from engine.store.schema import (
    checkpoints,
    evaluations,
    image_scores,
    jobs,
    metric_summaries,
    metrics,
    runs,
    samples,
    studies,
)

ACTIVE = (RunState.RUNNING, RunState.STOPPING)


class LostJobError(EngineError):
    """The job belongs to another attempt by now, or was ended; its worker must leave."""


class Store:
    """All that is recorded, behind one database URL.

    Args:
        url: SQLite or PostgreSQL; tables are made when there are none.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect(url)
        self._writer = self._engine.execution_options(immediate=True)
        dialect = sqlite if self._engine.dialect.name == "sqlite" else postgresql
        self._insert = dialect.insert

    def close(self) -> None:
        """Lets go of all connections."""
        self._engine.dispose()

    # Studies and their runs

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

    def read_studies(self) -> list[Study]:
        """All studies, newest first."""
        return [rows.study(row) for row in self._rows(sa.select(studies).order_by(-studies.c.id))]

    def read_study(self, study_id: int) -> Study:
        """One study, or `BadInputError`."""
        found = self._rows(sa.select(studies).where(studies.c.id == study_id))
        if not found:
            raise BadInputError(f"There is no study {study_id}.")
        return rows.study(found[0])

    def read_runs(self, study_id: int | None = None) -> list[Run]:
        """The runs of a study, or all, in the order of their making."""
        query = sa.select(runs).order_by(runs.c.id)
        if study_id is not None:
            query = query.where(runs.c.study_id == study_id)
        return [rows.run(row) for row in self._rows(query)]

    def read_run(self, run_id: int) -> Run:
        """One run, or `BadInputError`."""
        found = self._rows(sa.select(runs).where(runs.c.id == run_id))
        if not found:
            raise BadInputError(f"There is no run {run_id}.")
        return rows.run(found[0])

    # The queue

    def claim_job(self, now: datetime) -> Job | None:
        """Takes the next queued job, in one statement, so that no two can take the same."""
        waiting = (
            sa.select(jobs.c.id)
            .where(jobs.c.state == RunState.QUEUED)
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

    def read_jobs(self, *states: RunState) -> list[Job]:
        """The jobs in any of the given states, in the order of the queue."""
        query = sa.select(jobs).where(jobs.c.state.in_(states))
        return [rows.job(row) for row in self._rows(query.order_by(-jobs.c.priority, jobs.c.id))]

    def read_job(self, job_id: int) -> Job:
        """One job, or `BadInputError`."""
        found = self._rows(sa.select(jobs).where(jobs.c.id == job_id))
        if not found:
            raise BadInputError(f"There is no job {job_id}.")
        return rows.job(found[0])

    def set_process(self, job: Job, process: str, now: datetime) -> None:
        """Notes which process works on the job."""
        with self._held(job, now) as connection:
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(process=process))

    def beat(self, job: Job, now: datetime) -> None:
        """Says that the job's worker lives."""
        with self._held(job, now):
            pass

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

    def finish_job(self, job: Job, state: RunState, reason: str | None, now: datetime) -> None:
        """Ends a job and its run together."""
        with self._held(job, now) as connection:
            connection.execute(
                sa.update(jobs).where(jobs.c.id == job.id).values(state=state, token=None)
            )
            end = {"state": state, "reason": reason, "phase": None, "ended_at": now}
            connection.execute(sa.update(runs).where(runs.c.id == job.run_id).values(end))

    @contextmanager
    def _held(self, job: Job, now: datetime) -> Iterator[Connection]:
        """A transaction that its job's token opens."""
        with self._writer.begin() as connection:
            renew = (
                sa.update(jobs)
                .where(jobs.c.id == job.id, jobs.c.token == job.token, jobs.c.state.in_(ACTIVE))
                .values(heartbeat_at=now)
            )
            if not connection.execute(renew).rowcount:
                raise LostJobError(f"Job {job.id} belongs to another attempt by now.")
            yield connection

    # What a worker records

    def start_run(
        self,
        job: Job,
        resolved: RunConfig,
        steps: int,
        environment: Mapping[str, Any],
        now: datetime,
    ) -> None:
        """Stores what was decided at the run's first attempt, once and for all."""
        values = {
            "resolved": resolved.model_dump(mode="json"),
            "steps": steps,
            "environment": dict(environment),
        }
        with self._held(job, now) as connection:
            connection.execute(sa.update(runs).where(runs.c.id == job.run_id).values(values))

    def set_phase(self, job: Job, phase: str, now: datetime) -> None:
        """Says what the run is doing."""
        with self._held(job, now) as connection:
            update = sa.update(runs).where(runs.c.id == job.run_id)
            connection.execute(update.values(phase=phase, progress_at=now))

    def add_metrics(
        self, job: Job, epoch: int, step: int, points: Sequence[MetricPoint], now: datetime
    ) -> None:
        """Adds curve points with their summaries and the run's progress, in one transaction.

        A point that is there already is left as it is.
        """
        with self._held(job, now) as connection:
            progress = {"epoch": epoch, "step": step, "progress_at": now}
            connection.execute(sa.update(runs).where(runs.c.id == job.run_id).values(progress))
            if points:
                values = [
                    {key: value for key, value in asdict(point).items() if key != "id"}
                    for point in points
                ]
                connection.execute(self._insert(metrics).on_conflict_do_nothing(), values)
                self._summarise(connection, points)

    def _summarise(self, connection: Connection, points: Sequence[MetricPoint]) -> None:
        """Keeps the last and extreme values of each curve beside it."""
        run_id = points[0].run_id
        of_run = sa.select(metric_summaries).where(metric_summaries.c.run_id == run_id)
        known = {
            row["name"]: rows.metric_summary(row) for row in connection.execute(of_run).mappings()
        }
        for point in points:
            known[point.name] = _summary_with(known.get(point.name), point)
        for name in {point.name for point in points}:
            values = asdict(known[name])
            insert = self._insert(metric_summaries).values(values)
            connection.execute(
                insert.on_conflict_do_update(index_elements=["run_id", "name"], set_=values)
            )

    def add_sample(self, job: Job, sample: Sample, now: datetime) -> None:
        """Adds the pictures of an epoch."""
        values = {key: value for key, value in asdict(sample).items() if key != "id"}
        with self._held(job, now) as connection:
            connection.execute(self._insert(samples).values(values).on_conflict_do_nothing())

    def add_checkpoint(self, job: Job, checkpoint: Checkpoint, now: datetime) -> list[Checkpoint]:
        """Adds a checkpoint and forgets all but it and the best one.

        Returns:
            The forgotten checkpoints, whose files may go.
        """
        values = asdict(checkpoint)
        of_run = checkpoints.c.run_id == checkpoint.run_id
        with self._held(job, now) as connection:
            insert = self._insert(checkpoints).values(values)
            connection.execute(
                insert.on_conflict_do_update(index_elements=["run_id", "epoch"], set_=values)
            )
            others = of_run & (checkpoints.c.epoch != checkpoint.epoch)
            if checkpoint.is_best:
                connection.execute(sa.update(checkpoints).where(others).values(is_best=False))
                best = sa.update(runs).where(runs.c.id == checkpoint.run_id)
                connection.execute(best.values(best_epoch=checkpoint.epoch))
            gone = sa.delete(checkpoints).where(others, sa.not_(checkpoints.c.is_best))
            forgotten = connection.execute(gone.returning(checkpoints)).mappings().all()
        return [rows.checkpoint(row) for row in forgotten]

    def add_evaluations(
        self, job: Job, found: Sequence[Evaluation], scores: Sequence[ImageScore], now: datetime
    ) -> None:
        """Adds the metrics of a split and their values per picture, replacing older ones."""
        with self._held(job, now) as connection:
            for evaluation in found:
                values = {**asdict(evaluation), "protocol": dict(evaluation.protocol)}
                insert = self._insert(evaluations).values(values)
                connection.execute(
                    insert.on_conflict_do_update(
                        index_elements=["run_id", "split", "name"], set_=values
                    )
                )
            splits = {score.split for score in scores}
            connection.execute(
                sa.delete(image_scores).where(
                    image_scores.c.run_id == job.run_id, image_scores.c.split.in_(splits)
                )
            )
            if scores:
                connection.execute(sa.insert(image_scores), [asdict(score) for score in scores])

    # What everybody reads

    def read_metrics(
        self, run_ids: Sequence[int], after: int = 0, names: Sequence[str] | None = None
    ) -> list[MetricPoint]:
        """The curve points of some runs that came after a cursor, in the order they came."""
        query = sa.select(metrics).where(metrics.c.run_id.in_(run_ids), metrics.c.id > after)
        if names is not None:
            query = query.where(metrics.c.name.in_(names))
        return [rows.metric_point(row) for row in self._rows(query.order_by(metrics.c.id))]

    def read_metric_summaries(self, run_ids: Sequence[int]) -> list[MetricSummary]:
        """The last and extreme values of every curve of some runs."""
        query = sa.select(metric_summaries).where(metric_summaries.c.run_id.in_(run_ids))
        return [rows.metric_summary(row) for row in self._rows(query)]

    def read_evaluations(self, study_id: int, split: str) -> list[Evaluation]:
        """All metrics of a study's runs on a split."""
        query = (
            sa.select(evaluations)
            .join(runs, runs.c.id == evaluations.c.run_id)
            .where(runs.c.study_id == study_id, evaluations.c.split == split)
            .order_by(evaluations.c.id)
        )
        return [rows.evaluation(row) for row in self._rows(query)]

    def read_samples(self, run_ids: Sequence[int]) -> list[Sample]:
        """The samples of some runs, by epoch."""
        query = sa.select(samples).where(samples.c.run_id.in_(run_ids))
        found = self._rows(query.order_by(samples.c.epoch, samples.c.run_id))
        return [rows.sample(row) for row in found]

    def read_newest_samples(self) -> list[Sample]:
        """The last sample of every run that has one."""
        newest = sa.select(sa.func.max(samples.c.id)).group_by(samples.c.run_id)
        return [
            rows.sample(it) for it in self._rows(sa.select(samples).where(samples.c.id.in_(newest)))
        ]

    def read_speeds(self) -> dict[tuple[str, int, int], float]:
        """Measured training speeds: (configuration, px, base_channels) -> pictures per second."""
        query = (
            sa.select(runs, metric_summaries.c.last.label("speed"))
            .join(metric_summaries, metric_summaries.c.run_id == runs.c.id)
            .where(metric_summaries.c.name == "images_per_second")
            .where(metric_summaries.c.last.is_not(None))
            .order_by(runs.c.id)
        )
        found = {}
        for row in self._rows(query):
            budget = row["config"]["budget"]
            found[row["configuration"], budget["px"], budget["base_channels"]] = row["speed"]
        return found

    def read_checkpoints(self, run_id: int) -> list[Checkpoint]:
        """The checkpoints of a run, newest first."""
        query = sa.select(checkpoints).where(checkpoints.c.run_id == run_id)
        return [rows.checkpoint(row) for row in self._rows(query.order_by(-checkpoints.c.epoch))]

    def _rows(self, query: sa.Select[Any]) -> Sequence[sa.RowMapping]:
        with self._engine.begin() as connection:
            return connection.execute(query).mappings().all()


def utc_now() -> datetime:
    """The present moment, for callers at the edge."""
    return datetime.now(UTC)


def _summary_with(known: MetricSummary | None, point: MetricPoint) -> MetricSummary:
    """A curve's summary after one more point; extremes ignore points without a value."""
    value, epoch = point.value, point.epoch
    lowest, lowest_epoch, highest, highest_epoch = value, epoch, value, epoch
    if known is not None and known.lowest is not None and known.highest is not None:
        if value is None or known.lowest <= value:
            lowest, lowest_epoch = known.lowest, known.lowest_epoch
        if value is None or known.highest >= value:
            highest, highest_epoch = known.highest, known.highest_epoch
    return MetricSummary(
        run_id=point.run_id,
        name=point.name,
        last=value,
        last_epoch=epoch,
        lowest=lowest,
        lowest_epoch=lowest_epoch,
        highest=highest,
        highest_epoch=highest_epoch,
    )
