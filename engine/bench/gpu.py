"""One go on a GPU machine: is training right there, how fast is it, how long does study 1 take.

Everything is made up, so that nothing has to be fetched. Where there is no CUDA device the same
goes through at tiny sizes on the CPU: figures without meaning, but nothing can fail later.
"""

import gc
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.bench.equivalence import worst_difference
from engine.bench.gpu_report import Found, describe
from engine.bench.plain_loop import PlainLoop, in_memory
from engine.bench.training import count_flops, make_pairs
from engine.config import RunConfig
from engine.data.batches import PairSet, evaluation_batches, training_batches
from engine.metrics.features import exact_float32
from engine.networks import backbones
from engine.overrides import apply_settings
from engine.presets import BUDGETS, CONFIGURATIONS, DEFAULT_CONFIGURATIONS
from engine.settings import Settings
from engine.training import execution, loop, machine_profile
from engine.training.losses import Extract
from engine.training.state import TrainingState, build_state

LIMIT_S = 450.0  # after so long nothing new is begun,
COMPILING_S = 110.0  # and nothing that is compiled so long before
CHECKED_STEPS = 20
# Relative, of losses. Rounding grows from step to step; what is wrong shows in per cent.
FLOAT32_ERROR = 1e-3
BF16_ERROR = 0.1
ROUNDS = 3
STUDY_EPOCHS = 2  # the first one warms up


@dataclass(frozen=True)
class Sizes:
    """What is measured: on a GPU, or tiny on a CPU."""

    px: tuple[int, ...] = (256, 192)
    batches: tuple[int, ...] = (64, 16, 1)
    channels: int = 64
    pairs: int = 2048
    study: tuple[int, int] = (8000, 1000)  # pairs of training, of validation
    round_s: float = 1.0  # of each contender


TINY = Sizes((32,), (4, 1), 8, 16, (32, 8), 0.05)


def run(
    folder: Path, settings: Settings, on_progress: Callable[[str], None] = lambda doing: None
) -> Found:
    """Checks, measures, extrapolates; writes `gpu.json` and `gpu.md` into the folder as it goes."""
    device = execution.choose_device("auto")
    sizes = Sizes() if device.type == "cuda" else TINY
    bench = _Bench(device, sizes, settings, folder, on_progress)
    # What takes longest comes last: it may be left out.
    for part in (bench.check(), bench.measure("off"), bench.study(), bench.measure("on")):
        for _ in part:
            bench.write()
    bench.write()
    return bench.found


class _Bench:
    def __init__(
        self,
        device: torch.device,
        sizes: Sizes,
        settings: Settings,
        folder: Path,
        on_progress: Callable[[str], None],
    ) -> None:
        self.device, self.sizes, self.settings, self.folder = device, sizes, settings, folder
        self.on_progress = on_progress
        self.ends_at = time.monotonic() + LIMIT_S
        self.found = Found(
            {
                "device": torch.cuda.get_device_name() if device.type == "cuda" else "no GPU: tiny",
                "torch": torch.__version__,
                "python": platform.python_version(),
                "limit_tflops": machine_profile.measure_limit(device, "bf16") / 1e12,
            }
        )
        features = backbones.PerceptualFeatures("vgg19", None)
        self.maps: Extract = features.to(device).to(memory_format=torch.channels_last)

    def config(self, name: str, px: int, batch: int, **wishes: str) -> RunConfig:
        """A run with nothing left `auto` but what is asked."""
        config = RunConfig(
            data="made-up", configuration=CONFIGURATIONS[name], budget=BUDGETS["study1"]
        )
        asked = {
            "px": str(px),
            "batch": str(batch),
            "base_channels": str(self.sizes.channels),
            "compile": "off",
            "perceptual_features": "vgg19"
            if "perceptual" in config.configuration.recipe.names
            else "none",
            "encoder_weights": "none",
        }
        asked_for = apply_settings(config, asked | wishes)
        resolved = execution.resolve(asked_for, self.sizes.pairs, self.settings)
        execution.set_up(resolved.execution)  # the plain loop gains from it too
        return resolved

    def is_late(self, about: str, is_compiled: bool = False) -> bool:
        """Whether there is no time left for something; it is then listed as left out."""
        late = time.monotonic() + COMPILING_S * is_compiled > self.ends_at
        if late:
            self.found.left_out.append(about)
        else:
            self.on_progress(about)
        return late

    # Checks

    def check(self) -> Iterator[None]:
        """The fast step beside the plain one, and each lever beside the step without it."""
        px, batch = min(64, *self.sizes.px), 4
        on_gpu = self.device.type == "cuda"
        ways: list[tuple[str, dict[str, str], float]] = [
            ("float32, channels_last", {"precision": "fp32", "channels_last": "on"}, FLOAT32_ERROR),
            ("float32, contiguous", {"precision": "fp32", "channels_last": "off"}, FLOAT32_ERROR),
            ("bf16", {"precision": "bf16"}, BF16_ERROR),
        ]
        if on_gpu:
            ways.append(("CUDA graph", {"precision": "fp32", "graph": "on"}, FLOAT32_ERROR))
            ways.append(("compiled", {"precision": "fp32", "compile": "on"}, 10 * FLOAT32_ERROR))
        for name in DEFAULT_CONFIGURATIONS:
            for way, wishes, most in ways:
                about = f"check: {name}, {way}"
                if way == "compiled" and name != "standard":
                    continue
                if self.is_late(about, way == "compiled"):
                    continue
                config = self.config(name, px, batch, **({"graph": "off"} | wishes))
                # Float32 means float32: a GPU's shorter products are for speed.
                with exact_float32():
                    error, notes = worst_difference(config, self.maps, CHECKED_STEPS)
                self.found.checks.append(
                    {
                        "configuration": name,
                        "way": way,
                        "error": error,
                        "at_most": most,
                        "notes": notes,
                        "passed": error <= most and not notes,
                    }
                )
                yield

    # Speeds

    def measure(self, compiled: str) -> Iterator[None]:
        """Every configuration, size and batch; the plain loop beside `standard`."""
        if compiled == "on" and self.device.type != "cuda":
            return
        cases = [
            (name, px, batch)
            for px in self.sizes.px
            for name in DEFAULT_CONFIGURATIONS
            for batch in self.sizes.batches
        ]
        for name, px, batch in cases:
            about = f"{name}, {px} px, batch {batch}, compile {compiled}"
            if not self.is_late(about, compiled == "on"):
                is_compared = name == "standard" and compiled == "off"
                self.found.speeds.append(self._race(name, px, batch, compiled, is_compared))
                yield

    def _race(
        self, name: str, px: int, batch: int, compiled: str, compared: bool
    ) -> dict[str, Any]:
        gc.collect()  # a recording holds its memory until it is collected
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        config = self.config(name, px, batch, compile=compiled)
        pairs = make_pairs(config, max(self.sizes.pairs, batch), self.device)
        state = build_state(config, self.device)
        began = time.monotonic()
        steps = loop.build_steps(config, state, self.maps, pairs)
        steps.train(next(training_batches(pairs, batch, 0, 0, 1)))
        machine_profile.synchronise(self.device)
        warm_up_s = time.monotonic() - began
        peak_memory_mb = loop.peak_memory_mb(self.device)
        epochs = (
            one for epoch in range(1, 10**6) for one in training_batches(pairs, batch, 0, 0, epoch)
        )
        contenders: dict[str, Callable[[], object]] = {"ours": lambda: steps.train(next(epochs))}
        if compared:
            few = make_pairs(config, max(batch, min(len(pairs), 256)), self.device)
            ((source, target),) = evaluation_batches(few, len(few))
            plain = PlainLoop(config, self.device, self.maps)
            pictures = in_memory(source.contiguous(), target.contiguous(), batch)
            contenders["plain"] = lambda: plain.step(*next(pictures))
        speeds = self._alternate(contenders, batch)
        flops = count_flops(config, self.maps)
        found: dict[str, Any] = {
            "configuration": name,
            "px": px,
            "batch": batch,
            "compile": compiled,
            "graph": config.execution.graph if steps.recorded is not None else "off",
            "warm_up_s": warm_up_s,
            "pictures_per_second": statistics.median(speeds["ours"]),
            "spread": (min(speeds["ours"]), max(speeds["ours"])),
            "share_of_limit": statistics.median(speeds["ours"])
            * flops
            / (self.found.machine["limit_tflops"] * 1e12),
            "peak_memory_mb": peak_memory_mb,
            "notes": steps.notes,
        }
        if "plain" in speeds:
            found["plain_pictures_per_second"] = statistics.median(speeds["plain"])
        return found

    def _alternate(
        self, contenders: dict[str, Callable[[], object]], batch: int
    ) -> dict[str, list[float]]:
        """Pictures per second of each contender in each round, after a warm-up."""
        counts = {}
        for name, step in contenders.items():
            for _ in range(3):
                step()
            counts[name] = max(1, round(3 * self.sizes.round_s / self._time(step, 3)))
        speeds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, step in contenders.items():
                speeds[name].append(counts[name] * batch / self._time(step, counts[name]))
        return speeds

    def _time(self, step: Callable[[], object], count: int) -> float:
        machine_profile.synchronise(self.device)
        began = time.perf_counter()
        for _ in range(count):
            step()
        machine_profile.synchronise(self.device)
        return time.perf_counter() - began

    # Study 1

    def study(self) -> Iterator[None]:
        """Its three configurations for two epochs, of which the second tells of the other 59."""
        n_train, n_val = self.sizes.study
        whole = BUDGETS["study1"]
        for name in DEFAULT_CONFIGURATIONS:
            px = whole.px if self.device.type == "cuda" else self.sizes.px[-1]
            batch = min(whole.batch, n_train)
            if self.is_late(f"study 1: {name}"):
                continue
            config = self.config(name, px, batch, epochs=str(STUDY_EPOCHS))
            pairs = make_pairs(config, n_train, self.device)
            val_pairs = make_pairs(config, n_val, self.device)
            state = build_state(config, self.device)
            seconds = self._time_epochs(config, state, pairs, val_pairs)
            self.found.study.append(
                {
                    "configuration": name,
                    "px": px,
                    "epochs": whole.epochs,
                    "first_epoch_s": seconds[0],
                    "epoch_s": seconds[-1],
                    "extrapolated_s": seconds[0] + (whole.epochs - 1) * seconds[-1],
                }
            )
            yield

    def _time_epochs(
        self, config: RunConfig, state: TrainingState, pairs: PairSet, val_pairs: PairSet
    ) -> list[float]:
        """Seconds of each epoch, training and validation."""
        began, seconds = time.monotonic(), []
        for event in loop.train(config, state, pairs, val_pairs, self.maps):
            if isinstance(event, loop.EpochDone):
                seconds.append(time.monotonic() - began)
                began = time.monotonic()
        return seconds

    def write(self) -> None:
        """What has been found so far, for programs and for people."""
        self.folder.mkdir(parents=True, exist_ok=True)
        found = {**vars(self.found), "is_right": self.found.is_right}
        (self.folder / "gpu.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
        (self.folder / "gpu.md").write_text(describe(found), encoding="utf-8")
