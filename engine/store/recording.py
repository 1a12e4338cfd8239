"""What a worker records, always under its job's token."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from engine.config import RunConfig
from engine.records import (
    Checkpoint,
    Evaluation,
    ImageScore,
    Job,
    MetricPoint,
    MetricSummary,
    Sample,
)
from engine.store import rows
from engine.store.connected import Connected
from engine.store.schema import (
    checkpoints,
    evaluations,
    image_scores,
    metric_summaries,
    metrics,
    runs,
    samples,
)


class Recording(Connected):
    """Writes of one attempt; each is one transaction that begins by renewing its heartbeat."""

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
