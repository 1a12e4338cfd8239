"""Which launcher a supervisor uses for which kind of job."""

from engine.jobs import spawn
from engine.jobs.launchers.interface import Launcher
from engine.jobs.launchers.local import LocalLauncher
from engine.records.runs import JobKind
from engine.settings import Settings


def choose(settings: Settings) -> dict[JobKind, Launcher]:
    """A launcher for each kind: trainings go to the cluster where there is one.

    Looks at data are made here, where its folders are; probes measure this machine.

    Raises:
        BadInputError: the cluster could not be used as it should be.
    """
    local = LocalLauncher(settings)
    if settings.launcher == "local":
        return {"train": local, "check": local, "probe": local}
    spawn.check_cluster(settings)
    from engine.jobs.launchers.ray_jobs import RayLauncher

    return {"train": RayLauncher(settings), "check": local, "probe": local}
