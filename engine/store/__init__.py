"""The database of studies, runs, jobs and results. The only package that uses SQL.

Modules:
    store: the class `Store`.
    reading: read-only queries.
    curves: queries about curves.
    studies: adds, extends, archives and deletes studies.
    queue: queues, claims and ends jobs.
    recording: writes of a worker, under the token of its job.
    session: an open database and its transactions.
    connection: opens SQLite and PostgreSQL databases.
    migrations: migrates older schemas.
    schema: the tables.
    rows: converts rows to records.
    gate: refuses impossible values.

Not here: records (`records`) and files (`system.files`).
"""

from engine.store.connection import (
    check_address,
    database_path,
    has_password,
    identify,
    is_absent,
    is_on_this_machine,
)
from engine.store.queue import Place
from engine.store.session import GoneDatabaseError, LostJobError
from engine.store.store import Store, utc_now

__all__ = [
    "GoneDatabaseError",
    "LostJobError",
    "Place",
    "Store",
    "check_address",
    "database_path",
    "has_password",
    "identify",
    "is_absent",
    "is_on_this_machine",
    "utc_now",
]
