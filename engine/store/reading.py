"""What everybody reads: no token, no waiting, records out."""

from collections.abc import Sequence

import sqlalchemy as sa

from engine.errors import BadInputError
from engine.records.runs import (
    Attempt,
    Checkpoint,
    Evaluation,
    ImageScore,
    Job,
    JobKind,
    Predictions,
    Run,
    RunState,
    Sample,
    Study,
)
from engine.store import rows
from engine.store.curves import Curves
from engine.store.schema import (
    attempts,
    checkpoints,
    evaluations,
    image_scores,
    installation,
    jobs,
    predictions,
    runs,
    samples,
    studies,
)


class Reading(Curves):
    """Questions; each answers with records, in a stated order."""

    def read_installation(self) -> str:
        """Who this database is; it is copied with it."""
        (row,) = self._rows(sa.select(installation.c.id))
        return str(row["id"])

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

    def read_jobs(self, *states: RunState) -> list[Job]:
        """The jobs in any of the given states, in the order of the queue."""
        query = sa.select(jobs).where(jobs.c.state.in_(states))
        return [rows.job(row) for row in self._rows(query.order_by(-jobs.c.priority, jobs.c.id))]

    def read_newest_job(self, kind: JobKind, subject: str) -> Job | None:
        """The latest job about a subject; None where there was none."""
        about = (jobs.c.kind == kind, jobs.c.subject == subject)
        found = self._rows(sa.select(jobs).where(*about).order_by(-jobs.c.id).limit(1))
        return rows.job(found[0]) if found else None

    def read_job(self, job_id: int) -> Job:
        """One job, or `BadInputError`."""
        found = self._rows(sa.select(jobs).where(jobs.c.id == job_id))
        if not found:
            raise BadInputError(f"There is no job {job_id}.")
        return rows.job(found[0])

    def read_attempts(self, run_ids: Sequence[int]) -> list[Attempt]:
        """What processes did with some runs, by run and number."""
        query = sa.select(attempts).where(attempts.c.run_id.in_(run_ids))
        found = self._rows(query.order_by(attempts.c.run_id, attempts.c.number))
        return [rows.attempt(row) for row in found]

    def read_retries(self) -> list[int]:
        """The crashed runs that go on by themselves in a moment."""
        query = sa.select(runs.c.id).where(runs.c.will_retry).order_by(runs.c.id)
        return [row["id"] for row in self._rows(query)]

    def read_evaluations(
        self, run_ids: Sequence[int], split: str | None = None
    ) -> list[Evaluation]:
        """What the checkpoints of some runs are worth, on one split or on all."""
        query = sa.select(evaluations).where(evaluations.c.run_id.in_(run_ids))
        if split is not None:
            query = query.where(evaluations.c.split == split)
        return [rows.evaluation(row) for row in self._rows(query.order_by(evaluations.c.id))]

    def read_evaluation_mark(self, run_ids: Sequence[int]) -> tuple[int, int]:
        """How many values some runs have, and the newest one's id: others when any was added."""
        these = evaluations.c.run_id.in_(run_ids)
        found = self._rows(sa.select(evaluations.c.id).where(these))
        return len(found), max((row["id"] for row in found), default=0)

    def read_scores(
        self, run_ids: Sequence[int], split: str, names: Sequence[str] | None = None
    ) -> list[ImageScore]:
        """What single pictures are worth, picture by picture in the split's order."""
        query = sa.select(image_scores).where(
            image_scores.c.run_id.in_(run_ids), image_scores.c.split == split
        )
        if names is not None:
            query = query.where(image_scores.c.name.in_(names))
        return [rows.image_score(row) for row in self._rows(query.order_by(image_scores.c.id))]

    def read_predictions(self, run_ids: Sequence[int], split: str) -> list[Predictions]:
        """Where the fakes of some runs lie."""
        query = sa.select(predictions).where(
            predictions.c.run_id.in_(run_ids), predictions.c.split == split
        )
        return [rows.prediction(row) for row in self._rows(query.order_by(predictions.c.id))]

    def read_samples(self, run_ids: Sequence[int]) -> list[Sample]:
        """The samples of some runs, by epoch."""
        query = sa.select(samples).where(samples.c.run_id.in_(run_ids))
        found = self._rows(query.order_by(samples.c.epoch, samples.c.run_id))
        return [rows.sample(row) for row in found]

    def read_newest_samples(self, run_ids: Sequence[int]) -> list[Sample]:
        """The last sample of each of some runs that has one."""
        of_runs = samples.c.run_id.in_(run_ids)
        newest = sa.select(sa.func.max(samples.c.id)).where(of_runs).group_by(samples.c.run_id)
        return [
            rows.sample(it) for it in self._rows(sa.select(samples).where(samples.c.id.in_(newest)))
        ]

    def read_checkpoints(self, run_id: int) -> list[Checkpoint]:
        """The checkpoints of a run, newest first."""
        query = sa.select(checkpoints).where(checkpoints.c.run_id == run_id)
        return [rows.checkpoint(row) for row in self._rows(query.order_by(-checkpoints.c.step))]
