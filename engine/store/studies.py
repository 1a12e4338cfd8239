"""Stores studies: adds, extends, annotates and archives them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from engine.config import RunConfig
from engine.errors import BadInputError
from engine.records.runs import Run, RunState, Study
from engine.store import rows
from engine.store.database import FINISHED_STATES, REQUEUED, Database, lock_jobs
from engine.store.runs import Runs
from engine.store.schema import jobs, runs, studies


class Studies:
    """Repository of studies."""

    def __init__(self, database: Database, run_repository: Runs) -> None:
        self._database, self._runs = database, run_repository

    def read(self, study_id: int) -> Study:
        """Returns one study.

        Raises:
            BadInputError: there is no such study.
        """
        matches = self._database.rows(sa.select(studies).where(studies.c.id == study_id))
        if not matches:
            raise BadInputError(f"There is no study {study_id}.")
        return rows.study(matches[0])

    def read_all(self) -> list[Study]:
        """Returns all studies, newest first."""
        query = sa.select(studies).order_by(-studies.c.id)
        return [rows.study(row) for row in self._database.rows(query)]

    def add(
        self, key: str, name: str, configs: Sequence[RunConfig], now: datetime
    ) -> tuple[Study, list[Run]]:
        """Adds a study with one queued run and job per config.

        Args:
            key: identifies the request; a second call with the same key adds nothing and returns
                the study of the first call.
            name: the name that pages show.
            configs: one config per run, all on the same data and budget.
            now: the time of creation.
        """
        first = configs[0]
        values = {
            "key": key,
            "name": name,
            "data": first.data,
            "budget": first.budget.model_dump(mode="json"),
            "created_at": now,
        }
        insert = self._database.insert(studies).values(values).on_conflict_do_nothing()
        with self._database.transaction() as connection:
            added_id = connection.execute(insert.returning(studies.c.id)).scalar()
            if added_id is not None:
                for config in configs:
                    self._add_run(connection, added_id, config, now)
            study_id = connection.execute(
                sa.select(studies.c.id).where(studies.c.key == key)
            ).scalar_one()
        return self.read(study_id), self._runs.read_all(study_id)

    def _add_run(
        self, connection: Connection, study_id: int, config: RunConfig, now: datetime
    ) -> None:
        """Queues a run unless the study already has one of this configuration and seed."""
        values = {
            "study_id": study_id,
            "configuration": config.configuration.name,
            "seed": config.seed,
            "state": RunState.QUEUED,
            "config": config.model_dump(mode="json"),
            "epochs": config.budget.epochs,
            "created_at": now,
        }
        insert = self._database.insert(runs).values(values).on_conflict_do_nothing()
        run_id = connection.execute(insert.returning(runs.c.id)).scalar()
        if run_id is not None:
            job = {"kind": "train", "run_id": run_id, "state": RunState.QUEUED, "created_at": now}
            connection.execute(sa.insert(jobs).values(job))

    def extend(self, study_id: int, configs: Sequence[RunConfig], now: datetime) -> None:
        """Adds runs to a study; runs that the study already has are left unchanged."""
        existing_query = sa.select(runs.c.configuration, runs.c.seed).where(
            runs.c.study_id == study_id
        )
        with self._database.transaction() as connection:
            existing = {tuple(row) for row in connection.execute(existing_query)}
            for config in configs:
                if (config.configuration.name, config.seed) not in existing:
                    self._add_run(connection, study_id, config, now)

    def extend_epochs(self, study_id: int, epochs: int) -> None:
        """Raises the number of epochs of a study and queues its runs to continue.

        Everything else about the runs is kept, including the settings that their first attempt
        resolved.

        Args:
            study_id: the study.
            epochs: the new total number of epochs.

        Raises:
            BadInputError: some runs of the study have not ended.
        """
        with self._database.transaction() as connection:
            of_study = runs.c.study_id == study_id
            lock_jobs(connection, jobs.c.run_id.in_(sa.select(runs.c.id).where(of_study)))
            unfinished = sa.select(sa.func.count()).where(
                of_study, runs.c.state.not_in(FINISHED_STATES)
            )
            if connection.execute(unfinished).scalar_one():
                raise BadInputError(
                    f"Study {study_id} is still running: add epochs when all its runs have ended."
                )
            budget = sa.select(studies.c.budget).where(studies.c.id == study_id)
            extended_budget = {**connection.execute(budget).scalar_one(), "epochs": epochs}
            update_study = sa.update(studies).where(studies.c.id == study_id)
            connection.execute(update_study.values(budget=extended_budget))
            for row in connection.execute(sa.select(runs).where(of_study)).mappings().all():
                values = {
                    "state": RunState.QUEUED,
                    "reason": None,
                    "will_retry": False,
                    "ended_at": None,
                    "config": _with_epochs(row["config"], epochs),
                    "resolved": row["resolved"] and _with_epochs(row["resolved"], epochs),
                    "epochs": epochs,
                    "steps": row["steps"] // row["epochs"] * epochs,
                }
                connection.execute(sa.update(runs).where(runs.c.id == row["id"]).values(values))
                job = sa.update(jobs).where(jobs.c.run_id == row["id"])
                connection.execute(job.values(REQUEUED))

    def archive(self, study_id: int, at: datetime | None) -> None:
        """Hides a study from the lists; `at=None` shows the study again."""
        self._update(study_id, archived_at=at)

    def annotate(self, study_id: int, name: str, note: str, tags: Sequence[str]) -> None:
        """Stores the name, the note and the tags of a study."""
        self._update(study_id, name=name, note=note, tags=list(tags))

    def _update(self, study_id: int, **values: object) -> None:
        with self._database.transaction() as connection:
            connection.execute(sa.update(studies).where(studies.c.id == study_id).values(values))

    def claim_notifications(self, since: datetime, now: datetime) -> list[int]:
        """Returns the ended studies that need a webhook call, and stores the time of the call.

        A study needs a call if it ended after its last call.

        Args:
            since: studies that ended earlier are ignored.
            now: the time of the call.
        """
        ended_at = sa.func.max(runs.c.ended_at)
        run_is_over = runs.c.state.in_(FINISHED_STATES) & sa.not_(runs.c.will_retry)
        ended_studies = (
            sa.select(runs.c.study_id)
            .group_by(runs.c.study_id)
            .having(sa.func.min(sa.case((run_is_over, 1), else_=0)) == 1, ended_at >= since)
        )
        last_end = sa.select(ended_at).where(runs.c.study_id == studies.c.id).scalar_subquery()
        not_notified = studies.c.announced_at.is_(None) | (studies.c.announced_at < last_end)
        claim = sa.update(studies).where(studies.c.id.in_(ended_studies), not_notified)
        with self._database.transaction() as connection:
            claimed = connection.execute(claim.values(announced_at=now).returning(studies.c.id))
            return sorted(claimed.scalars())


def _with_epochs(config: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    return {**config, "budget": {**config["budget"], "epochs": epochs}}
