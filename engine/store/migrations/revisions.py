"""Reads the numbers of the revisions, and reads and writes the version that a database stores.

A database stores its schema version twice. The revision in the table `chromabench_revision` is for
Alembic. The marker, which is `user_version` in the header of a SQLite file and the table
`chromabench_schema` on PostgreSQL, is read whenever a database is opened, also by release 0.9.0,
which had no Alembic. Both are written in the same transaction.
"""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

# The folders of the revision files, whose names begin with their number of four digits.
FOLDERS = [Path(__file__).parent / "versions"]

POSTGRESQL_MARKER = sa.Table("chromabench_schema", sa.MetaData(), sa.Column("version", sa.Integer))
# Alembic's default name could be the table of another program in the same PostgreSQL database.
REVISION_TABLE = sa.Table(
    "chromabench_revision",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="chromabench_revision_pkc"),
)


def versions() -> list[int]:
    """Returns the schema versions of all revisions in ascending order."""
    paths = (path for folder in FOLDERS for path in folder.glob("[0-9][0-9][0-9][0-9]_*.py"))
    return sorted(int(path.name[:4]) for path in paths)


def newest_version() -> int:
    """Returns the schema version of new databases."""
    return versions()[-1]


def oldest_version() -> int:
    """Returns the oldest schema version that can be upgraded."""
    return versions()[0]


def revision_id(version: int) -> str:
    """Returns the identifier that Alembic uses for a schema version."""
    return f"{version:04d}"


def read_version(connection: Connection) -> int:
    """Reads the marker of the schema version."""
    if connection.dialect.name == "sqlite":
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    return int(connection.execute(sa.select(POSTGRESQL_MARKER.c.version)).scalar_one())


def write_version(connection: Connection, version: int) -> None:
    """Writes the marker of the schema version."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version={version}")
        return
    POSTGRESQL_MARKER.create(connection, checkfirst=True)
    connection.execute(sa.delete(POSTGRESQL_MARKER))
    connection.execute(sa.insert(POSTGRESQL_MARKER).values(version=version))


def write_revision(connection: Connection, version: int) -> None:
    """Writes the revision of a schema version for Alembic; creates its table if necessary."""
    REVISION_TABLE.create(connection, checkfirst=True)
    connection.execute(sa.delete(REVISION_TABLE))
    connection.execute(sa.insert(REVISION_TABLE).values(version_num=revision_id(version)))
