"""Studies come in, grow, are put away and deleted."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from engine.config import RunConfig
from engine.errors import BadInputError
from engine.records.runs import Checkpoint, Run, RunState, Study
from engine.store.reading import Reading
from engine.store.schema import (
    alerts,
    attempts,
    checkpoints,
    evaluations,
    image_scores,
    installation,
    jobs,
    metric_summaries,
    metrics,
    predictions,
    runs,
    samples,
    studies,
)
from engine.store.session import FINISHED, QUEUED_AGAIN, lock_jobs

_RECORDED = (
    *(metrics, metric_summaries, alerts, evaluations, image_scores),
    *(predictions, samples, checkpoints),
)
# What starting from the beginning forgets.
_UNDONE = {
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


_OVER = runs.c.state.in_(FINISHED) & sa.not_(runs.c.will_retry)


class Studies(Reading):
    """The rows that say what is asked."""

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
        with self._writing() as connection:
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
        """Queues a run unless the study has it already."""
        values = {
            "study_id": study_id,
            "configuration": config.configuration.name,
            "seed": config.seed,
            "state": RunState.QUEUED,
            "config": config.model_dump(mode="json"),
            "epochs": config.budget.epochs,
            "created_at": now,
        }
        insert = self._insert(runs).values(values).on_conflict_do_nothing().returning(runs.c.id)
        run_id = connection.execute(insert).scalar()
        if run_id is not None:
            job = {"kind": "train", "run_id": run_id, "state": RunState.QUEUED, "created_at": now}
            connection.execute(sa.insert(jobs).values(job))

    def extend_study(self, study_id: int, configs: Sequence[RunConfig], now: datetime) -> None:
        """Adds runs to a study; those it has already stay as they are."""
        with self._writing() as connection:
            of_study = sa.select(runs.c.configuration, runs.c.seed).where(
                runs.c.study_id == study_id
            )
            there = {tuple(row) for row in connection.execute(of_study)}
            for config in configs:
                if (config.configuration.name, config.seed) not in there:
                    self._add_run(connection, study_id, config, now)

    def lengthen_study(self, study_id: int, epochs: int) -> None:
        """Gives the runs of a study more epochs, and queues them to go on from their last.

        Nothing else about them changes, not even what was decided at their first attempt.

        Raises:
            BadInputError: some of its runs have not ended.
        """
        with self._writing() as connection:
            of_study = runs.c.study_id == study_id
            lock_jobs(connection, jobs.c.run_id.in_(sa.select(runs.c.id).where(of_study)))
            busy = sa.select(sa.func.count()).where(of_study, runs.c.state.not_in(FINISHED))
            if connection.execute(busy).scalar_one():
                raise BadInputError(
                    f"Study {study_id} is still at work: epochs are added when its runs have ended."
                )
            budget = sa.select(studies.c.budget).where(studies.c.id == study_id)
            longer = {**connection.execute(budget).scalar_one(), "epochs": epochs}
            stored = sa.update(studies).where(studies.c.id == study_id)
            connection.execute(stored.values(budget=longer))
            for row in connection.execute(sa.select(runs).where(of_study)).mappings().all():
                values = {
                    "state": RunState.QUEUED,
                    "will_retry": False,
                    "ended_at": None,
                    "config": _lengthened(row["config"], epochs),
                    "resolved": row["resolved"] and _lengthened(row["resolved"], epochs),
                    "epochs": epochs,
                    "steps": row["steps"] // row["epochs"] * epochs,
                }
                connection.execute(sa.update(runs).where(runs.c.id == row["id"]).values(values))
                job = sa.update(jobs).where(jobs.c.run_id == row["id"])
                connection.execute(job.values(QUEUED_AGAIN))

    def settle_elsewhere(self, is_copy: bool, now: datetime) -> None:
        """Lets a restored database have no process at work: those belong to where it came from.

        What was at work goes on from its newest checkpoint; what was to be stopped is stopped.

        Args:
            is_copy: the original may live on; this one gets an identity of its own.
            now: the moment.
        """
        with self._writing() as connection:
            for before, after in (
                (RunState.RUNNING, RunState.QUEUED),
                (RunState.STOPPING, RunState.STOPPED),
            ):
                freed = {**QUEUED_AGAIN, "state": after, "token": None, "host": None, "slot": None}
                connection.execute(sa.update(jobs).where(jobs.c.state == before).values(freed))
                reason = "the backup was made while it was at work"
                values = {"state": after, "reason": reason, "phase": None}
                connection.execute(sa.update(runs).where(runs.c.state == before).values(values))
            open_ends = sa.update(attempts).where(attempts.c.state.is_(None))
            ended = {"state": RunState.CRASHED, "reason": "the backup was made", "ended_at": now}
            connection.execute(open_ends.values(ended))
            if is_copy:
                connection.execute(sa.update(installation).values(id=secrets.token_hex(8)))

    def restart_run(self, run_id: int) -> bool:
        """Queues an ended run from the very beginning: what it recorded is forgotten.

        Returns:
            False where it has not ended.
        """
        with self._writing() as connection:
            lock_jobs(connection, jobs.c.run_id == run_id)
            this = (runs.c.id == run_id, runs.c.state.in_(FINISHED))
            if not connection.execute(sa.update(runs).where(*this).values(_UNDONE)).rowcount:
                return False
            for table in _RECORDED:
                connection.execute(sa.delete(table).where(table.c.run_id == run_id))
            job = sa.update(jobs).where(jobs.c.run_id == run_id)
            connection.execute(job.values(QUEUED_AGAIN))
            return True

    def archive_study(self, study_id: int, at: datetime | None) -> None:
        """Puts a study away, out of the lists; None takes it back."""
        with self._writing() as connection:
            this = sa.update(studies).where(studies.c.id == study_id)
            connection.execute(this.values(archived_at=at))

    def archive_run(self, run_id: int, at: datetime | None) -> None:
        """Puts a run away, out of the lists; its numbers stay in the comparison. None: back."""
        with self._writing() as connection:
            this = sa.update(runs).where(runs.c.id == run_id)
            connection.execute(this.values(archived_at=at))

    def edit_study(self, study_id: int, name: str, note: str, tags: Sequence[str]) -> None:
        """Keeps a study's name and what a person wrote about it."""
        with self._writing() as connection:
            this = sa.update(studies).where(studies.c.id == study_id)
            connection.execute(this.values(name=name, note=note, tags=list(tags)))

    def annotate_run(self, run_id: int, note: str, tags: Sequence[str]) -> None:
        """Keeps what a person wrote about a run."""
        with self._writing() as connection:
            this = sa.update(runs).where(runs.c.id == run_id)
            connection.execute(this.values(note=note, tags=list(tags)))

    def claim_announcement(self, since: datetime, now: datetime) -> list[int]:
        """The studies that have ended and of which nobody has been told; each is given out once.

        Args:
            since: those that ended before are old news.
            now: the moment.
        """
        ended = sa.func.max(runs.c.ended_at)
        over = (
            sa.select(runs.c.study_id)
            .group_by(runs.c.study_id)
            .having(sa.func.min(sa.case((_OVER, 1), else_=0)) == 1, ended >= since)
        )
        last = sa.select(ended).where(runs.c.study_id == studies.c.id).scalar_subquery()
        untold = studies.c.announced_at.is_(None) | (studies.c.announced_at < last)
        these = sa.update(studies).where(studies.c.id.in_(over), untold)
        with self._writing() as connection:
            told = connection.execute(these.values(announced_at=now).returning(studies.c.id))
            return sorted(told.scalars())

    def forget_checkpoint(self, saved: Checkpoint) -> bool:
        """Removes the record of a checkpoint; False where its run is not over any more."""
        with self._writing() as connection:
            if not _is_over(connection, saved.run_id):
                return False
            return bool(connection.execute(sa.delete(checkpoints).where(*_this(saved))).rowcount)

    def slim_checkpoint(self, saved: Checkpoint, path: str, sha256: str, n_bytes: int) -> bool:
        """Lets the record of a checkpoint speak of a file without optimisers; False as above."""
        with self._writing() as connection:
            if not _is_over(connection, saved.run_id):
                return False
            update = sa.update(checkpoints).where(*_this(saved))
            values = {"path": path, "sha256": sha256, "n_bytes": n_bytes, "is_slim": True}
            return bool(connection.execute(update.values(values)).rowcount)

    def forget_sample(self, run_id: int, epoch: int) -> bool:
        """Removes the record of an epoch's samples; False as above."""
        with self._writing() as connection:
            if not _is_over(connection, run_id):
                return False
            these = (samples.c.run_id == run_id, samples.c.epoch == epoch)
            connection.execute(sa.delete(samples).where(*these))
            return True

    def delete_runs(self, run_ids: Sequence[int]) -> list[int]:
        """Removes runs that have ended with all that was recorded of them.

        A study goes with its last run.

        Returns:
            The runs that are gone.
        """
        with self._writing() as connection:
            these = (runs.c.id.in_(run_ids), runs.c.state.in_(FINISHED))
            gone = connection.execute(sa.delete(runs).where(*these).returning(runs.c.id))
            removed = sorted(gone.scalars())
            if removed:
                inhabited = sa.select(runs.c.study_id)
                connection.execute(sa.delete(studies).where(studies.c.id.not_in(inhabited)))
            return removed


def _lengthened(config: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    return {**config, "budget": {**config["budget"], "epochs": epochs}}


def _is_over(connection: Connection, run_id: int) -> bool:
    lock_jobs(connection, jobs.c.run_id == run_id)
    this = (runs.c.id == run_id, _OVER)
    return connection.execute(sa.select(runs.c.id).where(*this)).scalar() is not None


def _this(saved: Checkpoint) -> tuple[sa.ColumnElement[bool], ...]:
    return checkpoints.c.run_id == saved.run_id, checkpoints.c.step == saved.step
