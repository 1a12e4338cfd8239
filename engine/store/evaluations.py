"""Evaluations of checkpoints: metric values, scores of single images, predictions."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from engine import weights
from engine.config import RunConfig
from engine.errors import BadInputError
from engine.metrics.catalog import CATALOG
from engine.records.runs import (
    CheckpointEvaluation,
    Evaluation,
    ImageScore,
    Job,
    Predictions,
    RunState,
)
from engine.store import rows
from engine.store.database import Database
from engine.store.schema import evaluations, image_scores, predictions, runs

_CHECKPOINT_KEY = ("run_id", "split", "epoch")
_METRIC_KEY = (*_CHECKPOINT_KEY, "name")


class Evaluations:
    """Repository of evaluations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, run_ids: Sequence[int], split: str | None = None) -> list[Evaluation]:
        """Returns the metric values of some runs, on one split or on all."""
        query = sa.select(evaluations).where(evaluations.c.run_id.in_(run_ids))
        if split is not None:
            query = query.where(evaluations.c.split == split)
        ordered = query.order_by(evaluations.c.id)
        return [rows.evaluation(row) for row in self._database.rows(ordered)]

    def read_version(self, run_ids: Sequence[int]) -> tuple[object, ...]:
        """Returns a cache key that changes if evaluations of some runs were added or changed."""
        row_id, value = evaluations.c.id, evaluations.c.value
        columns: list[sa.ColumnElement[Any]] = [
            *(sa.func.count(row_id), sa.func.max(row_id)),
            *(sa.func.count(value), sa.func.sum(value)),
        ]
        query = sa.select(*columns).where(evaluations.c.run_id.in_(run_ids))
        return tuple(self._database.rows(query)[0].values())

    def read_scores(
        self, run_ids: Sequence[int], split: str, names: Sequence[str] | None = None
    ) -> list[ImageScore]:
        """Returns the metric values of single images, in the order of the split.

        Args:
            run_ids: the runs.
            split: the split.
            names: the metrics; None returns all.
        """
        query = sa.select(image_scores).where(
            image_scores.c.run_id.in_(run_ids), image_scores.c.split == split
        )
        if names is not None:
            query = query.where(image_scores.c.name.in_(names))
        ordered = query.order_by(image_scores.c.id)
        return [rows.image_score(row) for row in self._database.rows(ordered)]

    def read_predictions(self, run_ids: Sequence[int], split: str) -> list[Predictions]:
        """Returns the records of the stored fakes of some runs."""
        query = (
            sa.select(predictions)
            .where(predictions.c.run_id.in_(run_ids), predictions.c.split == split)
            .order_by(predictions.c.id)
        )
        return [rows.prediction(row) for row in self._database.rows(query)]

    def add(self, job: Job, evaluation: CheckpointEvaluation, now: datetime) -> None:
        """Stores the evaluation of a checkpoint on a split, replacing an older one.

        A stored value is kept if the newer evaluation has no value for its metric.
        """
        with self._database.job_transaction(job, now) as connection:
            self._upsert(connection, evaluation)

    def replace(
        self, run_id: int, evaluation: CheckpointEvaluation, resolved: RunConfig | None = None
    ) -> None:
        """Stores an evaluation of a finished run like `add`; needs no job token.

        Args:
            run_id: the run.
            evaluation: the evaluation of a checkpoint.
            resolved: the settings of the run from now on, with the decoding of the evaluation;
                None: the settings are not changed.

        Raises:
            BadInputError: the run is queued or running.
        """
        query = sa.select(runs.c.state).where(runs.c.id == run_id)
        with self._database.transaction() as connection:
            state = connection.execute(query).scalar()
            if state is None or not RunState(state).is_finished():
                raise BadInputError(f"Run {run_id} is {state}; it can be evaluated when it ended.")
            self._upsert(connection, evaluation)
            if resolved is not None:
                values = {"resolved": resolved.model_dump(mode="json")}
                connection.execute(sa.update(runs).where(runs.c.id == run_id).values(values))

    def complete(self, job: Job, completed: Sequence[Evaluation], now: datetime) -> None:
        """Stores evaluations in the place of stored ones without a value.

        A stored value is never changed. Nothing is added for a checkpoint without a stored
        evaluation: its run was deleted, or restarted from the beginning.
        """
        with self._database.job_transaction(job, now) as connection:
            for evaluation in completed:
                _refuse_impossible(evaluation)
                values = _values(evaluation)
                stored = (evaluations.c[column] == values[column] for column in _METRIC_KEY)
                update = sa.update(evaluations).where(*stored, evaluations.c.value.is_(None))
                connection.execute(update.values(values))

    def _upsert(self, connection: Connection, checkpoint: CheckpointEvaluation) -> None:
        self._delete_other_decodings(connection, checkpoint.evaluations)
        kept_metrics = set()
        for evaluation in checkpoint.evaluations:
            _refuse_impossible(evaluation)
            values = _values(evaluation)
            insert = self._database.insert(evaluations).values(values)
            # A missing value never replaces a stored value.
            may_replace = evaluations.c.value.is_(None) | (insert.excluded.value.is_not(None))
            upsert = insert.on_conflict_do_update(
                index_elements=_METRIC_KEY, set_=values, where=may_replace
            )
            if connection.execute(upsert.returning(evaluations.c.id)).scalar() is None:
                kept_metrics.add(evaluation.name)
                continue
            outdated = (image_scores.c[column] == values[column] for column in _METRIC_KEY)
            connection.execute(sa.delete(image_scores).where(*outdated))
        scores = [asdict(score) for score in checkpoint.scores if score.name not in kept_metrics]
        if scores:
            connection.execute(sa.insert(image_scores), scores)
        if checkpoint.predictions is not None:
            values = {**asdict(checkpoint.predictions), "names": list(checkpoint.predictions.names)}
            insert = self._database.insert(predictions).values(values)
            connection.execute(
                insert.on_conflict_do_update(index_elements=_CHECKPOINT_KEY, set_=values)
            )

    def _delete_other_decodings(
        self, connection: Connection, replacing: Sequence[Evaluation]
    ) -> None:
        """Deletes the stored values of a checkpoint's pictures that were decoded in another way.

        Only one decoding of a checkpoint is stored. Otherwise a metric that the newer evaluation
        did not compute would stand beside the metrics of other pictures.
        """
        decoded = next((each for each in replacing if each.decoding is not None), None)
        if decoded is None:
            return

        def of_checkpoint(table: sa.Table) -> list[sa.ColumnElement[bool]]:
            return [table.c[column] == getattr(decoded, column) for column in _CHECKPOINT_KEY]

        query = sa.select(evaluations).where(*of_checkpoint(evaluations))
        stored = map(rows.evaluation, connection.execute(query).mappings())
        names = [each.name for each in stored if each.decoding not in (None, decoded.decoding)]
        for table in (evaluations, image_scores):
            condition = (*of_checkpoint(table), table.c.name.in_(names))
            connection.execute(sa.delete(table).where(*condition))


def _values(evaluation: Evaluation) -> dict[str, Any]:
    return {**asdict(evaluation), "protocol": dict(evaluation.protocol)}


def _refuse_impossible(evaluation: Evaluation) -> None:
    """Rejects a value that its metric cannot have; such a value is a bug of this program.

    Raises:
        ValueError: the value is not finite, is outside the metric's range, or was computed with
            other weights than those that define the metric; or there is neither a value nor a
            reason.
    """
    metric, value = CATALOG[evaluation.name], evaluation.value
    if value is None:
        if not evaluation.missing:
            raise ValueError(f"{metric.name} has neither a value nor a reason")
        return
    if not metric.allows(value):
        raise ValueError(f"{metric.name} cannot be {value}")
    if metric.network:
        digest = str(evaluation.protocol.get("weights_sha256", ""))
        if not digest.startswith(weights.CATALOG[metric.network].sha256):
            raise ValueError(f"{metric.name} was made with other weights: {digest[:8]!r}")
