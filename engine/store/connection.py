"""Opens SQLite and PostgreSQL databases, upgrades older ones, and refuses those of others."""

import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psutil
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection

from engine.environment import shown_value
from engine.errors import BadInputError, StoreError
from engine.settings import default_data_folder
from engine.store import failures
from engine.store.migrations import backups, revisions
from engine.store.schema import APPLICATION_ID, installation, metadata
from engine.system import extras

NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "fuse.sshfs", "afs", "ceph", "glusterfs")


def connect(url: str, lock_timeout_s: float, keep_copy: bool = True) -> Engine:
    """Opens a database; creates the tables of a new one, and upgrades the tables of an older one.

    SQLite databases use a write-ahead log and full synchronisation. With the execution option
    `immediate`, a transaction takes the write lock at its start. Otherwise a transaction that reads
    first and writes later would fail if another transaction had written in between.

    Args:
        url: the address of a SQLite or PostgreSQL database.
        lock_timeout_s: how long a writer waits for another writer, in seconds.
        keep_copy: keep a copy of a SQLite database before its upgrade.

    Raises:
        StoreError: the database belongs to another program, to a newer Chromabench or to one from
            before the first release, or it cannot be opened or upgraded.
        DatabaseUnavailableError: the database is busy or unreachable.
        EngineError: the disk has no room for the copy that is made before an upgrade.
        BadInputError: the address is not a SQLite or PostgreSQL address, or the driver is missing.
    """
    kind = check_address(url)
    shown_url = sa.make_url(url).render_as_string(hide_password=True)
    try:
        engine = _make_engine(url, kind, lock_timeout_s)
        try:
            if kind == "sqlite":
                _prepare_sqlite(engine, keep_copy)
            else:
                _prepare_postgresql(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine
    except sa.exc.DBAPIError as error:
        raise failures.store_error(error, f"The database {shown_url} cannot be opened") from error
    except (ImportError, sa.exc.ArgumentError) as error:
        raise BadInputError(f"The database {shown_url} cannot be reached: {error}.") from error


def check_address(url: str) -> str:
    """Returns the kind of a database address, `sqlite` or `postgresql`; opens nothing.

    Raises:
        BadInputError: the text is not an address, or its kind is not supported.
    """
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
    except (sa.exc.ArgumentError, ValueError) as error:
        raise BadInputError(
            f"CHROMABENCH_DATABASE_URL is not a database address: {shown_value(url)}. "
            "One is sqlite:////folder/runs.db."
        ) from error
    if kind not in ("sqlite", "postgresql"):
        raise BadInputError(f"The database must be SQLite or PostgreSQL, not {kind!r}.")
    if kind == "sqlite" and (parsed.database in (None, "", ":memory:") or parsed.query):
        raise BadInputError(
            f"The database needs a plain file that all processes share, not {shown_value(url)}. "
            "One is sqlite:////folder/runs.db."
        )
    return kind


def has_password(url: str) -> bool:
    """Returns whether an address contains a password."""
    parsed = make_url(url)
    return parsed.password is not None or "password" in parsed.query


def is_on_this_machine(url: str) -> bool:
    """Returns whether the database is a file, or a server at a local socket or loopback address."""
    parsed = make_url(url)
    local_hosts = (None, "", "localhost", "127.0.0.1", "::1")
    return parsed.get_backend_name() == "sqlite" or parsed.host in local_hosts


def database_path(url: str) -> Path:
    """Returns the file of a SQLite address."""
    return Path(str(make_url(url).database))


def is_absent(url: str) -> bool:
    """Returns whether the address is that of a SQLite file that does not exist yet."""
    return check_address(url) == "sqlite" and not database_path(url).exists()


def is_current(url: str) -> bool:
    """Returns whether a SQLite file has the newest schema version; does not change the file.

    `Store` upgrades a file of an older version.
    """
    uri = f"file:{quote(str(database_path(url)))}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError:  # not a SQLite file
        return False
    return bool(version == revisions.newest_version())


def identify(url: str) -> str | None:
    """Returns the identity (device and inode) of the file at a SQLite address; None if absent.

    SQLite keeps writing to a file that was deleted or replaced, and such writes are lost. To detect
    a deleted or replaced file, processes compare its identity with the identity when it was opened.
    A PostgreSQL database always has the identity `server`.
    """
    if check_address(url) != "sqlite":
        return "server"
    try:
        status = database_path(url).stat()
    except FileNotFoundError:
        return None
    return f"{status.st_dev}-{status.st_ino}"


def _make_engine(url: str, kind: str, lock_timeout_s: float) -> Engine:
    if kind == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": lock_timeout_s})
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    address = _with_default_driver(url)
    if address.get_driver_name() == "psycopg":
        extras.require("postgresql", "A PostgreSQL database")
    options = f"-c lock_timeout={lock_timeout_s * 1000:.0f} -c timezone=utc"
    return sa.create_engine(address, pool_pre_ping=True, connect_args={"options": options})


def _prepare_sqlite(engine: Engine, keep_copy: bool) -> None:
    path = Path(str(engine.url.database))
    if path.is_dir():
        raise StoreError(f"The database {path} is a folder; name a file in it.")
    # Another missing folder is an error: the address may be wrong, or a disk may not be mounted.
    if path.parent == default_data_folder():
        path.parent.mkdir(parents=True, exist_ok=True)
    _refuse_network(path.resolve())
    application_id, version, n_tables = _inspect_file(engine)
    if application_id not in (0, APPLICATION_ID) or (application_id == 0 and n_tables):
        raise StoreError(
            f"{path} is another program's database; it was left as it is. "
            "Set CHROMABENCH_DATABASE_URL to a file of our own."
        )
    if n_tables:
        _require_version(str(path), version, backups.find_backups(path, revisions.newest_version()))
        if version < revisions.newest_version():
            from engine.store.migrations import upgrade  # loads Alembic

            upgrade.upgrade_sqlite(engine, keep_copy)
    else:
        _initialise(engine)
    _enable_write_ahead_log(engine)


def _configure_sqlite(connection: DBAPIConnection, _record: object) -> None:
    connection.isolation_level = None  # `_begin_sqlite` starts transactions, not the driver
    cursor = connection.cursor()
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _refuse_network(path: Path) -> None:
    """Refuses network file systems, which have no shared memory for the write-ahead log."""
    types = {
        partition.mountpoint: partition.fstype for partition in psutil.disk_partitions(all=True)
    }
    folders = (str(folder) for folder in (path, *path.parents))
    file_system = next((types[folder] for folder in folders if folder in types), "")
    if file_system.startswith(NETWORK_FILE_SYSTEMS):
        raise StoreError(
            f"{path} lies on a network file system ({file_system}), where SQLite loses data. Set "
            "CHROMABENCH_DATABASE_URL to a local file, or to a PostgreSQL database."
        )


def _inspect_file(engine: Engine) -> tuple[int, int, int]:
    """Returns (application id, schema version, number of tables) without taking the write lock."""
    with engine.begin() as connection:
        application_id = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
        version = revisions.read_version(connection)
        n_tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar_one()
        return application_id, version, n_tables


def _initialise(engine: Engine) -> None:
    """Marks a new file as Chromabench's and creates the tables, unless another process did."""
    with engine.execution_options(immediate=True).begin() as connection:
        if connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar_one():
            return
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        _create_tables(connection)


def _create_tables(connection: Connection) -> None:
    metadata.create_all(connection)
    revisions.write_version(connection, revisions.newest_version())
    revisions.write_revision(connection, revisions.newest_version())
    connection.execute(sa.insert(installation).values(id=secrets.token_hex(8)))


def _require_version(database: str, version: int, copies: list[Path]) -> None:
    """Refuses a newer database, and one from before the first release.

    Args:
        database: the name of the database in the error message.
        version: its schema version.
        copies: copies of the database that this version can open.
    """
    newest = revisions.newest_version()
    if version > newest:
        way_out = f", or move it away and use its older copy {copies[0]}" if copies else ""
        raise StoreError(
            f"{database} was written by a newer Chromabench (schema {version}, this one knows "
            f"{newest}); it was left as it is. Update Chromabench{way_out}."
        )
    if version < revisions.oldest_version():
        raise StoreError(
            f"{database} was written before the first release (schema {version}, now "
            f"{newest}); it was left as it is. Move it away or set "
            "CHROMABENCH_DATABASE_URL to another database."
        )


def _enable_write_ahead_log(engine: Engine) -> None:
    """Enables the write-ahead log, a setting that SQLite stores in the file."""
    raw = engine.raw_connection()
    raw.cursor().execute("PRAGMA journal_mode=WAL")
    raw.close()


def _prepare_postgresql(engine: Engine) -> None:
    database = str(engine.url.database)
    with engine.begin() as connection:
        # The lock lets one process at a time check for the tables and create them.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(APPLICATION_ID)))
        tables = set(sa.inspect(connection).get_table_names())
        if revisions.POSTGRESQL_MARKER.name not in tables:
            if foreign_tables := sorted(tables & set(metadata.tables)):
                raise StoreError(
                    f"{database} has another program's table {foreign_tables[0]!r}; it was left as "
                    "it is. Set CHROMABENCH_DATABASE_URL to a database of our own."
                )
            _create_tables(connection)
        version = revisions.read_version(connection)
        _require_version(database, version, [])
        if version < revisions.newest_version():
            from engine.store.migrations import upgrade  # loads Alembic

            upgrade.upgrade_postgresql(connection, version)


def _with_default_driver(url: str) -> sa.URL:
    """Returns the address with psycopg 3 as its driver, unless it names a driver."""
    parsed = make_url(url)
    has_no_driver = parsed.drivername == "postgresql"
    return parsed.set(drivername="postgresql+psycopg") if has_no_driver else parsed
