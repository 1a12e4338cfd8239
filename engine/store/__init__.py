"""The database of studies, runs, jobs and results. No other package uses SQL.

Modules:
    store: the class `Store`, which combines all repositories, and its contract.
    studies: adds, reads, extends, annotates and archives studies.
    runs: runs, their attempts and samples.
    checkpoints: records of checkpoint files.
    jobs: the job queue.
    evaluations: metric values, scores of single images, predictions.
    curves: metric points, their summaries, alerts.
    exports: exports of studies to MLflow, and what was uploaded.
    machines: speed probes, costs of runs, and the installation id.
    run_files: lists the files of runs that are recorded in the database.
    database: transactions and job tokens.
    connection: opens SQLite and PostgreSQL databases.
    migrations: upgrades databases of older schema versions.
    failures: converts errors of the database drivers.
    schema: the tables.
    rows: converts rows to records.

Not here: records (`records`) and the files that rows point to (`system.files`).
"""

from engine.store.connection import (
    check_address,
    database_path,
    has_password,
    identify,
    is_absent,
    is_current,
    is_on_this_machine,
)
from engine.store.database import DatabaseReplacedError, LostJobError
from engine.store.jobs import WorkerSlot
from engine.store.store import Store, utc_now

__all__ = [
    "DatabaseReplacedError",
    "LostJobError",
    "Store",
    "WorkerSlot",
    "check_address",
    "database_path",
    "has_password",
    "identify",
    "is_absent",
    "is_current",
    "is_on_this_machine",
    "utc_now",
]
