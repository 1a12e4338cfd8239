"""Questions about curves, and what was measured while they were recorded."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from engine.config import RunConfig
from engine.records.curves import Alert, Cost, MetricPoint, MetricSummary, Probe, Stretch
from engine.store import rows
from engine.store.schema import alerts, metric_summaries, metrics, probes, runs
from engine.store.session import Connected

_BACK = metrics.c.step.desc()


class Curves(Connected):
    """What came of runs while they trained."""

    def read_metrics(
        self, run_ids: Sequence[int], after: int = 0, names: Sequence[str] | None = None
    ) -> list[MetricPoint]:
        """The curve points of some runs that came after a cursor, in the order they came."""
        query = sa.select(metrics).where(metrics.c.run_id.in_(run_ids), metrics.c.id > after)
        if names is not None:
            query = query.where(metrics.c.name.in_(names))
        return [rows.metric_point(row) for row in self._rows(query.order_by(metrics.c.id))]

    def read_points(self, cursors: Mapping[int, int], name: str) -> list[MetricPoint]:
        """What came to one curve of some runs since; in the order it came.

        Args:
            cursors: run -> the id of its last point that is known. Each has its own, because
                several workers write at the same time and their ids need not come in order.
            name: of the curve.
        """
        since = [
            (metrics.c.run_id == run_id) & (metrics.c.name == name) & (metrics.c.id > after)
            for run_id, after in cursors.items()
        ]
        query = sa.select(metrics).where(sa.or_(sa.false(), *since)).order_by(metrics.c.id)
        return [rows.metric_point(row) for row in self._rows(query)]

    def read_span(
        self, run_id: int, after: int, since: datetime | None = None
    ) -> tuple[MetricPoint, MetricPoint] | None:
        """A run's first and last recorded points after a step; None where there is none.

        Args:
            run_id: whose.
            after: the step.
            since: only what was measured since then: by this attempt, not by one before.
        """
        query = sa.select(metrics).where(metrics.c.run_id == run_id, metrics.c.step > after)
        if since is not None:
            query = query.where(metrics.c.at >= since.timestamp())
        ends = [self._rows(query.order_by(it).limit(1)) for it in (metrics.c.step, _BACK)]
        return (rows.metric_point(ends[0][0]), rows.metric_point(ends[1][0])) if ends[0] else None

    def read_stretches(self, run_ids: Sequence[int], name: str, stride: int) -> list[Stretch]:
        """One curve of some runs, so many steps drawn as one; by run and step."""
        part = (metrics.c.step - 1) // stride
        query = (
            sa.select(
                metrics.c.run_id,
                part.label("part"),
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
            .group_by(metrics.c.run_id, part)
            .order_by(metrics.c.run_id, part)
        )
        return [rows.stretch(row) for row in self._rows(query)]

    def read_alerts(self, run_ids: Sequence[int]) -> list[Alert]:
        """What was seen in the curves of some runs, in the order of its happening."""
        query = sa.select(alerts).where(alerts.c.run_id.in_(run_ids))
        return [rows.alert(row) for row in self._rows(query.order_by(alerts.c.run_id, alerts.c.id))]

    def read_probes(self, host: str) -> dict[str, Probe]:
        """What a host measured, by the kind of work."""
        found = self._rows(sa.select(probes).where(probes.c.host == host))
        return {row["work"]: rows.probe(row) for row in found}

    def read_metric_summaries(self, run_ids: Sequence[int]) -> list[MetricSummary]:
        """The last and extreme values of every curve of some runs."""
        query = sa.select(metric_summaries).where(metric_summaries.c.run_id.in_(run_ids))
        return [rows.metric_summary(row) for row in self._rows(query)]

    def read_curves(
        self, run_ids: Sequence[int], names: Sequence[str], parts: int
    ) -> dict[tuple[int, str], list[tuple[float, float]]]:
        """Curves thinned to the means of at most so many equal parts of a run.

        Returns:
            (run, name) -> [(mean step, mean value)] of the parts that hold a point.
        """
        part = (metrics.c.step - 1) * parts // sa.func.max(runs.c.steps, metrics.c.step)
        if self._engine.dialect.name != "sqlite":
            part = (metrics.c.step - 1) * parts // sa.func.greatest(runs.c.steps, metrics.c.step)
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
        found: dict[tuple[int, str], list[tuple[float, float]]] = {}
        for row in self._rows(query):
            curve = found.setdefault((row["run_id"], row["name"]), [])
            curve.append((float(row["step"]), float(row["value"])))
        return found

    def read_step_shares(
        self, run_ids: Sequence[int], above: Mapping[str, float], below: Mapping[str, float]
    ) -> dict[int, float]:
        """Run -> the share of its recorded steps with any curve above or below its bound."""
        beyond = [(metrics.c.name == name) & (metrics.c.value > it) for name, it in above.items()]
        beyond += [(metrics.c.name == name) & (metrics.c.value < it) for name, it in below.items()]
        steps = sa.func.count(metrics.c.step.distinct())
        of_runs = sa.select(metrics.c.run_id, steps.label("n")).where(
            metrics.c.run_id.in_(run_ids), metrics.c.name.in_([*above, *below])
        )
        grouped = metrics.c.run_id
        every = {it["run_id"]: it["n"] for it in self._rows(of_runs.group_by(grouped))}
        beyond_them = of_runs.where(sa.or_(*beyond)).group_by(grouped)
        found = {it["run_id"]: it["n"] for it in self._rows(beyond_them)}
        return {run_id: found.get(run_id, 0) / n for run_id, n in every.items()}

    def read_costs(self, newest: int) -> list[Cost]:
        """What the newest so many runs needed, the newest last."""
        speed, memory = (metric_summaries.alias() for _ in range(2))
        query = (
            sa.select(
                runs.c.config,
                runs.c.environment,
                speed.c.last.label("speed"),
                memory.c.last.label("memory"),
            )
            .join(speed, (speed.c.run_id == runs.c.id) & (speed.c.name == "images_per_second"))
            .outerjoin(memory, (memory.c.run_id == runs.c.id) & (memory.c.name == "peak_memory_mb"))
            .where(speed.c.last.is_not(None))
            .order_by(-runs.c.id)
            .limit(newest)
        )
        return [
            Cost(
                RunConfig.model_validate(row["config"]),
                (row["environment"] or {}).get("host"),
                row["speed"],
                row["memory"],
            )
            for row in reversed(self._rows(query))
        ]

    def read_steps(self, run_ids: Sequence[int]) -> dict[int, int]:
        """Run -> its steps in all, 0 until its data is known."""
        query = sa.select(runs.c.id, runs.c.steps).where(runs.c.id.in_(run_ids))
        return {row["id"]: row["steps"] for row in self._rows(query)}
