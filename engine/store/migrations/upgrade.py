"""Upgrades a database to the newest schema version, in one transaction, with Alembic.

Importing Alembic takes over 0.1 s, so `connection` imports this module only for a
database that must be upgraded.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection, Engine

from engine.errors import DatabaseUnavailableError, StoreError
from engine.store import failures
from engine.store.migrations import backups, revisions

# Alembic has one global context in a process.
_ALEMBIC_LOCK = threading.Lock()


def upgrade_sqlite(engine: Engine, keep_copy: bool) -> None:
    """Upgrades a SQLite database.

    The write lock is taken before the version is read again, so that only one of several processes
    upgrades the database.

    Args:
        engine: the database.
        keep_copy: first copy the database to a file beside it.

    Raises:
        EngineError: the disk has no room for the copy.
        StoreError: the copy or the upgrade failed; the database is unchanged.
    """
    with _locked_sqlite(engine) as connection:
        version = revisions.read_version(connection)
        if version == revisions.newest_version():
            return
        where_copy_is = f" A copy is {backups.back_up(engine, version)}." if keep_copy else ""
        with _explained(str(engine.url.database), version, where_copy_is):
            sequences = _read_sequences(connection)
            n_orphans = _count_orphans(connection)
            run_revisions(connection, version)
            _raise_sequences(connection, sequences)
            if _count_orphans(connection) > n_orphans:
                raise ValueError("rows refer to rows that do not exist any more")


def upgrade_postgresql(connection: Connection, version: int) -> None:
    """Upgrades a PostgreSQL database in the transaction of a connection.

    Args:
        connection: a connection that holds the lock of the schema.
        version: the version of the database.

    Raises:
        StoreError: the upgrade failed; the database is unchanged.
    """
    database = str(connection.engine.url.database)
    with _explained(database, version, ""):
        run_revisions(connection, version)


def run_revisions(connection: Connection, version: int | None, to: str = "head") -> None:
    """Runs the revisions that a database lacks in the transaction of a connection.

    Args:
        connection: the connection.
        version: the version of the database; None for an empty database.
        to: the last revision to run.
    """
    # Databases of release 0.9.0 have no table of Alembic.
    if version is not None:
        revisions.write_revision(connection, version)
    with _ALEMBIC_LOCK:
        command.upgrade(make_config(connection), to)


def make_config(connection: Connection) -> Config:
    """Makes the configuration of an Alembic command that works on a connection."""
    config = Config()
    config.attributes["connection"] = connection
    options = {
        "script_location": str(Path(__file__).parent),
        "path_separator": "newline",
        "version_locations": "\n".join(str(folder) for folder in revisions.FOLDERS),
        "file_template": "%(rev)s_%(slug)s",
    }
    for name, value in options.items():
        config.set_main_option(name, value.replace("%", "%%"))
    return config


def refuse_downgrade() -> NoReturn:
    """Refuses the downgrade of a revision; the function `downgrade` of each revision calls it.

    Raises:
        StoreError: always.
    """
    raise StoreError(
        "A database cannot be downgraded, because rows of the newer schema would be lost. Use the "
        "copy from before the upgrade (a file ending in .bak beside the database, or a dump of "
        "PostgreSQL) with the older release."
    )


@contextmanager
def _locked_sqlite(engine: Engine) -> Iterator[Connection]:
    """Opens a write transaction in which tables can be replaced.

    SQLite deletes the rows that refer to a table when the table is deleted, unless foreign keys
    are disabled. They can only be disabled before the transaction.
    """
    with engine.execution_options(immediate=True).connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
        finally:
            cursor.execute("PRAGMA foreign_keys=ON")


@contextmanager
def _explained(database: str, version: int, where_copy_is: str) -> Iterator[None]:
    """Converts every error of a revision to a `StoreError` that names the database."""
    try:
        yield
    except Exception as error:  # the boundary of the revisions, which may raise any error
        is_temporary = isinstance(error, sa.exc.DBAPIError) and failures.is_temporary(error)
        kind = DatabaseUnavailableError if is_temporary else StoreError
        raise kind(
            f"The upgrade of {database} from schema {version} to {revisions.newest_version()} "
            f"failed: {failures.reason_of(error)}. The database was left as it was; the previous "
            f"release can open it.{where_copy_is}"
        ) from error


def _count_orphans(connection: Connection) -> int:
    """Counts the rows that refer to a row that does not exist."""
    return len(connection.exec_driver_sql("PRAGMA foreign_key_check").all())


def _read_sequences(connection: Connection) -> dict[str, int]:
    """Reads the highest id that each table ever had."""
    rows = connection.exec_driver_sql("SELECT name, seq FROM sqlite_sequence")
    return {row.name: row.seq for row in rows}


def _raise_sequences(connection: Connection, sequences: dict[str, int]) -> None:
    """Prevents that the ids of deleted rows are used again in tables that were replaced."""
    replaced = _read_sequences(connection)
    for name in sequences.keys() & set(sa.inspect(connection).get_table_names()):
        number = max(sequences[name], replaced.get(name, 0))
        connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
        connection.exec_driver_sql("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, number))
