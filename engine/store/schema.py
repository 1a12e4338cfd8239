"""Defines the tables. Times are UTC, paths relative to the artifacts folder, settings JSON."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)

from engine.records.runs import RunState

APPLICATION_ID = 0x43484252  # "CHBR", in the header of SQLite files


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time, stored as UTC without a zone and read as an aware datetime."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Converts an aware datetime to UTC without a zone."""
        return value.astimezone(UTC).replace(tzinfo=None) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Converts a stored time to an aware datetime."""
        return value.replace(tzinfo=UTC) if value is not None else None


# `sqlite_autoincrement`: an id is never used twice, not even after its row was deleted, because
# folders, links and the cursors of open pages refer to ids.
metadata = MetaData()


def _run_id() -> Column[Any]:
    return Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False)


# One row: the id of this database. The artifacts folder stores the same id, so that two databases
# cannot share one folder.
installation = Table("installation", metadata, Column("id", String, primary_key=True))

studies = Table(
    "studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String, nullable=False, unique=True),  # request key, prevents duplicates
    Column("name", String, nullable=False),
    Column("data", String, nullable=False),
    Column("budget", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("archived_at", UtcDateTime),
    Column("note", String, nullable=False, default=""),
    Column("tags", JSON, nullable=False, default=list),
    Column("announced_at", UtcDateTime),  # when the webhook was sent
    sqlite_autoincrement=True,
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("configuration", String, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String),
    Column("phase", String),
    Column("config", JSON, nullable=False),
    Column("resolved", JSON),
    Column("epoch", Integer, nullable=False, default=0),
    Column("epochs", Integer, nullable=False),
    Column("step", Integer, nullable=False, default=0),
    Column("steps", Integer, nullable=False, default=0),
    Column("best_epoch", Integer),
    Column("attempt", Integer, nullable=False, default=0),
    Column("environment", JSON),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("progress_at", UtcDateTime),
    Column("archived_at", UtcDateTime),
    Column("will_retry", Boolean, nullable=False, default=False),  # retried automatically
    Column("note", String, nullable=False, default=""),
    Column("tags", JSON, nullable=False, default=list),
    UniqueConstraint("study_id", "configuration", "seed"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String, nullable=False),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE")),  # only for training jobs
    Column("subject", String),  # only for other kinds of jobs
    Column("state", String, nullable=False),
    Column("reason", String),
    Column("progress", Float, nullable=False, default=0.0),
    Column("priority", Integer, nullable=False, default=0),
    Column("attempt", Integer, nullable=False, default=0),
    Column("token", String),
    Column("process", String),
    Column("host", String),  # the machine that claimed the job
    Column("slot", String),  # the slot of this machine
    # Automatic retries since the last action of a user.
    Column("retries", Integer, nullable=False, default=0),
    Column("created_at", UtcDateTime, nullable=False),
    Column("heartbeat_at", UtcDateTime),
    Column("stop_requested_at", UtcDateTime),
    Column("kill_requested_at", UtcDateTime),
    Index("jobs_queue", "state", "priority", "id"),
    sqlite_autoincrement=True,
)

_IS_ACTIVE = jobs.c.state.in_((RunState.RUNNING, RunState.STOPPING))
# The database assigns a slot to one active job at a time, even if two supervisors claim it.
Index(
    "jobs_slot_in_use",
    *(jobs.c.kind, jobs.c.host, jobs.c.slot),
    unique=True,
    sqlite_where=_IS_ACTIVE,
    postgresql_where=_IS_ACTIVE,
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), index=True),
    Column("number", Integer, nullable=False),
    Column("host", String),
    Column("from_step", Integer, nullable=False, default=0),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("state", String),
    Column("reason", String),
    Column("note", String),  # lines for the user
    UniqueConstraint("job_id", "number"),
)

# The exports of studies to MLflow servers; `records.exports.Export` describes the columns.
exports = Table(
    "exports",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id", ondelete="CASCADE"), nullable=False),
    Column("uri", String, nullable=False),
    Column("request", Integer, nullable=False, default=1),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("uploaded_request", Integer, nullable=False, default=0),
    Column("completed_request", Integer, nullable=False, default=0),
    Column("is_cancelled", Boolean, nullable=False, default=False),
    Column("phase", String),
    Column("error", String),
    Column("failures", Integer, nullable=False, default=0),
    Column("next_at", UtcDateTime),
    UniqueConstraint("study_id", "uri"),
    sqlite_autoincrement=True,
)

# The uploaded parts of each run of an export; `records.exports.RunUpload` describes the columns.
run_uploads = Table(
    "run_uploads",
    metadata,
    Column("export_id", ForeignKey("exports.id", ondelete="CASCADE"), primary_key=True),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("mlflow_id", String, nullable=False, default=""),
    Column("began", String, nullable=False, default=""),
    Column("cursor", Integer, nullable=False, default=0),
    Column("steps", JSON, nullable=False, default=dict),
    Column("sample_id", Integer, nullable=False, default=0),
    Column("values", JSON, nullable=False, default=dict),
    Column("has_params", Boolean, nullable=False, default=False),
    Column("state", String, nullable=False, default=""),
    Column("model", String, nullable=False, default=""),
    Column("error", String),
)

metrics = Table(
    "metrics",
    metadata,
    Column("id", Integer, primary_key=True),
    _run_id(),
    Column("step", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("name", String, nullable=False),
    Column("value", Float),
    Column("at", Float),  # Unix time of the measurement; NULL if unknown
    UniqueConstraint("run_id", "step", "name"),
    Index("metrics_by_curve", "run_id", "name", "id"),
    sqlite_autoincrement=True,
)

metric_summaries = Table(
    "metric_summaries",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("last", Float),
    Column("last_epoch", Integer, nullable=False),
    Column("lowest", Float),
    Column("lowest_epoch", Integer, nullable=False),
    Column("highest", Float),
    Column("highest_epoch", Integer, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Integer, primary_key=True),
    _run_id(),
    Column("step", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("text", String, nullable=False),
    UniqueConstraint("run_id", "kind", "step"),
)

# The measured training speed and memory of a host for one workload.
probes = Table(
    "probes",
    metadata,
    Column("host", String, primary_key=True),
    Column("work", String, primary_key=True),
    Column("images_per_second", Float, nullable=False),
    Column("memory_mb", Float, nullable=False),
    Column("measured_at", UtcDateTime, nullable=False),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", Integer, primary_key=True),
    _run_id(),
    Column("split", String, nullable=False),
    Column("name", String, nullable=False),
    Column("value", Float),
    Column("low", Float),
    Column("high", Float),
    Column("n_pictures", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("missing", String),
    Column("note", String),
    Column("reference", Float),
    Column("protocol", JSON, nullable=False),
    Column("halves", LargeBinary),
    UniqueConstraint("run_id", "split", "epoch", "name"),
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", Integer, primary_key=True),
    _run_id(),
    Column("split", String, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("path", String, nullable=False),
    Column("names", JSON, nullable=False),
    UniqueConstraint("run_id", "split", "epoch"),
)

image_scores = Table(
    "image_scores",
    metadata,
    Column("id", Integer, primary_key=True),
    _run_id(),
    Column("split", String, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("picture", String, nullable=False),
    Column("name", String, nullable=False),
    Column("value", Float),
    UniqueConstraint("run_id", "split", "epoch", "name", "picture"),
)

samples = Table(
    "samples",
    metadata,
    Column("id", Integer, primary_key=True),
    _run_id(),
    Column("epoch", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("grid", String, nullable=False),
    Column("source", String, nullable=False),
    Column("target", String, nullable=False),
    Column("fake", String, nullable=False),
    Column("thumbnail", String, nullable=False),
    UniqueConstraint("run_id", "epoch"),
    sqlite_autoincrement=True,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("id", Integer, primary_key=True),
    _run_id(),
    Column("epoch", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("is_whole", Boolean, nullable=False),  # saved at the end of an epoch
    Column("path", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("n_bytes", Integer, nullable=False),
    Column("is_best", Boolean, nullable=False),
    Column("is_slim", Boolean, nullable=False, default=False),  # without optimiser states
    UniqueConstraint("run_id", "step"),
)
