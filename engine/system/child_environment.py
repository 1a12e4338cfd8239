"""Environment variables of the processes that this project starts."""

import os

from engine.settings import PROJECT_ROOT, Settings

# Idle OpenMP threads spin briefly, then sleep: fast alone, and no collapse on a busy machine.
SPIN_COUNT = "5000"


def worker_environment(settings: Settings) -> dict[str, str]:
    """The environment of processes we start: the same places, the same code."""
    slots = {"CHROMABENCH_SLOTS": str(settings.slots)} if settings.slots else {}
    paths = [str(PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # What says that a process is one of several is for torchrun to set.
    kept = {key: it for key, it in os.environ.items() if key not in ("RANK", "WORLD_SIZE")}
    return {
        **kept,
        "CHROMABENCH_DATABASE_URL": settings.database_url,
        "CHROMABENCH_ARTIFACTS": str(settings.artifacts),
        "GOMP_SPINCOUNT": SPIN_COUNT,
        **slots,
        "CHROMABENCH_RANKS": str(settings.ranks),
        "CHROMABENCH_LAUNCHER": settings.launcher,
        "CHROMABENCH_RAY_ADDRESS": settings.ray_address,
        "CHROMABENCH_RAY_GPUS": str(settings.ray_gpus),
        "PYTHONPATH": os.pathsep.join(paths),
    }
