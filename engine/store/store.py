"""The store: the only place that speaks SQL. Records go in, records come out.

Who works on a job holds its token. Every write of a worker is one transaction that begins by
renewing the job's heartbeat under that token; when no row answers, somebody else owns the job,
`LostJobError` is raised and nothing is written. Reading needs no token and never waits.
"""

from datetime import UTC, datetime

from engine.store.queue import Queue
from engine.store.recording import Recording
from engine.store.studies import Studies


class Store(Studies, Queue, Recording):
    """All that is recorded, behind one database URL.

    `Reading` answers, `Studies` takes studies in, `Queue` hands jobs out, `Recording` is the
    worker's.
    """


def utc_now() -> datetime:
    """The present moment, for callers at the edge."""
    return datetime.now(UTC)
