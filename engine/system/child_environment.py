"""Builds the environment variables of the processes that this project starts."""

import os

from engine.environment import is_own
from engine.settings import IS_CHECKOUT, PROJECT_ROOT, Settings

# Idle OpenMP threads spin briefly before they sleep. A short spin makes training fast on an idle
# machine and does not slow down a busy machine.
SPIN_COUNT = "5000"


def build_child_environment(settings: Settings) -> dict[str, str]:
    """Builds the environment of a child process with the same settings and the same code.

    A checkout may be used without being installed, so its folder is added to the module path. An
    installed wheel is on the path already, and `site-packages` must not precede the standard
    library. A package of the same name in the current folder is never imported.
    """
    inherited_path = os.environ.get("PYTHONPATH")
    paths = [*([str(PROJECT_ROOT)] if IS_CHECKOUT else []), *filter(None, [inherited_path])]
    module_path = {"PYTHONPATH": os.pathsep.join(paths)} if paths else {}
    # The settings replace the variables and the `.env` file from which they were built. Only
    # torchrun may set the rank of a process, so it is not inherited.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not is_own(name) and name not in ("RANK", "WORLD_SIZE")
    }
    return {
        **inherited,
        **settings.as_environment(),
        "GOMP_SPINCOUNT": SPIN_COUNT,
        **module_path,
        "PYTHONSAFEPATH": "1",
    }
