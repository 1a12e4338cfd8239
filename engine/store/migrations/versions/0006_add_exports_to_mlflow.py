"""Add exports to MLflow."""

import sqlalchemy as sa
from alembic import op

from engine.store.migrations.upgrade import refuse_downgrade

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Upgrades a database from schema version 5 to 6."""
    op.create_table(
        "exports",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "study_id",
            sa.Integer(),
            sa.ForeignKey("studies.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("uri", sa.String(), nullable=False),
        sa.Column("request", sa.Integer(), nullable=False),
        sa.Column("requested_at", sa.DateTime(), nullable=False),
        sa.Column("uploaded_request", sa.Integer(), nullable=False),
        sa.Column("completed_request", sa.Integer(), nullable=False),
        sa.Column("is_cancelled", sa.Boolean(), nullable=False),
        sa.Column("phase", sa.String()),
        sa.Column("error", sa.String()),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime()),
        sa.UniqueConstraint("study_id", "uri"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "run_uploads",
        sa.Column(
            "export_id",
            sa.Integer(),
            sa.ForeignKey("exports.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column(
            "run_id", sa.Integer(), sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("mlflow_id", sa.String(), nullable=False),
        sa.Column("began", sa.String(), nullable=False),
        sa.Column("cursor", sa.Integer(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("sample_id", sa.Integer(), nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.Column("has_params", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("error", sa.String()),
    )
    op.create_index("ix_run_uploads_run_id", "run_uploads", ["run_id"])


def downgrade() -> None:
    """Refuses a downgrade."""
    refuse_downgrade()
