"""Creates the tables of release 0.9.0, the first schema that can be upgraded."""

import sqlalchemy as sa
from alembic import op

from engine.store.migrations.upgrade import refuse_downgrade

revision = "0005"
down_revision = None


def upgrade() -> None:
    """Creates the tables of schema version 5 in an empty database."""
    op.create_table(
        "installation",
        sa.Column("id", sa.String(), primary_key=True),
    )
    op.create_table(
        "probes",
        sa.Column("host", sa.String(), primary_key=True),
        sa.Column("work", sa.String(), primary_key=True),
        sa.Column("images_per_second", sa.Float(), nullable=False),
        sa.Column("memory_mb", sa.Float(), nullable=False),
        sa.Column("measured_at", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "studies",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("data", sa.String(), nullable=False),
        sa.Column("budget", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("archived_at", sa.DateTime()),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("announced_at", sa.DateTime()),
        sa.UniqueConstraint("key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "study_id",
            sa.Integer(),
            sa.ForeignKey("studies.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("configuration", sa.String(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("phase", sa.String()),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("resolved", sa.JSON()),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("best_epoch", sa.Integer()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("environment", sa.JSON()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime()),
        sa.Column("ended_at", sa.DateTime()),
        sa.Column("progress_at", sa.DateTime()),
        sa.Column("archived_at", sa.DateTime()),
        sa.Column("will_retry", sa.Boolean(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.UniqueConstraint("study_id", "configuration", "seed"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_study_id", "runs", ["study_id"])
    op.create_table(
        "alerts",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "run_id", sa.Integer(), sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.UniqueConstraint("run_id", "kind", "step"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "run_id", sa.Integer(), sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("is_whole", sa.Boolean(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("n_bytes", sa.Integer(), nullable=False),
        sa.Column("is_best", sa.Boolean(), nullable=False),
        sa.Column("is_slim", sa.Boolean(), nullable=False),
        sa.UniqueConstraint("run_id", "step"),
    )
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "run_id", sa.Integer(), sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Float()),
        sa.Column("low", sa.Float()),
        sa.Column("high", sa.Float()),
        sa.Column("n_pictures", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("missing", sa.String()),
        sa.Column("note", sa.String()),
        sa.Column("reference", sa.Float()),
        sa.Column("protocol", sa.JSON(), nullable=False),
        sa.Column("halves", sa.LargeBinary()),
        sa.UniqueConstraint("run_id", "split", "epoch", "name"),
    )
    op.create_table(
        "image_scores",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "run_id", sa.Integer(), sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("picture", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Float()),
        sa.UniqueConstraint("run_id", "split", "epoch", "name", "picture"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("run_id", sa.Integer(), sa.ForeignKey("runs.id", ondelete="CASCADE")),
        sa.Column("subject", sa.String()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("token", sa.String()),
        sa.Column("process", sa.String()),
        sa.Column("host", sa.String()),
        sa.Column("slot", sa.String()),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime()),
        sa.Column("stop_requested_at", sa.DateTime()),
        sa.Column("kill_requested_at", sa.DateTime()),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_queue", "jobs", ["state", "priority", "id"])
    is_active = sa.text("state IN ('running', 'stopping')")
    op.create_index(
        "jobs_slot_in_use",
        "jobs",
        ["kind", "host", "slot"],
        unique=True,
        sqlite_where=is_active,
        postgresql_where=is_active,
    )
    op.create_table(
        "metric_summaries",
        sa.Column(
            "run_id", sa.Integer(), sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("last", sa.Float()),
        sa.Column("last_epoch", sa.Integer(), nullable=False),
        sa.Column("lowest", sa.Float()),
        sa.Column("lowest_epoch", sa.Integer(), nullable=False),
        sa.Column("highest", sa.Float()),
        sa.Column("highest_epoch", sa.Integer(), nullable=False),
    )
    op.create_table(
        "metrics",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "run_id", sa.Integer(), sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Float()),
        sa.Column("at", sa.Float()),
        sa.UniqueConstraint("run_id", "step", "name"),
        sqlite_autoincrement=True,
    )
    op.create_index("metrics_by_curve", "metrics", ["run_id", "name", "id"])
    op.create_table(
        "predictions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "run_id", sa.Integer(), sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("names", sa.JSON(), nullable=False),
        sa.UniqueConstraint("run_id", "split", "epoch"),
    )
    op.create_table(
        "samples",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "run_id", sa.Integer(), sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("grid", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("fake", sa.String(), nullable=False),
        sa.Column("thumbnail", sa.String(), nullable=False),
        sa.UniqueConstraint("run_id", "epoch"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "job_id", sa.Integer(), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("run_id", sa.Integer(), sa.ForeignKey("runs.id", ondelete="CASCADE")),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("host", sa.String()),
        sa.Column("from_step", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime()),
        sa.Column("state", sa.String()),
        sa.Column("reason", sa.String()),
        sa.Column("note", sa.String()),
        sa.UniqueConstraint("job_id", "number"),
    )
    op.create_index("ix_attempts_run_id", "attempts", ["run_id"])


def downgrade() -> None:
    """Refuses a downgrade."""
    refuse_downgrade()
