"""Finds the GPUs of this machine without loading torch."""

import os
import shutil
import subprocess
from collections.abc import Sequence

from engine.errors import EngineError
from engine.settings import Settings


def find_gpus() -> list[str]:
    """Finds the GPUs that may be used: those in CUDA_VISIBLE_DEVICES if it is set, else all GPUs.

    Returns:
        The indices or ids of the GPUs, in the format of CUDA_VISIBLE_DEVICES.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu]
    nvidia_smi = shutil.which("nvidia-smi")
    if nvidia_smi is None:
        return []
    listing = subprocess.run([nvidia_smi, "-L"], capture_output=True, text=True, check=False)
    count = sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
    return [str(index) for index in range(count)]


def require_enough_gpus(settings: Settings, gpus: Sequence[str]) -> None:
    """Checks that each process of a run can have its own GPU.

    Args:
        settings: `ranks` is the number of processes that train one run together.
        gpus: the GPUs that may be used; empty if training uses the CPU.

    Raises:
        EngineError: there are fewer GPUs than processes of a run.
    """
    if gpus and settings.ranks > len(gpus):
        raise EngineError(
            f"CHROMABENCH_RANKS must be at most {len(gpus)}, the number of GPUs, not "
            f"{settings.ranks}; runs wait."
        )
