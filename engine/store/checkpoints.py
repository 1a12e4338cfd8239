"""Records of checkpoint files."""

from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from engine.records.runs import Checkpoint, Job
from engine.store import rows
from engine.store.database import Database, is_over
from engine.store.schema import checkpoints, runs


class Checkpoints:
    """Repository of checkpoint records: paths and hashes. Callers write and delete the files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, run_id: int) -> list[Checkpoint]:
        """Returns the checkpoints of a run, newest first."""
        query = sa.select(checkpoints).where(checkpoints.c.run_id == run_id)
        ordered = query.order_by(-checkpoints.c.step)
        return [rows.checkpoint(row) for row in self._database.rows(ordered)]

    def read_best(self, run_id: int) -> Checkpoint | None:
        """Returns the best checkpoint on the validation split; None if none is marked yet."""
        return next((saved for saved in self.read(run_id) if saved.is_best), None)

    def read_last(self, run_id: int) -> Checkpoint | None:
        """Returns the newest checkpoint saved at the end of an epoch; None if there is none."""
        return next((saved for saved in self.read(run_id) if saved.is_whole), None)

    def add(self, job: Job, checkpoint: Checkpoint, now: datetime) -> list[Checkpoint]:
        """Adds a checkpoint.

        Returns:
            The replaced record of the same step if it has another file, else an empty list.
        """
        values = asdict(checkpoint)
        insert = self._database.insert(checkpoints).values(values)
        upsert = insert.on_conflict_do_update(index_elements=["run_id", "step"], set_=values)
        with self._database.job_transaction(job, now) as connection:
            query = sa.select(checkpoints).where(*_key(checkpoint))
            replaced = connection.execute(query).mappings().all()
            connection.execute(upsert)
            return [old for old in map(rows.checkpoint, replaced) if old.path != checkpoint.path]

    def choose(self, job: Job, epoch: int, now: datetime) -> None:
        """Marks the checkpoint of an epoch as the best of its run.

        Raises:
            ValueError: there is no checkpoint of this epoch.
        """
        of_run = checkpoints.c.run_id == job.run_id
        of_epoch = (checkpoints.c.epoch == epoch) & checkpoints.c.is_whole
        with self._database.job_transaction(job, now) as connection:
            mark = sa.update(checkpoints).where(of_run, of_epoch).values(is_best=True)
            if not connection.execute(mark).rowcount:
                raise ValueError(f"the checkpoint of epoch {epoch} is not kept")
            unmark = sa.update(checkpoints).where(of_run, sa.not_(of_epoch)).values(is_best=False)
            connection.execute(unmark)
            best_epoch = sa.update(runs).where(runs.c.id == job.run_id).values(best_epoch=epoch)
            connection.execute(best_epoch)

    def delete(self, job: Job, checkpoint: Checkpoint, now: datetime) -> None:
        """Deletes the record of a checkpoint of the run that a worker trains."""
        with self._database.job_transaction(job, now) as connection:
            connection.execute(sa.delete(checkpoints).where(*_key(checkpoint)))

    def delete_old(
        self, job: Job, keep_newest: int, keep_every: int, now: datetime
    ) -> list[Checkpoint]:
        """Deletes the records of all checkpoints that the retention rules do not keep.

        The best checkpoint is always kept.

        Args:
            job: the job of the run.
            keep_newest: the number of newest checkpoints to keep.
            keep_every: keep the checkpoint of every n-th epoch permanently; 0 keeps none.
            now: the time of the heartbeat.

        Returns:
            The deleted records; their files can be deleted.
        """
        of_run = checkpoints.c.run_id == job.run_id
        newest = sa.select(checkpoints.c.step).where(of_run).order_by(-checkpoints.c.step)
        with self._database.job_transaction(job, now) as connection:
            newest_steps = list(connection.execute(newest.limit(keep_newest)).scalars())
            old = of_run & checkpoints.c.step.not_in(newest_steps) & sa.not_(checkpoints.c.is_best)
            if keep_every:
                old &= sa.not_(checkpoints.c.is_whole) | (checkpoints.c.epoch % keep_every != 0)
            deleted = connection.execute(sa.delete(checkpoints).where(old).returning(checkpoints))
            return [rows.checkpoint(row) for row in deleted.mappings()]

    def delete_of_ended_run(self, checkpoint: Checkpoint) -> bool:
        """Deletes the record of a checkpoint; returns False if the run is not over."""
        with self._database.transaction() as connection:
            if not is_over(connection, checkpoint.run_id):
                return False
            delete = sa.delete(checkpoints).where(*_key(checkpoint))
            return bool(connection.execute(delete).rowcount)

    def replace_file(self, checkpoint: Checkpoint, path: str, sha256: str, n_bytes: int) -> bool:
        """Points the record of a checkpoint to a smaller file without optimiser states.

        Args:
            checkpoint: the record to change.
            path: the new file, relative to the artifacts folder.
            sha256: the hash of the new file.
            n_bytes: the size of the new file.

        Returns:
            False if the run of the checkpoint is not over.
        """
        values = {"path": path, "sha256": sha256, "n_bytes": n_bytes, "is_slim": True}
        with self._database.transaction() as connection:
            if not is_over(connection, checkpoint.run_id):
                return False
            update = sa.update(checkpoints).where(*_key(checkpoint)).values(values)
            return bool(connection.execute(update).rowcount)


def _key(checkpoint: Checkpoint) -> tuple[sa.ColumnElement[bool], ...]:
    return checkpoints.c.run_id == checkpoint.run_id, checkpoints.c.step == checkpoint.step
