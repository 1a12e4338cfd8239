"""Opening the database: pragmas, transactions, and whether the file is ours to write."""

from pathlib import Path

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
    kind = check_address(url)
    shown = sa.make_url(url).render_as_string(hide_password=True)
    try:
        engine = sa.create_engine(url)
        if kind == "sqlite":
            event.listen(engine, "connect", _configure)
            event.listen(engine, "begin", _begin)
            _claim_file(engine)
            _write_ahead(engine)
        metadata.create_all(engine.execution_options(immediate=True))
    except sa.exc.DBAPIError as error:
        raise StoreError(f"The database {shown} cannot be opened: {error.orig}.") from error
    except (ImportError, sa.exc.ArgumentError) as error:
        raise BadInputError(f"The database {shown} cannot be reached: {error}.") from error
    return engine


def check_address(url: str) -> str:
    """The kind of a database address: `sqlite` or `postgresql`; touches nothing.

    Raises:
        BadInputError: it is no address, or of a kind that is not supported.
    """
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
    except (sa.exc.ArgumentError, ValueError) as error:
        raise BadInputError(
            f"CHROMABENCH_DATABASE_URL is not a database address: {url[:80]!r}. "
            "One is sqlite:////folder/runs.db."
        ) from error
    if kind not in ("sqlite", "postgresql"):
        raise BadInputError(f"The database must be SQLite or PostgreSQL, not {kind!r}.")
    if kind == "sqlite" and (parsed.database in (None, "", ":memory:") or parsed.query):
        raise BadInputError(
            f"The database needs a plain file that all processes share, not {url[:80]!r}. "
            "One is sqlite:////folder/runs.db."
        )
    return kind


def is_absent(url: str) -> bool:
    """Whether the address is that of a SQLite file that is not there yet."""
    file = sa.make_url(url).database
    return check_address(url) == "sqlite" and not Path(str(file)).exists()


def _configure(connection: DBAPIConnection, _record: object) -> None:
    # Transactions begin where we say so, not where the driver guesses.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON"):
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
        if tables and version < SCHEMA_VERSION:
            raise StoreError(
                f"{engine.url.database} was written before the first release (schema {version}, "
                f"now {SCHEMA_VERSION}); it was left as it is. Move it away or set "
                "CHROMABENCH_DATABASE_URL to another file."
            )
        if not tables:
            connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
            connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")


def _write_ahead(engine: Engine) -> None:
    """Turns the write-ahead log on: kept in the file, so only once it is known to be ours."""
    raw = engine.raw_connection()
    raw.cursor().execute("PRAGMA journal_mode=WAL")
    raw.close()
