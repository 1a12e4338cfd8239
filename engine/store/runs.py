"""Stores runs, their attempts and their samples."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from engine.config import RunConfig
from engine.errors import BadInputError
from engine.records.runs import Attempt, Checkpoint, Job, Run, RunState, Sample
from engine.store import rows
from engine.store.database import FINISHED_STATES, REQUEUED, Database, is_over, lock_jobs
from engine.store.schema import (
    alerts,
    attempts,
    checkpoints,
    evaluations,
    image_scores,
    jobs,
    metric_summaries,
    metrics,
    predictions,
    runs,
    samples,
    studies,
)

# Tables of the results of runs. When a run is restarted, its rows are deleted.
_RESULT_TABLES = (
    *(metrics, metric_summaries, alerts, evaluations, image_scores),
    *(predictions, samples, checkpoints),
)
# Columns of a run that are reset when a run is restarted.
_RESTARTED: Mapping[str, object] = {
    "state": RunState.QUEUED,
    "reason": None,
    "phase": None,
    "resolved": None,
    "environment": None,
    "epoch": 0,
    "step": 0,
    "steps": 0,
    "best_epoch": None,
    "started_at": None,
    "ended_at": None,
    "progress_at": None,
    "will_retry": False,
}


class Runs:
    """Repository of runs, their attempts and their samples."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, run_id: int) -> Run:
        """Returns one run.

        Raises:
            BadInputError: there is no such run.
        """
        matches = self._database.rows(sa.select(runs).where(runs.c.id == run_id))
        if not matches:
            raise BadInputError(f"There is no run {run_id}.")
        return rows.run(matches[0])

    def read_all(self, study_id: int | None = None) -> list[Run]:
        """Returns the runs of a study, or all runs, in the order of creation."""
        query = sa.select(runs).order_by(runs.c.id)
        if study_id is not None:
            query = query.where(runs.c.study_id == study_id)
        return [rows.run(row) for row in self._database.rows(query)]

    def read_retrying(self) -> list[int]:
        """Returns the ids of the crashed runs that will be retried automatically."""
        query = sa.select(runs.c.id).where(runs.c.will_retry).order_by(runs.c.id)
        return [row["id"] for row in self._database.rows(query)]

    def read_steps(self, run_ids: Sequence[int]) -> dict[int, int]:
        """Returns run id -> total number of steps, 0 until the data of the run is prepared."""
        query = sa.select(runs.c.id, runs.c.steps).where(runs.c.id.in_(run_ids))
        return {row["id"]: row["steps"] for row in self._database.rows(query)}

    def read_attempts(self, run_ids: Sequence[int]) -> list[Attempt]:
        """Returns the attempts of some runs, ordered by run and number."""
        query = (
            sa.select(attempts)
            .where(attempts.c.run_id.in_(run_ids))
            .order_by(attempts.c.run_id, attempts.c.number)
        )
        return [rows.attempt(row) for row in self._database.rows(query)]

    def read_samples(self, run_ids: Sequence[int]) -> list[Sample]:
        """Returns the samples of some runs, ordered by epoch and run."""
        query = (
            sa.select(samples)
            .where(samples.c.run_id.in_(run_ids))
            .order_by(samples.c.epoch, samples.c.run_id)
        )
        return [rows.sample(row) for row in self._database.rows(query)]

    def read_newest_samples(self, run_ids: Sequence[int]) -> list[Sample]:
        """Returns the newest sample of each given run; runs without samples are omitted."""
        newest_ids = (
            sa.select(sa.func.max(samples.c.id))
            .where(samples.c.run_id.in_(run_ids))
            .group_by(samples.c.run_id)
        )
        query = sa.select(samples).where(samples.c.id.in_(newest_ids))
        return [rows.sample(row) for row in self._database.rows(query)]

    def start(
        self,
        job: Job,
        resolved: RunConfig,
        steps: int,
        environment: Mapping[str, Any],
        now: datetime,
    ) -> None:
        """Stores the values that the first attempt of a run resolved, for later attempts.

        Args:
            job: the job of the run.
            resolved: the config without any `auto`.
            steps: the total number of steps.
            environment: the versions of the software, and the machine.
            now: the time of the heartbeat.
        """
        values = {
            "resolved": resolved.model_dump(mode="json"),
            "steps": steps,
            "environment": dict(environment),
        }
        with self._database.job_transaction(job, now) as connection:
            connection.execute(sa.update(runs).where(runs.c.id == job.run_id).values(values))

    def set_phase(self, job: Job, phase: str, now: datetime) -> None:
        """Stores the current phase of a run, which pages show."""
        with self._database.job_transaction(job, now) as connection:
            update = sa.update(runs).where(runs.c.id == job.run_id)
            connection.execute(update.values(phase=phase, progress_at=now))

    def add_note(self, job: Job, note: str, now: datetime) -> None:
        """Appends a line to the note of the current attempt; a repeated line is stored once."""
        attempt = (attempts.c.job_id == job.id, attempts.c.number == job.attempt)
        with self._database.job_transaction(job, now) as connection:
            stored = connection.execute(sa.select(attempts.c.note).where(*attempt)).scalar() or ""
            if note not in stored.split("\n"):
                text = f"{stored}\n{note}" if stored else note
                connection.execute(sa.update(attempts).where(*attempt).values(note=text))

    def add_sample(self, job: Job, sample: Sample, now: datetime) -> None:
        """Adds the sample pictures of an epoch; an existing sample of the epoch is kept."""
        values = {key: value for key, value in asdict(sample).items() if key != "id"}
        insert = self._database.insert(samples).values(values).on_conflict_do_nothing()
        with self._database.job_transaction(job, now) as connection:
            connection.execute(insert)

    def delete_sample(self, run_id: int, epoch: int) -> bool:
        """Deletes the record of an epoch's sample; returns False if the run is not over."""
        with self._database.transaction() as connection:
            if not is_over(connection, run_id):
                return False
            condition = (samples.c.run_id == run_id, samples.c.epoch == epoch)
            connection.execute(sa.delete(samples).where(*condition))
            return True

    def rewind(self, job: Job, epoch: int, step: int, now: datetime) -> list[Checkpoint]:
        """Deletes checkpoints, evaluations and alerts after the step that the run continues from.

        Metric points are kept, because the repeated steps overwrite them.

        Args:
            job: the job of the run.
            epoch: the epoch of the checkpoint that the run continues from.
            step: the step of that checkpoint.
            now: the time of the heartbeat.

        Returns:
            The deleted checkpoints; their files can be deleted.
        """
        later_checkpoints = (checkpoints.c.run_id == job.run_id) & (checkpoints.c.step > step)
        later_alerts = (alerts.c.run_id == job.run_id) & (alerts.c.step > step)
        run = sa.update(runs).where(runs.c.id == job.run_id)
        with self._database.job_transaction(job, now) as connection:
            delete = sa.delete(checkpoints).where(later_checkpoints).returning(checkpoints)
            deleted = [rows.checkpoint(row) for row in connection.execute(delete).mappings()]
            for table in (evaluations, image_scores, predictions):
                later = (table.c.run_id == job.run_id) & (table.c.epoch > epoch)
                connection.execute(sa.delete(table).where(later))
            connection.execute(sa.delete(alerts).where(later_alerts))
            connection.execute(run.values(epoch=epoch, step=step))
            connection.execute(run.where(runs.c.best_epoch > epoch).values(best_epoch=None))
            return deleted

    def restart(self, run_id: int) -> bool:
        """Deletes the results of an ended run and queues the run from step 0.

        Returns:
            False if the run has not ended.
        """
        condition = (runs.c.id == run_id, runs.c.state.in_(FINISHED_STATES))
        with self._database.transaction() as connection:
            lock_jobs(connection, jobs.c.run_id == run_id)
            reset = sa.update(runs).where(*condition).values(_RESTARTED)
            if not connection.execute(reset).rowcount:
                return False
            for table in _RESULT_TABLES:
                connection.execute(sa.delete(table).where(table.c.run_id == run_id))
            connection.execute(sa.update(jobs).where(jobs.c.run_id == run_id).values(REQUEUED))
            return True

    def archive(self, run_id: int, at: datetime | None) -> None:
        """Hides a run from the lists; `at=None` shows the run again.

        An archived run still counts in the comparison of its study.
        """
        self._update(run_id, archived_at=at)

    def annotate(self, run_id: int, note: str, tags: Sequence[str]) -> None:
        """Stores the note and the tags of a run."""
        self._update(run_id, note=note, tags=list(tags))

    def _update(self, run_id: int, **values: object) -> None:
        with self._database.transaction() as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(values))

    def delete(self, run_ids: Sequence[int]) -> list[int]:
        """Deletes ended runs with all their results, and studies that have no run left.

        Returns:
            The ids of the deleted runs.
        """
        condition = (runs.c.id.in_(run_ids), runs.c.state.in_(FINISHED_STATES))
        with self._database.transaction() as connection:
            delete = sa.delete(runs).where(*condition).returning(runs.c.id)
            deleted = sorted(connection.execute(delete).scalars())
            if deleted:
                studies_with_runs = sa.select(runs.c.study_id)
                connection.execute(sa.delete(studies).where(studies.c.id.not_in(studies_with_runs)))
            return deleted
