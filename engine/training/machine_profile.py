"""Measures properties of this machine that decide how runs are trained.

The results are stored in `machine.json` of the artifacts folder, so that all runs on a machine use
the same values.
"""

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor, nn

from engine.settings import Settings
from engine.system.files import replacing

# On a CPU, bf16 must be faster than float32 by this factor and have at most this relative error.
MIN_BF16_SPEEDUP = 1.05
MAX_BF16_ERROR = 0.02
# Fewer threads than cores are used only if training is faster by this factor.
MIN_THREADS_SPEEDUP = 1.1
N_TIMINGS, N_PEAK_TIMINGS = 12, 8
MATRIX_SIDE = {"cuda": 8192, "cpu": 2048, "mps": 2048}

Measurements = dict[str, float]


def should_use_bf16(device: torch.device, settings: Settings) -> bool:
    """Returns whether to train in bf16.

    A CUDA device must support bf16. On a CPU, speed and error are measured once. Other devices
    train in float32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    measurements = _measure_once(settings, "", measure_bf16)
    is_faster = measurements["speed_ratio"] >= MIN_BF16_SPEEDUP
    return is_faster and measurements["error"] <= MAX_BF16_ERROR


def fastest_thread_count(n_cores: int, settings: Settings) -> int:
    """Returns the number of CPU threads: one per core, unless fewer are clearly faster."""
    if n_cores == 1:
        return 1
    seconds = _measure_once(settings, f" {n_cores} cores", lambda: measure_threads(n_cores))
    fastest = min(seconds, key=lambda count: seconds[count])
    if seconds[str(n_cores)] / seconds[fastest] < MIN_THREADS_SPEEDUP:
        return n_cores
    return int(fastest)


def peak_flops(device: torch.device, precision: str, settings: Settings) -> float:
    """Returns the floating-point operations per second of a matrix product, measured once.

    Args:
        device: the device.
        precision: `bf16` or `fp32`.
        settings: the location of the artifacts folder.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    measurements = _measure_once(
        settings,
        f" {name} {precision}",
        lambda: {"flops": measure_peak_flops(device, precision)},
    )
    return measurements["flops"]


def cpu_name() -> str:
    """Returns the name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def synchronize(device: torch.device) -> None:
    """Waits until the device has finished all its work."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def measure_bf16() -> Measurements:
    """Measures bf16 on this CPU: speed relative to float32, and relative error."""
    network, pictures = _probe_network()
    with torch.no_grad():
        exact = network(pictures)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(pictures).float()
    error = float((rounded - exact).norm() / exact.norm())
    speed_ratio = _time_training(network, pictures, False) / _time_training(network, pictures, True)
    return {"speed_ratio": speed_ratio, "error": error}


def measure_threads(n_cores: int) -> Measurements:
    """Measures the seconds of a training pass with 1, 2, 4, ... and `n_cores` threads."""
    network, pictures = _probe_network()
    earlier_count = torch.get_num_threads()
    powers = {1 << power for power in range(n_cores.bit_length())}
    seconds = {}
    for count in sorted(powers | {n_cores}):
        if count <= n_cores:
            torch.set_num_threads(count)
            seconds[str(count)] = _time_training(network, pictures, False)
    torch.set_num_threads(earlier_count)
    return seconds


def measure_peak_flops(device: torch.device, precision: str) -> float:
    """Measures the floating-point operations per second of a large matrix product.

    The shortest of several timings is used.
    """
    side = MATRIX_SIDE[device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    seconds = []
    for _ in range(N_PEAK_TIMINGS):
        synchronize(device)
        started_at = time.perf_counter()
        matrix @ matrix
        synchronize(device)
        seconds.append(time.perf_counter() - started_at)
    return 2.0 * side**3 / min(seconds)


def _probe_network() -> tuple[nn.Module, Tensor]:
    """Builds a network of two convolutions, and input for timing the network."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Conv2d(64, 128, 4, 2, 1))
    return network, torch.randn(16, 32, 32, 32)


def _time_training(network: nn.Module, pictures: Tensor, is_bf16: bool) -> float:
    """Returns the median seconds of a forward and backward pass."""
    seconds = []
    for _ in range(N_TIMINGS):
        started_at = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            loss = network(pictures).float().square().mean()
        loss.backward()
        seconds.append(time.perf_counter() - started_at)
    return sorted(seconds)[len(seconds) // 2]


def _measure_once(
    settings: Settings, subject: str, measure: Callable[[], Measurements]
) -> Measurements:
    """Returns the stored measurements of a subject, or measures and stores them.

    Args:
        settings: the location of the artifacts folder.
        subject: what is measured. Subject, machine and version of torch are the key in the file.
        measure: measures the subject.
    """
    path = settings.artifacts / "machine.json"
    key = f"{platform.node()} {cpu_name()} torch {torch.__version__}{subject}"
    # The lock makes runs that start together wait for one measurement and use the same values.
    with FileLock(settings.artifacts / "machine.lock"):
        measurements = _load_measurements(path)
        if key not in measurements:
            measurements[key] = measure()
            with replacing(path) as file:
                file.write(json.dumps(measurements, indent=2).encode())
    return measurements[key]


def _load_measurements(path: Path) -> dict[str, Measurements]:
    """Loads all stored measurements; a missing or damaged file counts as empty."""
    if not path.is_file():
        return {}
    try:
        measurements = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return measurements if isinstance(measurements, dict) else {}
