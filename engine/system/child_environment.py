"""Builds the environment variables of the processes that this project starts."""

import os

from engine.settings import PROJECT_ROOT, Settings

# Idle OpenMP threads spin briefly before they sleep. A short spin makes training fast on an idle
# machine and does not slow down a busy machine.
SPIN_COUNT = "5000"


def build_child_environment(settings: Settings) -> dict[str, str]:
    """Builds the environment of a child process with the same settings and the same code."""
    slots = {"CHROMABENCH_SLOTS": str(settings.slots)} if settings.slots else {}
    paths = [str(PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Only torchrun may set the rank of a process, so it is not inherited.
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")
    }
    return {
        **inherited,
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
