"""Opening the database: pragmas, transactions, and whether the file is ours to write."""

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection

from engine.errors import BadInputError, StoreError
from engine.store.schema import APPLICATION_ID, SCHEMA_VERSION, metadata


def connect(url: str) -> Engine:
    """An engine on the database, its tables made if it is new.

    On SQLite: write-ahead log, full synchronisation, 30 s of patience. A transaction of an
    engine with the execution option `immediate` takes the write lock at its start, since one that
    reads first and writes later fails at once when another writer came between.

    Raises:
        StoreError: the file belongs to another program or to a newer version.
        BadInputError: the URL is of no kind that is supported.
    """
    kind = _read_kind(url)
    try:
        engine = sa.create_engine(url)
        if kind == "sqlite":
            event.listen(engine, "connect", _configure)
            event.listen(engine, "begin", _begin)
            _claim_file(engine)
        metadata.create_all(engine.execution_options(immediate=True))
    except sa.exc.DBAPIError as error:
        raise StoreError(f"The database {url} cannot be opened: {error.orig}.") from error
    return engine


def _read_kind(url: str) -> str:
    try:
        kind = make_url(url).get_backend_name()
    except sa.exc.ArgumentError as error:
        raise BadInputError(
            f"CHROMABENCH_DATABASE_URL is not a database address: {url!r}. "
            "One is sqlite:////folder/runs.db."
        ) from error
    if kind not in ("sqlite", "postgresql"):
        raise BadInputError(f"The database must be SQLite or PostgreSQL, not {kind!r}.")
    return kind


def _configure(connection: DBAPIConnection, _record: object) -> None:
    # Transactions begin where we say so, not where the driver guesses.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "busy_timeout=30000",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _claim_file(engine: Engine) -> None:
    with engine.execution_options(immediate=True).begin() as connection:
        application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar_one()
        if application not in (0, APPLICATION_ID) or (application == 0 and tables):
            raise StoreError(
                f"{engine.url.database} is another program's database; it was left as it is. "
                "Set CHROMABENCH_DATABASE_URL to a file of our own."
            )
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{engine.url.database} was written by a newer Chromabench (schema {version}, "
                f"this one knows {SCHEMA_VERSION}); it was left as it is. Update Chromabench."
            )
        if not tables:
            connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
            connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")
