"""What all parts of the store stand on: the engine, and a transaction that a token opens."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from engine.errors import EngineError, StoreError
from engine.records.runs import Job, RunState
from engine.store.connection import connect, identify
from engine.store.schema import jobs

ACTIVE = (RunState.RUNNING, RunState.STOPPING)
FINISHED = tuple(state for state in RunState if state.is_finished())
# What of a job is as it was at first when a person has it done again.
QUEUED_AGAIN: Mapping[str, object] = {
    "state": RunState.QUEUED,
    "process": None,
    "retries": 0,
    "stop_requested_at": None,
    "kill_requested_at": None,
}
PATIENCE_S = 30.0  # that a writer waits for another one


class LostJobError(EngineError):
    """The job belongs to another attempt by now, or was ended; its worker must leave."""


class GoneDatabaseError(StoreError):
    """The database file is not the one that was opened: writing on would be writing to nowhere."""


class Connected:
    """An open database.

    Args:
        url: SQLite or PostgreSQL; tables are made when there are none.
        patience_s: how long a writer waits for another one.
        wait: called when the database cannot be read now, before it is tried again; may raise.
    """

    def __init__(
        self,
        url: str,
        patience_s: float = PATIENCE_S,
        wait: Callable[[StoreError], None] | None = None,
    ) -> None:
        self._url, self._wait = url, wait
        self._engine = connect(url, patience_s)
        self._identity = identify(url)
        self._writer = self._engine.execution_options(immediate=True)
        dialect = sqlite if self._engine.dialect.name == "sqlite" else postgresql
        self._insert = dialect.insert

    def close(self) -> None:
        """Lets go of all connections."""
        self._engine.dispose()

    def require_same_file(self) -> None:
        """Raises `GoneDatabaseError` if the file was deleted or replaced since it was opened."""
        if identify(self._url) != self._identity:
            raise GoneDatabaseError(
                f"The database {self._engine.url.database} was deleted or replaced while it was "
                "in use."
            )

    def snapshot(self, path: Path) -> None:
        """Writes the database as it is now into a new file, however many write meanwhile.

        Raises:
            StoreError: it could not be written.
        """
        try:
            with closing(self._engine.raw_connection()) as raw:
                raw.cursor().execute("VACUUM INTO ?", (str(path),))
        except sqlite3.Error as error:
            raise StoreError(f"No snapshot could be written to {path}: {error}.") from error

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that writes; a database that does not take it is a `StoreError`."""
        self.require_same_file()
        try:
            with self._writer.begin() as connection:
                yield connection
        except sa.exc.IntegrityError:
            raise
        except sa.exc.DBAPIError as error:
            raise StoreError(f"The database did not take a write: {error.orig}.") from error

    @contextmanager
    def _held(self, job: Job, now: datetime) -> Iterator[Connection]:
        """A transaction that its job's token opens."""
        renew = (
            sa.update(jobs)
            .where(jobs.c.id == job.id, jobs.c.token == job.token, jobs.c.state.in_(ACTIVE))
            .values(heartbeat_at=now)
        )
        with self._writing() as connection:
            if not connection.execute(renew).rowcount:
                raise LostJobError(f"Job {job.id} belongs to another attempt by now.")
            yield connection

    def _rows(self, query: sa.Select[Any]) -> Sequence[sa.RowMapping]:
        while True:
            try:
                with self._engine.begin() as connection:
                    return connection.execute(query).mappings().all()
            except sa.exc.DBAPIError as error:
                fault = StoreError(f"The database cannot be read: {error.orig}.")
                if self._wait is None:
                    raise fault from error
            self._wait(fault)


def lock_jobs(connection: Connection, which: sa.ColumnElement[bool]) -> None:
    """Lets no other transaction change these jobs before this one ends.

    Jobs are locked before their runs, everywhere. On SQLite only one transaction writes anyway.
    """
    connection.execute(sa.select(jobs.c.id).where(which).order_by(jobs.c.id).with_for_update())
