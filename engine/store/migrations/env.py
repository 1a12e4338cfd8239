"""Runs revisions, or compares the tables, on the connection and in the transaction of the caller.

Alembic executes this file for each of its commands (`engine.store.migrations.upgrade`).
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo

from engine.store.migrations import revisions
from engine.store.schema import UtcDateTime, metadata


def _write_version(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[str], run_args: Mapping[str, Any]
) -> None:
    """Raises the marker of the schema version after each revision."""
    assert ctx.connection is not None, "revisions always run on a connection"
    revisions.write_version(ctx.connection, int(max(heads)))


def _render_item(kind: str, item: Any, _: object) -> str | Literal[False]:  # noqa: ANN401
    """Renders types of the code, which may change, as types of SQLAlchemy."""
    return "sa.DateTime()" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=revisions.REVISION_TABLE.name,
    # SQLite can change few properties of a table. In batch mode Alembic makes a new table instead.
    render_as_batch=True,
    transactional_ddl=True,
    render_item=_render_item,
    on_version_apply=_write_version,
    include_name=lambda name, kind, _parents: (
        kind != "table" or name != revisions.POSTGRESQL_MARKER.name
    ),
)
context.run_migrations()
