"""What using a generator costs on this machine: time, throughput, memory. Never a quality."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from engine.config import RunConfig
from engine.evaluation.values import Value
from engine.training.step import autocast

WARM_UPS, REPEATS, BATCH_REPEATS = 5, 30, 7
BATCH = 16


@torch.no_grad()
def measure(
    config: RunConfig, generator: nn.Module, device: torch.device, machine: Mapping[str, Any]
) -> list[Value]:
    """Median time of one picture, throughput in batches, and the most memory of one picture.

    The median of warmed-up repeats, each waited for. Timings of a shared machine vary: the
    quartiles stand in the note.
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

    def once(n_pictures: int) -> Callable[[], None]:
        source = torch.zeros(n_pictures, 3, px, px, device=device)

        def run() -> None:
            with autocast(config, device.type):
                generator(source)
            _wait(device)

        return run

    single = _seconds(once(1), WARM_UPS, REPEATS)
    low, _, high = (1000 * it for it in statistics.quantiles(single, n=4))
    batched = _seconds(once(BATCH), 1, BATCH_REPEATS)
    speed = BATCH / statistics.median(batched)
    return [
        Value(
            "inference_ms",
            1000 * statistics.median(single),
            1,
            {**protocol, "batch": 1, "repeats": REPEATS},
            note=f"half of {REPEATS} repeats took {low:.1f} to {high:.1f} ms",
        ),
        Value(
            "inference_images_per_second",
            speed,
            BATCH,
            {**protocol, "batch": BATCH, "repeats": BATCH_REPEATS},
        ),
        _memory(once(1), device, {**protocol, "batch": 1}),
    ]


def _seconds(run: Callable[[], None], warm_ups: int, repeats: int) -> list[float]:
    for _ in range(warm_ups):
        run()
    durations = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        durations.append(time.perf_counter() - started)
    return durations


def _memory(run: Callable[[], None], device: torch.device, protocol: Mapping[str, Any]) -> Value:
    name = "inference_memory_mb"
    if device.type != "cuda":
        reason = f"measured on CUDA devices only; this run used the {device.type}"
        return Value(name, None, 0, protocol, missing=reason)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    peak = torch.cuda.max_memory_allocated(device) - before
    return Value(name, peak / 2**20, 1, protocol)


def _wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
