"""What was measured of this machine: kept, so that all runs of a study decide alike."""

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from filelock import FileLock
from torch import nn

from engine.settings import Settings
from engine.system.files import replacing

BF16_GAIN = 1.05  # bf16 must be so many times faster to be chosen
BF16_ERROR = 0.02  # and its answers no further off than this, relative
THREADS_GAIN = 1.1  # fewer threads must be so many times faster than all
REPEATS = 12
LIMIT_SIDE = {"cuda": 8192, "cpu": 2048, "mps": 2048}  # of the matrices that the limit is found by

Measured = dict[str, float]


def bf16_pays(device: torch.device, settings: Settings) -> bool:
    """On a GPU as it says of itself; on a CPU as measured once per machine and torch version."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    measured = _recall(settings, "", measure_bf16)
    return measured["speed_ratio"] >= BF16_GAIN and measured["error"] <= BF16_ERROR


def best_threads(at_most: int, settings: Settings) -> int:
    """How many CPU threads train fastest: all, unless fewer are clearly faster."""
    if at_most == 1:
        return 1
    measured = _recall(settings, f" {at_most} cores", lambda: measure_threads(at_most))
    fastest = min(measured, key=lambda count: measured[count])
    if measured[str(at_most)] / measured[fastest] < THREADS_GAIN:
        return at_most
    return int(fastest)


def flops_limit(device: torch.device, precision: str, settings: Settings) -> float:
    """Floating-point operations a second in a large matrix product, measured once."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    about = f" {name} {precision}"
    return _recall(settings, about, lambda: {"flops": measure_limit(device, precision)})["flops"]


def count_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """The processor's name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def synchronise(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def measure_bf16() -> Measured:
    """Speed of bf16 against float32 on this CPU, and how far its answers are off, relative."""
    network, pictures = _subject()
    with torch.no_grad():
        exact = network(pictures)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(pictures).float()
    error = float((rough - exact).norm() / exact.norm())
    ratio = _time_training(network, pictures, False) / _time_training(network, pictures, True)
    return {"speed_ratio": ratio, "error": error}


def measure_threads(at_most: int) -> Measured:
    """Seconds of a step by number of threads: powers of two, and all."""
    network, pictures = _subject()
    before = torch.get_num_threads()
    seconds = {}
    for count in sorted({1 << power for power in range(at_most.bit_length())} | {at_most}):
        if count <= at_most:
            torch.set_num_threads(count)
            seconds[str(count)] = _time_training(network, pictures, False)
    torch.set_num_threads(before)
    return seconds


def measure_limit(device: torch.device, precision: str) -> float:
    """Floating-point operations a second in a large matrix product: the best of a few."""
    side = LIMIT_SIDE[device.type]
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    matrix = torch.randn(side, side, device=device, dtype=kind)
    seconds = []
    for _ in range(8):
        synchronise(device)
        began = time.perf_counter()
        matrix @ matrix
        synchronise(device)
        seconds.append(time.perf_counter() - began)
    return 2.0 * side**3 / min(seconds)


def _subject() -> tuple[nn.Module, torch.Tensor]:
    """Two layers as a generator has them, and what they are tried on."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Conv2d(64, 128, 4, 2, 1))
    return network, torch.randn(16, 32, 32, 32)


def _time_training(network: nn.Module, pictures: torch.Tensor, is_bf16: bool) -> float:
    """Seconds, the median of a few passes forward and backward."""
    durations = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            answer = network(pictures).float().square().mean()
        answer.backward()
        durations.append(time.perf_counter() - began)
    return sorted(durations)[len(durations) // 2]


def _recall(settings: Settings, about: str, measure: Callable[[], Measured]) -> Measured:
    """What was measured before on this machine with this torch; else it is measured and kept."""
    path = settings.artifacts / "machine.json"
    key = f"{platform.node()} {cpu_name()} torch {torch.__version__}{about}"
    # One process measures, so that runs which start together decide alike.
    with FileLock(settings.artifacts / "machine.lock"):
        known = _read(path)
        if key not in known:
            known[key] = measure()
            with replacing(path) as file:
                file.write(json.dumps(known, indent=2).encode())
    return known[key]


def _read(path: Path) -> dict[str, Measured]:
    """What was measured before; a file that cannot be read is measured anew."""
    if not path.is_file():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}
