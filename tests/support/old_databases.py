"""Databases of release 0.9.0, revisions for tests, and descriptions of the tables of a database."""

import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa

from engine.store.migrations import revisions, upgrade

SQL = Path(__file__).parents[1] / "engine" / "store" / "schema_5"
# In both files an id was given to a row that was deleted later, and must not be used again.
SQLITE_SEQUENCES = "UPDATE sqlite_sequence SET seq = 3 WHERE name = 'runs';"
POSTGRESQL_SEQUENCES = """
SELECT setval('studies_id_seq', 1), setval('runs_id_seq', 3), setval('jobs_id_seq', 4);
"""

REVISION = '''
"""A revision of a test."""

import sqlalchemy as sa
from alembic import op

from engine.store.migrations.upgrade import refuse_downgrade

revision = "{revision:04d}"
down_revision = "{down_revision:04d}"


def upgrade():
{body}


def downgrade():
    refuse_downgrade()
'''


def make_old_database(url):
    """Makes the database of release 0.9.0, which has schema version 5, with rows in all tables."""
    rows = (SQL / "rows.sql").read_text()
    kind = sa.make_url(url).get_backend_name()
    tables = (SQL / f"{kind}.sql").read_text()
    if kind == "sqlite":
        with closing(sqlite3.connect(sa.make_url(url).database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(f"{tables}{rows}{SQLITE_SEQUENCES}")
            connection.commit()
        return
    with connected(url) as connection:
        connection.connection.driver_connection.execute(f"{tables}{rows}{POSTGRESQL_SEQUENCES}")


def add_revision(folder, body):
    """Writes the next revision into a folder; `revisions.FOLDERS` must name the folder.

    Returns:
        The schema version that the revision makes.
    """
    newest = revisions.newest_version()
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    text = REVISION.format(revision=newest + 1, down_revision=newest, body=lines)
    folder.mkdir(exist_ok=True)
    (folder / f"{newest + 1:04d}_test.py").write_text(text)
    return newest + 1


def clear(url):
    """Deletes a SQLite database, or all tables of a PostgreSQL database."""
    if sa.make_url(url).get_backend_name() == "sqlite":
        path = Path(sa.make_url(url).database)
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        return
    with connected(url) as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")


def run_revisions(url, version, to="head"):
    """Runs revisions in a database without opening it as a store."""
    with connected(url) as connection:
        upgrade.run_revisions(connection, version, to)


@contextmanager
def connected(url):
    """Opens a transaction in which SQLite, too, can undo changes of tables."""
    engine = sa.create_engine(url)
    try:
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
            sa.event.listen(engine, "begin", lambda each: each.exec_driver_sql("BEGIN"))
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def read_rows(url):
    """Table -> its rows in the order of their keys, each as a dictionary of column -> value."""
    with connected(url) as connection:
        inspector = sa.inspect(connection)
        rows = {}
        for name in inspector.get_table_names():
            keys = inspector.get_pk_constraint(name)["constrained_columns"]
            order = " ORDER BY " + ", ".join(keys) if keys else ""
            query = connection.exec_driver_sql(f"SELECT * FROM {name}{order}")
            rows[name] = [dict(row) for row in query.mappings()]
        return rows


def describe(url):
    """Describes tables, columns, types, indexes, constraints and sequences, read from the database.

    The order of the columns is not part of the description, because an upgrade appends columns.
    """
    with connected(url) as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        return (_describe_sqlite if is_sqlite else _describe_postgresql)(connection)


def _describe_sqlite(connection):
    def pragma(name, subject):
        return connection.exec_driver_sql(f"PRAGMA {name}('{subject}')").mappings().all()

    query = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%%'"
    return {
        table: {
            "columns": {
                column["name"]: (
                    column["type"],
                    column["notnull"],
                    column["dflt_value"],
                    column["pk"],
                )
                for column in pragma("table_xinfo", table)
            },
            "is_autoincrement": "AUTOINCREMENT" in text,
            "foreign_keys": sorted(
                (key["from"], key["table"], key["to"], key["on_delete"], key["on_update"])
                for key in pragma("foreign_key_list", table)
            ),
            "indexes": sorted(
                (
                    "" if index["origin"] != "c" else index["name"],
                    index["origin"],
                    index["unique"],
                    tuple(column["name"] for column in pragma("index_info", index["name"])),
                    _condition_of(connection, index["name"]) if index["partial"] else "",
                )
                for index in pragma("index_list", table)
            ),
        }
        for table, text in connection.exec_driver_sql(query)
    }


def _condition_of(connection, index):
    query = sa.text("SELECT sql FROM sqlite_schema WHERE name = :name")
    text = connection.execute(query, {"name": index}).scalar_one()
    return text.partition("WHERE")[2].strip()


def _describe_postgresql(connection):
    queries = {
        "columns": "SELECT table_name, column_name, data_type, is_nullable, column_default,"
        " character_maximum_length FROM information_schema.columns WHERE table_schema = 'public'",
        "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)"
        " FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
        "indexes": "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    }
    tables = {}
    for subject, query in queries.items():
        for table, *properties in connection.exec_driver_sql(query):
            tables.setdefault(table, {}).setdefault(subject, []).append(tuple(properties))
    return {
        table: {subject: sorted(rows, key=str) for subject, rows in subjects.items()}
        for table, subjects in tables.items()
    }
