"""Starts the supervisor of this host, and tests the lock of a running supervisor."""

import hashlib
import sys

from filelock import FileLock

from engine.errors import EngineError
from engine.jobs.launchers.select import require_usable_cluster
from engine.settings import Settings
from engine.system import gpus, processes
from engine.system.child_environment import build_child_environment
from engine.system.files import is_locked


def supervisor_lock(settings: Settings) -> FileLock:
    """Returns the lock that the supervisor of this host and database holds while it runs."""
    subject = f"{processes.host_id()} {settings.database_url}"
    digest = hashlib.sha256(subject.encode()).hexdigest()[:12]
    return FileLock(settings.artifacts / f"supervisor-{digest}.lock")


def is_supervisor_running(settings: Settings) -> bool:
    """Returns whether a supervisor of this host and database is running.

    Raises:
        EngineError: the lock file cannot be locked at all.
    """
    return is_locked(supervisor_lock(settings))


def require_startable(settings: Settings) -> None:
    """Checks that the supervisor's lock can be locked, before a job is queued.

    Raises:
        EngineError: the lock file cannot be locked at all.
    """
    is_locked(supervisor_lock(settings))


def ensure_supervisor(settings: Settings) -> None:
    """Starts a detached supervisor, unless one is running.

    Nothing is started if CHROMABENCH_SUPERVISOR is `elsewhere`. Of two supervisors that start at
    the same time, the one that does not get the lock exits.

    Raises:
        EngineError: no supervisor can run jobs with these settings, or the start failed.
    """
    if settings.is_supervised_elsewhere or is_supervisor_running(settings):
        return
    if settings.launcher == "ray":
        require_usable_cluster(settings)
    elif settings.ranks > 1:
        gpus.require_enough_gpus(settings, gpus.find_gpus())
    try:
        processes.spawn_detached(
            [sys.executable, "-m", "engine", "supervise"],
            settings.artifacts / "supervisor.log",
            build_child_environment(settings),
        )
    except OSError as error:
        raise EngineError(f"No supervisor could be started ({error}); runs wait.") from error
