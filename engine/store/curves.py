"""Curves of runs: metric points, their summaries, and alerts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from engine.records.curves import Alert, CurveBucket, MetricPoint, MetricSummary
from engine.records.runs import Job
from engine.store import rows
from engine.store.database import Database
from engine.store.schema import alerts, metric_summaries, metrics, runs


class Curves:
    """Repository of metric points, summaries and alerts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(
        self, run_ids: Sequence[int], after: int = 0, names: Sequence[str] | None = None
    ) -> list[MetricPoint]:
        """Returns the metric points of some runs, ordered by id, with an id above `after`."""
        query = sa.select(metrics).where(metrics.c.run_id.in_(run_ids), metrics.c.id > after)
        if names is not None:
            query = query.where(metrics.c.name.in_(names))
        ordered = query.order_by(metrics.c.id)
        return [rows.metric_point(row) for row in self._database.rows(ordered)]

    def read_new_points(self, cursors: Mapping[int, int], name: str) -> list[MetricPoint]:
        """Returns the points of one curve with an id above the cursor of their run, ordered by id.

        Args:
            cursors: run id -> id of the newest point that the caller has. Each run has its own
                cursor, because several workers write concurrently and their ids interleave.
            name: the name of the curve.
        """
        newer = [
            (metrics.c.run_id == run_id) & (metrics.c.name == name) & (metrics.c.id > after)
            for run_id, after in cursors.items()
        ]
        query = sa.select(metrics).where(sa.or_(sa.false(), *newer)).order_by(metrics.c.id)
        return [rows.metric_point(row) for row in self._database.rows(query)]

    def read_first_and_last(
        self, run_id: int, after: int, since: datetime | None = None
    ) -> tuple[MetricPoint, MetricPoint] | None:
        """Returns the first and the last point of a run after a step; None if there is none.

        Args:
            run_id: the run.
            after: only points of later steps are read.
            since: only points measured at or after this time are read, which excludes earlier
                attempts.
        """
        query = sa.select(metrics).where(metrics.c.run_id == run_id, metrics.c.step > after)
        if since is not None:
            query = query.where(metrics.c.at >= since.timestamp())
        first = self._database.rows(query.order_by(metrics.c.step).limit(1))
        last = self._database.rows(query.order_by(metrics.c.step.desc()).limit(1))
        return (rows.metric_point(first[0]), rows.metric_point(last[0])) if first else None

    def read_buckets(self, run_ids: Sequence[int], name: str, stride: int) -> list[CurveBucket]:
        """Returns one curve of some runs, `stride` steps per bucket, ordered by run and step."""
        bucket = (metrics.c.step - 1) // stride
        query = (
            sa.select(
                metrics.c.run_id,
                bucket.label("part"),
                sa.func.count(metrics.c.value).label("n"),
                sa.func.avg(metrics.c.step).label("step"),
                sa.func.avg(metrics.c.at).label("at"),
                sa.func.avg(metrics.c.value).label("value"),
                sa.func.min(metrics.c.value).label("low"),
                sa.func.max(metrics.c.value).label("high"),
                sa.func.max(metrics.c.step).label("last_step"),
                sa.func.max(metrics.c.id).label("id"),
            )
            .where(metrics.c.run_id.in_(run_ids), metrics.c.name == name)
            .group_by(metrics.c.run_id, bucket)
            .order_by(metrics.c.run_id, bucket)
        )
        return [rows.curve_bucket(row) for row in self._database.rows(query)]

    def read_thinned(
        self, run_ids: Sequence[int], names: Sequence[str], parts: int
    ) -> dict[tuple[int, str], list[tuple[float, float]]]:
        """Returns the curves of some runs, each thinned to at most `parts` means.

        Returns:
            (run id, name) -> [(mean step, mean value)] of the parts that have a value.
        """
        greatest = sa.func.max if self._database.is_sqlite else sa.func.greatest
        part = (metrics.c.step - 1) * parts // greatest(runs.c.steps, metrics.c.step)
        key = (metrics.c.run_id, metrics.c.name, part)
        query = (
            sa.select(
                metrics.c.run_id,
                metrics.c.name,
                sa.func.avg(metrics.c.step).label("step"),
                sa.func.avg(metrics.c.value).label("value"),
            )
            .join(runs, runs.c.id == metrics.c.run_id)
            .where(metrics.c.run_id.in_(run_ids), metrics.c.name.in_(names))
            .where(metrics.c.value.is_not(None))
            .group_by(*key)
            .order_by(*key)
        )
        curves: dict[tuple[int, str], list[tuple[float, float]]] = {}
        for row in self._database.rows(query):
            curve = curves.setdefault((row["run_id"], row["name"]), [])
            curve.append((float(row["step"]), float(row["value"])))
        return curves

    def read_summaries(self, run_ids: Sequence[int]) -> list[MetricSummary]:
        """Returns the last and extreme values of every curve of some runs."""
        query = sa.select(metric_summaries).where(metric_summaries.c.run_id.in_(run_ids))
        return [rows.metric_summary(row) for row in self._database.rows(query)]

    def read_step_shares(
        self,
        run_ids: Sequence[int],
        upper_bounds: Mapping[str, float],
        lower_bounds: Mapping[str, float],
    ) -> dict[int, float]:
        """Returns run id -> share of the recorded steps at which any curve leaves its bounds.

        Args:
            run_ids: the runs.
            upper_bounds: curve -> the greatest value inside the bounds.
            lower_bounds: curve -> the least value inside the bounds.
        """
        outside = [
            (metrics.c.name == name) & (metrics.c.value > bound)
            for name, bound in upper_bounds.items()
        ]
        outside += [
            (metrics.c.name == name) & (metrics.c.value < bound)
            for name, bound in lower_bounds.items()
        ]
        n_steps = sa.func.count(metrics.c.step.distinct()).label("n")
        query = (
            sa.select(metrics.c.run_id, n_steps)
            .where(
                metrics.c.run_id.in_(run_ids),
                metrics.c.name.in_([*upper_bounds, *lower_bounds]),
            )
            .group_by(metrics.c.run_id)
        )
        n_all = {row["run_id"]: row["n"] for row in self._database.rows(query)}
        outside_rows = self._database.rows(query.where(sa.or_(*outside)))
        n_outside = {row["run_id"]: row["n"] for row in outside_rows}
        return {run_id: n_outside.get(run_id, 0) / n for run_id, n in n_all.items()}

    def read_alerts(self, run_ids: Sequence[int]) -> list[Alert]:
        """Returns the alerts of some runs, ordered by run and time."""
        query = sa.select(alerts).where(alerts.c.run_id.in_(run_ids))
        ordered = query.order_by(alerts.c.run_id, alerts.c.id)
        return [rows.alert(row) for row in self._database.rows(ordered)]

    def add_points(
        self, job: Job, epoch: int, step: int, points: Sequence[MetricPoint], now: datetime
    ) -> None:
        """Adds metric points and updates their summaries and the progress of the run.

        The value of an existing point is replaced: a new attempt repeats the steps after its
        checkpoint, and the values of the new attempt count.

        Args:
            job: the job of the run.
            epoch: the current epoch.
            step: the current step.
            points: the points, all of one run.
            now: the time of the heartbeat, and of the points that have no time.
        """
        progress = {"epoch": epoch, "step": step, "progress_at": now}
        update_run = sa.update(runs).where(runs.c.id == job.run_id).values(progress)
        with self._database.job_transaction(job, now) as connection:
            connection.execute(update_run)
            if points:
                self._upsert_points(connection, points, now.timestamp())
                self._update_summaries(connection, points)

    def _upsert_points(
        self, connection: Connection, points: Sequence[MetricPoint], default_time: float
    ) -> None:
        values = [
            {
                "run_id": point.run_id,
                "step": point.step,
                "epoch": point.epoch,
                "name": point.name,
                "value": point.value,
                "at": default_time if point.at is None else point.at,
            }
            for point in points
        ]
        insert = self._database.insert(metrics)
        upsert = insert.on_conflict_do_update(
            index_elements=["run_id", "step", "name"],
            set_={"value": insert.excluded.value, "at": insert.excluded.at},
        )
        connection.execute(upsert, values)

    def _update_summaries(self, connection: Connection, points: Sequence[MetricPoint]) -> None:
        of_run = metric_summaries.c.run_id == points[0].run_id
        stored = connection.execute(sa.select(metric_summaries).where(of_run)).mappings()
        summaries = {row["name"]: rows.metric_summary(row) for row in stored}
        for point in points:
            summaries[point.name] = _summary_with(summaries.get(point.name), point)
        for name in {point.name for point in points}:
            values = asdict(summaries[name])
            insert = self._database.insert(metric_summaries).values(values)
            connection.execute(
                insert.on_conflict_do_update(index_elements=["run_id", "name"], set_=values)
            )

    def add_alerts(self, job: Job, new_alerts: Sequence[Alert], now: datetime) -> None:
        """Adds alerts; an alert of the same kind at the same step is stored once."""
        values = [
            {key: value for key, value in asdict(alert).items() if key != "id"}
            for alert in new_alerts
        ]
        insert = self._database.insert(alerts).on_conflict_do_nothing()
        with self._database.job_transaction(job, now) as connection:
            connection.execute(insert, values)


def _summary_with(summary: MetricSummary | None, point: MetricPoint) -> MetricSummary:
    """Returns a curve's summary after one more point; extremes ignore points without a value."""
    value, epoch = point.value, point.epoch
    lowest, lowest_epoch, highest, highest_epoch = value, epoch, value, epoch
    if summary is not None and summary.lowest is not None and summary.highest is not None:
        if value is None or summary.lowest <= value:
            lowest, lowest_epoch = summary.lowest, summary.lowest_epoch
        if value is None or summary.highest >= value:
            highest, highest_epoch = summary.highest, summary.highest_epoch
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
