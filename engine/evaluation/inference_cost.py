"""Measures latency, throughput and memory of a generator on this machine."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from engine.config import RunConfig
from engine.evaluation.values import MetricResult
from engine.training import machine_profile
from engine.training.step import autocast

N_WARM_UPS, N_REPEATS, N_BATCH_REPEATS = 5, 30, 7
BATCH_SIZE = 16


@torch.no_grad()
def measure(
    config: RunConfig, generator: nn.Module, device: torch.device, machine: Mapping[str, Any]
) -> list[MetricResult]:
    """Measures time and peak memory of generating one image, and the throughput in batches.

    Each time is the median of repeats after a warm-up, and ends when the device has finished.
    Timings on a shared machine vary. Therefore the note of `inference_ms` gives the quartiles.

    Args:
        config: the run's configuration.
        generator: the network; it is switched to evaluation mode.
        device: the device of the network.
        machine: the description of the machine; the protocol contains its `device` and `cpu`.
    """
    generator.eval()
    px = config.budget.px
    protocol = {
        "device": machine.get("device"),
        "cpu": machine.get("cpu"),
        "threads": config.execution.threads,
        "precision": config.execution.precision,
        "px": px,
    }

    def build_pass(n_images: int) -> Callable[[], None]:
        """Builds a function that generates a batch and waits for the device."""
        source = torch.zeros(n_images, 3, px, px, device=device)

        def run() -> None:
            with autocast(config, device.type):
                generator(source)
            machine_profile.synchronize(device)

        return run

    single_s = _durations(build_pass(1), N_WARM_UPS, N_REPEATS)
    low, _, high = (1000 * quartile for quartile in statistics.quantiles(single_s, n=4))
    batch_s = _durations(build_pass(BATCH_SIZE), 1, N_BATCH_REPEATS)
    images_per_second = BATCH_SIZE / statistics.median(batch_s)
    return [
        MetricResult(
            "inference_ms",
            1000 * statistics.median(single_s),
            1,
            {**protocol, "batch": 1, "repeats": N_REPEATS},
            note=f"half of {N_REPEATS} repeats took {low:.1f} to {high:.1f} ms",
        ),
        MetricResult(
            "inference_images_per_second",
            images_per_second,
            BATCH_SIZE,
            {**protocol, "batch": BATCH_SIZE, "repeats": N_BATCH_REPEATS},
        ),
        _peak_memory(build_pass(1), device, {**protocol, "batch": 1}),
    ]


def _durations(run: Callable[[], None], n_warm_ups: int, n_repeats: int) -> list[float]:
    """Returns the seconds of each repeat."""
    for _ in range(n_warm_ups):
        run()
    durations = []
    for _ in range(n_repeats):
        started = time.perf_counter()
        run()
        durations.append(time.perf_counter() - started)
    return durations


def _peak_memory(
    run: Callable[[], None], device: torch.device, protocol: Mapping[str, Any]
) -> MetricResult:
    name = "inference_memory_mb"
    if device.type != "cuda":
        reason = f"measured on CUDA devices only; this run used the {device.type}"
        return MetricResult(name, None, 0, protocol, missing=reason)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    peak = torch.cuda.max_memory_allocated(device) - before
    return MetricResult(name, peak / 2**20, 1, protocol)
