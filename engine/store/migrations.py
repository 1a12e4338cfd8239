"""From the schema of an older release to today's: a backup first, then one transaction.

Every table is made anew and filled from the old one, so that a migrated database is the same as a
fresh one, keys and indexes too. What an old release did not know is filled in here.
"""

import itertools
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from engine.errors import StoreError
from engine.store.schema import SCHEMA_VERSION, installation, metadata
from engine.system import processes

OLDEST = 2  # that is brought up to date; before it there was no release
OLDEST_ON_SERVER = 4  # of a PostgreSQL database: the first schema that one could have

# (table, column) -> what it was, over a row of the old table; without an entry: NULL.
_FILLED: Mapping[tuple[str, str], str] = {
    ("runs", "will_retry"): "0",
    ("runs", "note"): "''",
    ("runs", "tags"): "'[]'",
    ("studies", "note"): "''",
    ("studies", "tags"): "'[]'",
    ("jobs", "progress"): "0",
    ("jobs", "retries"): "0",
    ("checkpoints", "step"): (
        "(SELECT old_checkpoints.epoch * steps / epochs FROM old_runs WHERE old_runs.id = run_id)"
    ),
    ("checkpoints", "is_whole"): "1",
    ("checkpoints", "is_slim"): "0",
}


def migrate(engine: Engine, version: int) -> Path:
    """Brings a SQLite database up to date; nothing is changed unless everything is.

    Args:
        engine: on the database.
        version: its schema as it was seen, checked again under the lock.

    Returns:
        The backup, beside the database.

    Raises:
        StoreError: processes of the old release still work on it, or a row has no place.
    """
    path = Path(str(engine.url.database))
    backup = _free_name(path.with_name(f"{path.name}.schema-{version}-backup"))
    with _alone(engine) as connection:
        if connection.exec_driver_sql("PRAGMA user_version").scalar_one() == SCHEMA_VERSION:
            return backup  # another process was as quick
        _require_rest(connection, path)
        _back_up(engine, backup)
        before = set(sa.inspect(connection).get_table_names()) - {"sqlite_sequence"}
        for index in _named_indexes(connection):
            connection.exec_driver_sql(f"DROP INDEX {index}")
        for name in before:
            connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO old_{name}")
        metadata.create_all(connection)
        for table in metadata.sorted_tables:
            if table.name in before:
                _fill(connection, table)
        for name in before:
            connection.exec_driver_sql(f"DROP TABLE old_{name}")
        lost = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if lost:
            raise StoreError(
                f"{path} has {len(lost)} rows that belong to nothing ({lost[0][0]}); it was left "
                "as it is."
            )
        if installation.name not in before:
            found(connection)
        connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")
    return backup


def migrate_server(connection: Connection) -> None:
    """Brings a PostgreSQL database of schema 4 up to date, inside the caller's transaction.

    There a table can be given columns in place; it is what a fresh one is but for their order.
    """
    for table, column, kind in (
        ("studies", "note", "VARCHAR NOT NULL DEFAULT ''"),
        ("studies", "tags", "JSON NOT NULL DEFAULT '[]'"),
        ("studies", "announced_at", "TIMESTAMP"),
        ("runs", "note", "VARCHAR NOT NULL DEFAULT ''"),
        ("runs", "tags", "JSON NOT NULL DEFAULT '[]'"),
        ("metrics", "at", "DOUBLE PRECISION"),
    ):
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
    metadata.create_all(connection)


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A write transaction in which tables may be exchanged."""
    with engine.connect() as plain:
        raw = plain.connection.driver_connection
        assert raw is not None
        # Neither can be changed inside a transaction; both belong to this connection alone.
        plain.rollback()
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute("PRAGMA legacy_alter_table=ON")
        try:
            connection = plain.execution_options(immediate=True)
            with connection.begin():
                yield connection
        finally:
            raw.execute("PRAGMA legacy_alter_table=OFF")
            raw.execute("PRAGMA foreign_keys=ON")


def _require_rest(connection: Connection, path: Path) -> None:
    busy = connection.exec_driver_sql(
        "SELECT process FROM jobs WHERE state IN ('running', 'stopping') AND process IS NOT NULL"
    ).scalars()
    alive = sum(processes.is_here(it) and processes.is_alive(it) for it in busy)
    if alive:
        raise StoreError(
            f"{path} was written by an older Chromabench that still works on {alive} of its jobs; "
            "it was left as it is. Wait for them or end them, then try again."
        )


def _free_name(path: Path) -> Path:
    """The path, or the first with a number behind it that is free: no backup is overwritten."""
    names = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(it for it in itertools.chain([path], names) if not it.exists())


def _back_up(engine: Engine, backup: Path) -> None:
    partial = backup.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with closing(engine.raw_connection()) as other:
        other.cursor().execute("VACUUM INTO ?", (str(partial),))
    partial.replace(backup)


def _named_indexes(connection: Connection) -> list[str]:
    found = connection.exec_driver_sql(
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
    )
    return list(found.scalars())


def found(connection: Connection) -> None:
    """Gives a database the identity that it keeps for life."""
    connection.execute(sa.insert(installation).values(id=secrets.token_hex(8)))


def _fill(connection: Connection, table: sa.Table) -> None:
    old = f"old_{table.name}"
    known = {row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({old})")}
    names = [column.name for column in table.columns]
    values = [it if it in known else _FILLED.get((table.name, it), "NULL") for it in names]
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {', '.join(values)} FROM {old}"
    )
