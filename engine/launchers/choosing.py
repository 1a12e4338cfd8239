"""Which launcher a supervisor uses for which kind of job."""

from engine import starting
from engine.launchers.local import LocalLauncher
from engine.launchers.protocol import Launcher
from engine.records import JobKind
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
    starting.check_cluster(settings)
    from engine.launchers.ray_jobs import RayLauncher

    return {"train": RayLauncher(settings), "check": local, "probe": local}
