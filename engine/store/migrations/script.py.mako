"""${message[0].upper() + message[1:]}."""

import sqlalchemy as sa
from alembic import op

from engine.store.migrations.upgrade import refuse_downgrade
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Upgrades a database from schema version ${int(down_revision)} to ${int(up_revision)}."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Refuses a downgrade."""
    refuse_downgrade()
