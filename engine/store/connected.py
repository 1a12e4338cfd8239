"""What all parts of the store stand on: the engine, and a transaction that a token opens."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from engine.errors import EngineError, StoreError
from engine.records import Job, RunState
from engine.store.connection import connect
from engine.store.schema import jobs

ACTIVE = (RunState.RUNNING, RunState.STOPPING)


class LostJobError(EngineError):
    """The job belongs to another attempt by now, or was ended; its worker must leave."""


class Connected:
    """An open database.

    Args:
        url: SQLite or PostgreSQL; tables are made when there are none.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect(url)
        self._writer = self._engine.execution_options(immediate=True)
        dialect = sqlite if self._engine.dialect.name == "sqlite" else postgresql
        self._insert = dialect.insert

    def close(self) -> None:
        """Lets go of all connections."""
        self._engine.dispose()

    @contextmanager
    def _held(self, job: Job, now: datetime) -> Iterator[Connection]:
        """A transaction that its job's token opens; a database fault is a `StoreError`."""
        renew = (
            sa.update(jobs)
            .where(jobs.c.id == job.id, jobs.c.token == job.token, jobs.c.state.in_(ACTIVE))
            .values(heartbeat_at=now)
        )
        try:
            with self._writer.begin() as connection:
                if not connection.execute(renew).rowcount:
                    raise LostJobError(f"Job {job.id} belongs to another attempt by now.")
                yield connection
        except sa.exc.OperationalError as error:
            raise StoreError(f"The database did not take a write: {error.orig}.") from error

    def _rows(self, query: sa.Select[Any]) -> Sequence[sa.RowMapping]:
        try:
            with self._engine.begin() as connection:
                return connection.execute(query).mappings().all()
        except sa.exc.DBAPIError as error:
            raise StoreError(f"The database cannot be read: {error.orig}.") from error
