"""Measured speed and memory of machines, and the installation id."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from engine.config import RunConfig
from engine.records.curves import Cost, Probe
from engine.records.runs import Job
from engine.store import rows
from engine.store.database import Database
from engine.store.schema import attempts, installation, metric_summaries, probes, runs


class Machines:
    """Repository of speed probes, costs of runs, and the installation id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read_installation_id(self) -> str:
        """Returns the id of this database; copies of the file have the same id."""
        (row,) = self._database.rows(sa.select(installation.c.id))
        return str(row["id"])

    def read_queue_hosts(self, limit: int) -> set[str]:
        """Returns the hosts that have claimed the newest jobs.

        Args:
            limit: the maximum number of attempts to look at.
        """
        newest = sa.select(attempts.c.host).order_by(-attempts.c.id).limit(limit)
        return {row["host"] for row in self._database.rows(newest) if row["host"] is not None}

    def read_probes(self, hosts: Collection[str]) -> dict[str, Probe]:
        """Returns workload -> the newest speed probe of any of the hosts."""
        query = sa.select(probes).where(probes.c.host.in_(hosts)).order_by(probes.c.measured_at)
        return {row["work"]: rows.probe(row) for row in self._database.rows(query)}

    def read_costs(self, limit: int) -> list[Cost]:
        """Returns the measured speed and memory of the newest runs, oldest first.

        The host of a run is the host that claimed its newest attempt.

        Args:
            limit: the maximum number of runs.
        """
        speed, memory = (metric_summaries.alias() for _ in range(2))
        newest_attempt = sa.select(attempts.c.host).where(attempts.c.run_id == runs.c.id)
        newest_attempt = newest_attempt.order_by(-attempts.c.id).limit(1)
        query = (
            sa.select(
                runs.c.config,
                newest_attempt.scalar_subquery().label("host"),
                speed.c.last.label("speed"),
                memory.c.last.label("memory"),
            )
            .join(speed, (speed.c.run_id == runs.c.id) & (speed.c.name == "images_per_second"))
            .outerjoin(memory, (memory.c.run_id == runs.c.id) & (memory.c.name == "peak_memory_mb"))
            .where(speed.c.last.is_not(None))
            .order_by(-runs.c.id)
            .limit(limit)
        )
        return [
            Cost(
                RunConfig.model_validate(row["config"]),
                row["host"],
                row["speed"],
                row["memory"],
            )
            for row in reversed(self._database.rows(query))
        ]

    def add_probe(self, job: Job, probe: Probe, now: datetime) -> None:
        """Stores a speed probe, replacing the older one of the same host and workload."""
        values = asdict(probe)
        insert = self._database.insert(probes).values(values)
        upsert = insert.on_conflict_do_update(index_elements=["host", "work"], set_=values)
        with self._database.job_transaction(job, now) as connection:
            connection.execute(upsert)
