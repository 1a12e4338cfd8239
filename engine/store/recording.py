"""What a worker records, always under its job's token."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from engine.config import RunConfig
from engine.errors import BadInputError
from engine.records.curves import Alert, MetricPoint, MetricSummary, Probe
from engine.records.runs import Checkpoint, Job, Judgement, RunState, Sample
from engine.store import rows
from engine.store.gate import refuse_impossible
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
    probes,
    runs,
    samples,
)
from engine.store.session import Connected


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

    def set_progress(self, job: Job, progress: float, now: datetime) -> None:
        """How far a job about a subject is, 0 to 1."""
        with self._held(job, now) as connection:
            update = sa.update(jobs).where(jobs.c.id == job.id)
            connection.execute(update.values(progress=progress))

    def set_phase(self, job: Job, phase: str, now: datetime) -> None:
        """Says what the run is doing."""
        with self._held(job, now) as connection:
            update = sa.update(runs).where(runs.c.id == job.run_id)
            connection.execute(update.values(phase=phase, progress_at=now))

    def add_metrics(
        self, job: Job, epoch: int, step: int, points: Sequence[MetricPoint], now: datetime
    ) -> None:
        """Adds curve points with their summaries and the run's progress, in one transaction.

        A point that is there already takes the new value: where an attempt repeats steps of the
        last one, its own are those that count.
        """
        with self._held(job, now) as connection:
            progress = {"epoch": epoch, "step": step, "progress_at": now}
            connection.execute(sa.update(runs).where(runs.c.id == job.run_id).values(progress))
            if points:
                unknown = now.timestamp()
                values = [
                    {
                        "run_id": it.run_id,
                        "step": it.step,
                        "epoch": it.epoch,
                        "name": it.name,
                        "value": it.value,
                        "at": unknown if it.at is None else it.at,
                    }
                    for it in points
                ]
                insert = self._insert(metrics)
                connection.execute(
                    insert.on_conflict_do_update(
                        index_elements=["run_id", "step", "name"],
                        set_={"value": insert.excluded.value, "at": insert.excluded.at},
                    ),
                    values,
                )
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

    def add_alerts(self, job: Job, found: Sequence[Alert], now: datetime) -> None:
        """Adds what was seen in the curves; the same again is the same."""
        values = [
            {key: value for key, value in asdict(alert).items() if key != "id"} for alert in found
        ]
        with self._held(job, now) as connection:
            connection.execute(self._insert(alerts).on_conflict_do_nothing(), values)

    def add_probe(self, job: Job, probe: Probe, now: datetime) -> None:
        """Remembers what a probe measured, in the place of what the host measured before."""
        values = asdict(probe)
        with self._held(job, now) as connection:
            insert = self._insert(probes).values(values)
            connection.execute(
                insert.on_conflict_do_update(index_elements=["host", "work"], set_=values)
            )

    def add_sample(self, job: Job, sample: Sample, now: datetime) -> None:
        """Adds the pictures of an epoch."""
        values = {key: value for key, value in asdict(sample).items() if key != "id"}
        with self._held(job, now) as connection:
            connection.execute(self._insert(samples).values(values).on_conflict_do_nothing())

    def add_checkpoint(self, job: Job, checkpoint: Checkpoint, now: datetime) -> list[Checkpoint]:
        """Adds a checkpoint; returns the one of the same step whose place it takes, if any."""
        values = asdict(checkpoint)
        same = (checkpoints.c.run_id == checkpoint.run_id, checkpoints.c.step == checkpoint.step)
        with self._held(job, now) as connection:
            before = connection.execute(sa.select(checkpoints).where(*same)).mappings().all()
            insert = self._insert(checkpoints).values(values)
            connection.execute(
                insert.on_conflict_do_update(index_elements=["run_id", "step"], set_=values)
            )
            return [it for it in map(rows.checkpoint, before) if it.path != checkpoint.path]

    def choose_checkpoint(self, job: Job, epoch: int, now: datetime) -> None:
        """Makes an epoch's checkpoint the run's best.

        Raises:
            ValueError: the epoch's checkpoint is not kept.
        """
        of_run = checkpoints.c.run_id == job.run_id
        this = (checkpoints.c.epoch == epoch) & checkpoints.c.is_whole
        with self._held(job, now) as connection:
            chosen = sa.update(checkpoints).where(of_run, this)
            if not connection.execute(chosen.values(is_best=True)).rowcount:
                raise ValueError(f"the checkpoint of epoch {epoch} is not kept")
            others = sa.update(checkpoints).where(of_run, sa.not_(this))
            connection.execute(others.values(is_best=False))
            best = sa.update(runs).where(runs.c.id == job.run_id)
            connection.execute(best.values(best_epoch=epoch))

    def drop_checkpoint(self, job: Job, saved: Checkpoint, now: datetime) -> None:
        """Removes the record of a checkpoint that cannot be read."""
        with self._held(job, now) as connection:
            this = (checkpoints.c.run_id == saved.run_id, checkpoints.c.step == saved.step)
            connection.execute(sa.delete(checkpoints).where(*this))

    def forget_checkpoints(
        self, job: Job, newest: int, every: int, now: datetime
    ) -> list[Checkpoint]:
        """Drops all checkpoints but the best, some of the newest and every so-manyth epoch's.

        Args:
            job: held by the caller.
            newest: how many of the newest are kept.
            every: epochs whose number this divides keep theirs; 0: none for that.
            now: the moment.

        Returns:
            The forgotten ones, whose files may go.
        """
        of_run = checkpoints.c.run_id == job.run_id
        with self._held(job, now) as connection:
            steps = sa.select(checkpoints.c.step).where(of_run).order_by(-checkpoints.c.step)
            kept = list(connection.execute(steps.limit(newest)).scalars())
            others = of_run & checkpoints.c.step.not_in(kept) & sa.not_(checkpoints.c.is_best)
            if every:
                others &= sa.not_(checkpoints.c.is_whole) | (checkpoints.c.epoch % every != 0)
            gone = connection.execute(sa.delete(checkpoints).where(others).returning(checkpoints))
            return [rows.checkpoint(row) for row in gone.mappings()]

    def rewind(self, job: Job, epoch: int, step: int, now: datetime) -> list[Checkpoint]:
        """Forgets what was judged and saved after a step: the run goes on from there.

        Curves stay; their points are replaced as the steps are done again.

        Returns:
            The forgotten checkpoints.
        """
        with self._held(job, now) as connection:
            later = (checkpoints.c.run_id == job.run_id) & (checkpoints.c.step > step)
            gone = connection.execute(sa.delete(checkpoints).where(later).returning(checkpoints))
            found = [rows.checkpoint(row) for row in gone.mappings()]
            for table in (evaluations, image_scores, predictions):
                of_later = (table.c.run_id == job.run_id) & (table.c.epoch > epoch)
                connection.execute(sa.delete(table).where(of_later))
            seen_later = (alerts.c.run_id == job.run_id) & (alerts.c.step > step)
            connection.execute(sa.delete(alerts).where(seen_later))
            this = sa.update(runs).where(runs.c.id == job.run_id)
            connection.execute(this.values(epoch=epoch, step=step))
            lost = this.where(runs.c.best_epoch > epoch)
            connection.execute(lost.values(best_epoch=None))
            return found

    def add_note(self, job: Job, note: str, now: datetime) -> None:
        """Adds a word to the attempt that a person should know."""
        this = (attempts.c.job_id == job.id, attempts.c.number == job.attempt)
        with self._held(job, now) as connection:
            said = connection.execute(sa.select(attempts.c.note).where(*this)).scalar()
            if note not in (said or "").split("\n"):
                text = f"{said}\n{note}" if said else note
                connection.execute(sa.update(attempts).where(*this).values(note=text))

    def add_judgement(self, job: Job, judgement: Judgement, now: datetime) -> None:
        """Adds what a checkpoint is worth on a split, replacing what was there."""
        with self._held(job, now) as connection:
            self._judge(connection, judgement)

    def repeat_judgement(self, run_id: int, judgement: Judgement) -> None:
        """The same for a run that has ended and belongs to no job.

        Raises:
            BadInputError: the run is queued or at work.
        """
        with self._writing() as connection:
            state = connection.execute(sa.select(runs.c.state).where(runs.c.id == run_id)).scalar()
            if state is None or not RunState(state).is_finished():
                raise BadInputError(f"Run {run_id} is {state}; it can be evaluated when it ended.")
            self._judge(connection, judgement)

    def _judge(self, connection: Connection, judgement: Judgement) -> None:
        keys = ["run_id", "split", "epoch"]
        for evaluation in judgement.evaluations:
            refuse_impossible(evaluation)
            values = {**asdict(evaluation), "protocol": dict(evaluation.protocol)}
            insert = self._insert(evaluations).values(values)
            connection.execute(
                insert.on_conflict_do_update(index_elements=[*keys, "name"], set_=values)
            )
            same = (image_scores.c[key] == values[key] for key in (*keys, "name"))
            connection.execute(sa.delete(image_scores).where(*same))
        if judgement.scores:
            scores = [asdict(score) for score in judgement.scores]
            connection.execute(sa.insert(image_scores), scores)
        if judgement.predictions is not None:
            values = {**asdict(judgement.predictions), "names": list(judgement.predictions.names)}
            insert = self._insert(predictions).values(values)
            connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=values))


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
