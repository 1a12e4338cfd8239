"""Opens a database and its transactions, and checks the job tokens of workers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from engine.errors import DatabaseUnavailableError, EngineError, StoreError
from engine.records.runs import Job, RunState
from engine.store import failures
from engine.store.connection import connect, identify
from engine.store.migrations import backups
from engine.store.schema import checkpoints, jobs, runs

ACTIVE_STATES = (RunState.RUNNING, RunState.STOPPING)
FINISHED_STATES = tuple(state for state in RunState if state.is_finished())
# Columns of a job that are reset when the job is queued again.
REQUEUED: Mapping[str, object] = {
    "state": RunState.QUEUED,
    "process": None,
    "retries": 0,
    "stop_requested_at": None,
    "kill_requested_at": None,
}
LOCK_TIMEOUT_S = 30.0


class LostJobError(EngineError):
    """The worker's attempt does not own the job any more, or the job has ended."""


class DatabaseReplacedError(StoreError):
    """The database file was deleted or replaced; writes to the open file would be lost."""


class Database:
    """A connection pool with the transactions that all repositories use.

    `Store` opens a database and documents the arguments.
    """

    def __init__(
        self,
        url: str,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        on_read_error: Callable[[StoreError], None] | None = None,
        keep_copy: bool = True,
    ) -> None:
        self._url, self._on_read_error = url, on_read_error
        self._engine = connect(url, lock_timeout_s, keep_copy)
        self._file_identity = identify(url)
        self._writer = self._engine.execution_options(immediate=True)
        self.is_sqlite = self._engine.dialect.name == "sqlite"
        # An INSERT that supports ON CONFLICT.
        self.insert = (sqlite if self.is_sqlite else postgresql).insert

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def require_same_file(self) -> None:
        """Raises `DatabaseReplacedError` if the file was deleted or replaced after opening."""
        if identify(self._url) != self._file_identity:
            raise DatabaseReplacedError(
                f"The database {self._engine.url.database} was deleted or replaced while it was "
                "in use."
            )

    def snapshot(self, path: Path) -> None:
        """Writes a consistent copy of a SQLite database to a new file; writers are not blocked.

        Raises:
            StoreError: the copy could not be written.
        """
        backups.write_snapshot(self._engine, path)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Opens a write transaction.

        Raises:
            DatabaseUnavailableError: the database is busy or unreachable.
            StoreError: the database rejected the write; the same write will be rejected again.
            DatabaseReplacedError: the database file was deleted or replaced.
        """
        self.require_same_file()
        try:
            with self._writer.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise failures.store_error(error, "The database did not take a write") from error

    @contextmanager
    def job_transaction(self, job: Job, now: datetime) -> Iterator[Connection]:
        """Opens a write transaction of a worker and renews the heartbeat of its job.

        Args:
            job: the job, with the token of the current attempt.
            now: the time of the heartbeat.

        Raises:
            LostJobError: the token is stale; nothing is written.
        """
        renew_heartbeat = (
            sa.update(jobs)
            .where(jobs.c.id == job.id, jobs.c.token == job.token, jobs.c.state.in_(ACTIVE_STATES))
            .values(heartbeat_at=now)
        )
        with self.transaction() as connection:
            if not connection.execute(renew_heartbeat).rowcount:
                raise LostJobError(f"Job {job.id} belongs to another attempt by now.")
            yield connection

    def rows(self, query: sa.Select[Any]) -> Sequence[sa.RowMapping]:
        """Returns all rows of a query; retries if the database is unavailable.

        Raises:
            DatabaseUnavailableError: the database is unavailable, and there is no `on_read_error`.
            StoreError: the read failed for another reason.
        """
        while True:
            try:
                with self._engine.begin() as connection:
                    return connection.execute(query).mappings().all()
            except sa.exc.DBAPIError as error:
                failure = failures.store_error(error, "The database cannot be read")
                is_temporary = isinstance(failure, DatabaseUnavailableError)
                if self._on_read_error is None or not is_temporary:
                    raise failure from error
            self._on_read_error(failure)

    def serialise(self, connection: Connection, subject: str) -> None:
        """Blocks other transactions about the same subject until this transaction ends.

        On SQLite only one transaction writes at a time, so nothing needs to be locked.
        """
        if not self.is_sqlite:
            key = sa.func.hashtext(subject)
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def lock_jobs(connection: Connection, condition: sa.ColumnElement[bool]) -> None:
    """Locks the rows of some jobs until the transaction ends.

    Every transaction locks jobs before runs, so that two transactions cannot deadlock. On SQLite
    nothing is locked, because only one transaction writes at a time.
    """
    connection.execute(sa.select(jobs.c.id).where(condition).order_by(jobs.c.id).with_for_update())


def is_over(connection: Connection, run_id: int) -> bool:
    """Locks the jobs of a run and returns whether the run has ended without a pending retry."""
    lock_jobs(connection, jobs.c.run_id == run_id)
    condition = (runs.c.id == run_id, runs.c.state.in_(FINISHED_STATES), sa.not_(runs.c.will_retry))
    return connection.execute(sa.select(runs.c.id).where(*condition)).scalar() is not None


def newest_step(connection: Connection, run_id: int | None) -> int:
    """Returns the step of a run's newest checkpoint; 0 if there is none."""
    newest = sa.select(sa.func.max(checkpoints.c.step)).where(checkpoints.c.run_id == run_id)
    return connection.execute(newest).scalar() or 0
