"""Writes a new revision of the schema, with the difference between the tables and the revisions.

Run it as `make migration MESSAGE="add export requests"` after a change of `engine/store/schema.py`.
The revisions run in a temporary SQLite database, which Alembic compares with the tables.
"""

import sys

import sqlalchemy as sa
from alembic import command

from engine.store.migrations import revisions, upgrade


def write_revision(message: str) -> None:
    """Writes the next revision file, whose first line is a message in the imperative."""
    with sa.create_engine("sqlite://").begin() as connection:
        upgrade.run_revisions(connection, version=None)
        command.revision(
            upgrade.make_config(connection),
            message,
            autogenerate=True,
            rev_id=revisions.revision_id(revisions.newest_version() + 1),
            version_path=revisions.FOLDERS[0],
        )


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        sys.exit('Name the change: make migration MESSAGE="add export requests"')
    write_revision(sys.argv[1].strip())
