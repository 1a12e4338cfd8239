"""Opening the database: pragmas, transactions, and whether the file is ours to write."""

from pathlib import Path

import psutil
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection

from engine.errors import BadInputError, StoreError
from engine.store import migrations
from engine.store.schema import APPLICATION_ID, SCHEMA_VERSION, metadata

NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "fuse.sshfs", "afs", "ceph", "glusterfs")

# PostgreSQL has no place in a file's header; a table of our own says whose the others are.
_SCHEMA = sa.Table("chromabench_schema", sa.MetaData(), sa.Column("version", sa.Integer))


def connect(url: str, patience_s: float) -> Engine:
    """An engine on the database, its tables made if it is new, brought up to date if it is old.

    On SQLite: write-ahead log, full synchronisation. A transaction of an engine with the execution
    option `immediate` takes the write lock at its start, since one that reads first and writes
    later fails at once when another writer came between.

    Args:
        url: SQLite or PostgreSQL.
        patience_s: how long a writer waits for another one.

    Raises:
        StoreError: the database belongs to another program or to a newer version, or is of no use.
        BadInputError: the URL is of no kind that is supported.
    """
    kind = check_address(url)
    shown = sa.make_url(url).render_as_string(hide_password=True)
    try:
        engine = _make_engine(url, kind, patience_s)
        try:
            (_prepare_sqlite if kind == "sqlite" else _prepare_postgresql)(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine
    except sa.exc.DBAPIError as error:
        raise StoreError(f"The database {shown} cannot be opened: {error.orig}.") from error
    except (ImportError, sa.exc.ArgumentError) as error:
        raise BadInputError(f"The database {shown} cannot be reached: {error}.") from error


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


def has_password(url: str) -> bool:
    """Whether an address says a password."""
    parsed = make_url(url)
    return parsed.password is not None or "password" in parsed.query


def is_on_this_machine(url: str) -> bool:
    """Whether other machines cannot reach the database: a file, a socket, a loopback address."""
    parsed = make_url(url)
    local = (None, "", "localhost", "127.0.0.1", "::1")
    return parsed.get_backend_name() == "sqlite" or parsed.host in local


def database_path(url: str) -> Path:
    """The file of a SQLite address."""
    return Path(str(make_url(url).database))


def is_absent(url: str) -> bool:
    """Whether the address is that of a SQLite file that is not there yet."""
    return check_address(url) == "sqlite" and not database_path(url).exists()


def identify(url: str) -> str | None:
    """Which file stands behind a SQLite address now; None where none does.

    A database that was deleted or replaced goes on taking commits, into nowhere: whoever has it
    open asks from time to time whether it is still the same.
    """
    if check_address(url) != "sqlite":
        return "server"
    try:
        status = database_path(url).stat()
    except FileNotFoundError:
        return None
    return f"{status.st_dev}-{status.st_ino}"


def _make_engine(url: str, kind: str, patience_s: float) -> Engine:
    if kind == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": patience_s})
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
        return engine
    options = f"-c lock_timeout={patience_s * 1000:.0f} -c timezone=utc"
    return sa.create_engine(
        _with_driver(url), pool_pre_ping=True, connect_args={"options": options}
    )


def _prepare_sqlite(engine: Engine) -> None:
    path = Path(str(engine.url.database))
    if path.is_dir():
        raise StoreError(f"The database {path} is a folder; name a file in it.")
    _refuse_network(path.resolve())
    application, version, tables = _look(engine)
    _check_owner(engine, application, version, tables)
    if not tables:
        _found(engine)
    elif version < SCHEMA_VERSION:
        migrations.migrate(engine, version)
    _write_ahead(engine)


def _configure(connection: DBAPIConnection, _record: object) -> None:
    # Transactions begin where we say so, not where the driver guesses.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _refuse_network(path: Path) -> None:
    """The write-ahead log needs memory that all processes share: there is none over a network."""
    kinds = {it.mountpoint: it.fstype for it in psutil.disk_partitions(all=True)}
    places = (str(it) for it in (path, *path.parents))
    kind = next((kinds[place] for place in places if place in kinds), "")
    if kind.startswith(NETWORK_FILE_SYSTEMS):
        raise StoreError(
            f"{path} lies on a network file system ({kind}), where SQLite loses data. Set "
            "CHROMABENCH_DATABASE_URL to a local file, or to a PostgreSQL database."
        )


def _look(engine: Engine) -> tuple[int, int, int]:
    """Application, version of the schema, number of tables; asks for no lock."""
    with engine.begin() as connection:
        application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar_one()
        return application, version, tables


def _check_owner(engine: Engine, application: int, version: int, tables: int) -> None:
    if application not in (0, APPLICATION_ID) or (application == 0 and tables):
        raise StoreError(
            f"{engine.url.database} is another program's database; it was left as it is. "
            "Set CHROMABENCH_DATABASE_URL to a file of our own."
        )
    if tables:
        _check_version(str(engine.url.database), version, migrations.OLDEST)


def _found(engine: Engine) -> None:
    """Marks a new file as ours and makes the tables, unless another process was as quick."""
    with engine.execution_options(immediate=True).begin() as connection:
        if connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar_one():
            return
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")
        metadata.create_all(connection)
        migrations.found(connection)


def _check_version(database: str, version: int, oldest: int) -> None:
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{database} was written by a newer Chromabench (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); it was left as it is. Update Chromabench."
        )
    if version < oldest:
        raise StoreError(
            f"{database} was written before the first release (schema {version}, now "
            f"{SCHEMA_VERSION}); it was left as it is. Move it away or set "
            "CHROMABENCH_DATABASE_URL to another database."
        )


def _write_ahead(engine: Engine) -> None:
    """Turns the write-ahead log on: kept in the file, so only once it is known to be ours."""
    raw = engine.raw_connection()
    raw.cursor().execute("PRAGMA journal_mode=WAL")
    raw.close()


def _prepare_postgresql(engine: Engine) -> None:
    with engine.begin() as connection:
        # One process at a time looks whether the tables are there, and makes them.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(APPLICATION_ID)))
        there = set(sa.inspect(connection).get_table_names())
        if _SCHEMA.name not in there:
            if foreign := sorted(there & set(metadata.tables)):
                raise StoreError(
                    f"{engine.url.database} has another program's table {foreign[0]!r}; it was "
                    "left as it is. Set CHROMABENCH_DATABASE_URL to a database of our own."
                )
            _SCHEMA.create(connection)
            connection.execute(_SCHEMA.insert().values(version=SCHEMA_VERSION))
            metadata.create_all(connection)
            migrations.found(connection)
        version = connection.execute(sa.select(_SCHEMA.c.version)).scalar_one()
        if version == migrations.OLDEST_ON_SERVER:
            migrations.migrate_server(connection)
            connection.execute(sa.update(_SCHEMA).values(version=SCHEMA_VERSION))
            version = SCHEMA_VERSION
        _check_version(str(engine.url.database), version, SCHEMA_VERSION)


def _with_driver(url: str) -> sa.URL:
    """PostgreSQL is spoken to by psycopg 3 unless the address names another driver."""
    parsed = make_url(url)
    plain = parsed.drivername == "postgresql"
    return parsed.set(drivername="postgresql+psycopg") if plain else parsed
