"""Defines `Store`, the database of an installation, with one repository per kind of record.

This contract holds for SQLite and PostgreSQL; one test suite runs on both.

*Records.* Methods take and return the frozen records of `engine.records`; no SQLAlchemy object
leaves the package. Times are UTC. Paths are relative to the artifacts folder. A missing or
non-finite value is NULL, never a number; a missing evaluation value also has a reason.

*Atomicity.* A method stores all of its changes in one transaction, or none. On SQLite a writer
takes the write lock at the start of its transaction (BEGIN IMMEDIATE); readers are not blocked
(write-ahead log).

*Tokens.* `jobs.claim` gives a job a new random token. A method that takes a `Job` first renews the
heartbeat of this job in the same transaction, under the condition that the token is still valid
and the job is active. Otherwise `LostJobError` is raised and nothing is written: another attempt
owns the job or the job has ended, and the caller must exit.

*Locks.* All transactions lock jobs before runs and exports, so that they cannot deadlock. The
unique index on (kind, host, slot) of active jobs assigns a slot to one job at a time.

*Idempotence.* A study is added once per key, a metric point is stored once per (run, step, name), a
sample once per (run, epoch), a job once per subject while it is unfinished, an export once per
(study, server). Repeating such a call has no further effect; a repeated request of an export is
counted.

*Threads and processes.* A `Store` may be used by several threads. Several processes each open their
own `Store`. A `Store` must not be shared across a fork.

*Errors.* `BadInputError`: an id does not exist, or the request is not possible in the current
state. `DatabaseUnavailableError`: the database is busy or unreachable; the call may be retried.
`StoreError`, its base class: the database rejected the call, and will reject the same call again.
`DatabaseReplacedError`: the SQLite file was deleted or replaced; the process must open a new
`Store`. `LostJobError`: the token is not valid. `ValueError`: a value that its metric cannot have,
which is a bug of the caller.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from engine.errors import StoreError
from engine.store.checkpoints import Checkpoints
from engine.store.curves import Curves
from engine.store.database import LOCK_TIMEOUT_S, Database
from engine.store.evaluations import Evaluations
from engine.store.exports import Exports
from engine.store.jobs import Jobs
from engine.store.machines import Machines
from engine.store.runs import Runs
from engine.store.studies import Studies


class Store:
    """The repositories of one database.

    Args:
        url: the address of a SQLite or PostgreSQL database; the tables of a new one are
            created, those of an older one are upgraded.
        lock_timeout_s: how long a writer waits for another writer, in seconds.
        on_read_error: called when a read fails, before the read is tried again; raises to give up.
            None: a failed read raises at once.
        keep_copy: keep a copy of a SQLite database of an older schema before its upgrade.

    Attributes:
        studies: studies.
        runs: runs, their attempts and samples.
        checkpoints: records of checkpoint files.
        jobs: the job queue.
        evaluations: metric values, scores of single images, predictions.
        curves: metric points, their summaries, alerts.
        exports: exports of studies to MLflow, and what was uploaded.
        machines: speed probes, costs of runs, and the installation id.
    """

    def __init__(
        self,
        url: str,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        on_read_error: Callable[[StoreError], None] | None = None,
        keep_copy: bool = True,
    ) -> None:
        self._database = Database(url, lock_timeout_s, on_read_error, keep_copy)
        self.runs = Runs(self._database)
        self.studies = Studies(self._database, self.runs)
        self.checkpoints = Checkpoints(self._database)
        self.jobs = Jobs(self._database)
        self.evaluations = Evaluations(self._database)
        self.curves = Curves(self._database)
        self.exports = Exports(self._database)
        self.machines = Machines(self._database)

    def close(self) -> None:
        """Closes all connections."""
        self._database.close()

    def require_same_file(self) -> None:
        """Raises `DatabaseReplacedError` if the file was deleted or replaced after opening."""
        self._database.require_same_file()

    def snapshot(self, path: Path) -> None:
        """Writes a consistent copy of a SQLite database to a new file; writers are not blocked.

        Raises:
            StoreError: the copy could not be written.
        """
        self._database.snapshot(path)


def utc_now() -> datetime:
    """Returns the current UTC time."""
    return datetime.now(UTC)
