"""Measured speed and memory of machines, and the installation id."""

from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from engine.config import RunConfig
from engine.records.curves import Cost, Probe
from engine.records.runs import Job
from engine.store import rows
from engine.store.database import Database
from engine.store.schema import installation, metric_summaries, probes, runs


class Machines:
    """Repository of speed probes, costs of runs, and the installation id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read_installation_id(self) -> str:
        """Returns the id of this database; copies of the file have the same id."""
        (row,) = self._database.rows(sa.select(installation.c.id))
        return str(row["id"])

    def read_probes(self, host: str) -> dict[str, Probe]:
        """Returns workload -> the newest speed probe of a host."""
        probe_rows = self._database.rows(sa.select(probes).where(probes.c.host == host))
        return {row["work"]: rows.probe(row) for row in probe_rows}

    def read_costs(self, limit: int) -> list[Cost]:
        """Returns the measured speed and memory of the newest runs, oldest first.

        Args:
            limit: the maximum number of runs.
        """
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
            .limit(limit)
        )
        return [
            Cost(
                RunConfig.model_validate(row["config"]),
                (row["environment"] or {}).get("host"),
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
