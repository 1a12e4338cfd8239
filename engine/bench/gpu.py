"""Checks and measures training on a GPU machine, and extrapolates the duration of study 1.

All data and weights are random, so that nothing has to be downloaded. Without a CUDA device, the
benchmark runs at tiny sizes on the CPU, which tests its code but gives no meaningful numbers.
"""

import gc
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.bench.equivalence import max_loss_difference
from engine.bench.gpu_report import GpuBenchResult, to_markdown
from engine.bench.plain_loop import PlainLoop, batches_in_memory
from engine.bench.race import TimedStepsFn, measure_speeds
from engine.bench.training import count_flops, make_pairs
from engine.config import RunConfig
from engine.data.batches import PairSet, evaluation_batches, training_batches
from engine.metrics.features import exact_float32
from engine.networks import backbones
from engine.overrides import apply_settings
from engine.presets import BUDGETS, CONFIGURATIONS, SKETCH_STUDY_CONFIGURATIONS
from engine.settings import Settings
from engine.training import execution, loop, machine_profile
from engine.training.losses import FeatureExtractor
from engine.training.state import build_state

# No measurement begins after the time limit. A measurement with compilation begins only if
# `COMPILATION_S` seconds are left.
TIME_LIMIT_S = 450.0
COMPILATION_S = 110.0
N_CHECKED_STEPS = 20
# Limits of the relative difference of a loss. Rounding errors grow from step to step, but in
# float32 they stay far below the error of a wrong step, which is several per cent.
MAX_FLOAT32_ERROR = 1e-3
MAX_BF16_ERROR = 0.1
MAX_COMPILED_ERROR = 10 * MAX_FLOAT32_ERROR
ROUNDS = 3
# The first epoch is the warm-up, the second is extrapolated.
N_STUDY_EPOCHS = 2


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurements; the defaults are those of a GPU.

    Attributes:
        px: sizes of the pictures.
        batches: batch sizes.
        channels: channels of the networks' first layer.
        n_pairs: number of training pairs when speeds are measured.
        n_study_train: number of training pairs of study 1.
        n_study_val: number of validation pairs of study 1.
        round_s: seconds of each contender's turn.
    """

    px: tuple[int, ...] = (256, 192)
    batches: tuple[int, ...] = (64, 16, 1)
    channels: int = 64
    n_pairs: int = 2048
    n_study_train: int = 8000
    n_study_val: int = 1000
    round_s: float = 1.0


TINY_SIZES = Sizes((32,), (4, 1), 8, 16, 32, 8, 0.05)


def run(
    folder: Path, settings: Settings, on_progress: Callable[[str], None] = lambda text: None
) -> GpuBenchResult:
    """Runs all checks and measurements within the time limit.

    Args:
        folder: folder of the files `gpu.json` and `gpu.md`, which are updated after each result.
        settings: has the folder of measurements of this machine.
        on_progress: called with a description of each check and measurement.
    """
    device = execution.choose_device("auto")
    sizes = Sizes() if device.type == "cuda" else TINY_SIZES
    bench = _GpuBench(device, sizes, settings, folder, on_progress)
    # The slowest part runs last, because the time limit may leave out some of its measurements.
    parts = (
        bench.check(),
        bench.measure_speeds("off"),
        bench.extrapolate_study(),
        bench.measure_speeds("on"),
    )
    for part in parts:
        for _ in part:
            bench.write()
    bench.write()
    return bench.result


class _GpuBench:
    """Runs the parts of the benchmark; each part is a generator that yields after every result."""

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
        self.ends_at = time.monotonic() + TIME_LIMIT_S
        self.result = GpuBenchResult(
            {
                "device": torch.cuda.get_device_name() if device.type == "cuda" else "no GPU: tiny",
                "torch": torch.__version__,
                "python": platform.python_version(),
                "limit_tflops": machine_profile.measure_peak_flops(device, "bf16") / 1e12,
            }
        )
        features = backbones.PerceptualFeatures("vgg19", None)
        self.extract: FeatureExtractor = features.to(device).to(memory_format=torch.channels_last)

    def build_config(self, name: str, px: int, batch: int, **overrides: str) -> RunConfig:
        """Builds the configuration of a run, with no setting left `auto`."""
        config = RunConfig(
            data="made-up", configuration=CONFIGURATIONS[name], budget=BUDGETS["study1"]
        )
        needs_features = config.configuration.recipe.needs_features
        values = {
            "px": str(px),
            "batch": str(batch),
            "base_channels": str(self.sizes.channels),
            "compile": "off",
            "perceptual_features": "vgg19" if needs_features else "none",
            "encoder_weights": "none",
        }
        configured = apply_settings(config, values | overrides)
        resolved = execution.resolve(configured, self.sizes.n_pairs, self.settings)
        # These settings of torch make the plain loop faster too.
        execution.configure_process(resolved.execution)
        return resolved

    def begin(self, description: str, is_compiled: bool = False) -> bool:
        """Returns whether there is time for a measurement; if not, adds it to `left_out`."""
        needed_s = COMPILATION_S if is_compiled else 0.0
        if time.monotonic() + needed_s > self.ends_at:
            self.result.left_out.append(description)
            return False
        self.on_progress(description)
        return True

    def check(self) -> Iterator[None]:
        """Compares training steps with the plain loop's, for each setting of the execution."""
        px, batch = min(64, *self.sizes.px), 4
        # (name, settings, largest allowed relative difference of a loss)
        variants: list[tuple[str, dict[str, str], float]] = [
            (
                "float32, channels_last",
                {"precision": "fp32", "channels_last": "on"},
                MAX_FLOAT32_ERROR,
            ),
            (
                "float32, contiguous",
                {"precision": "fp32", "channels_last": "off"},
                MAX_FLOAT32_ERROR,
            ),
            ("bf16", {"precision": "bf16"}, MAX_BF16_ERROR),
        ]
        if self.device.type == "cuda":
            variants += [
                ("CUDA graph", {"precision": "fp32", "graph": "on"}, MAX_FLOAT32_ERROR),
                ("compiled", {"precision": "fp32", "compile": "on"}, MAX_COMPILED_ERROR),
            ]
        for name in SKETCH_STUDY_CONFIGURATIONS:
            for variant, overrides, max_error in variants:
                is_compiled = variant == "compiled"
                if is_compiled and name != "standard":
                    continue
                if not self.begin(f"check: {name}, {variant}", is_compiled):
                    continue
                config = self.build_config(name, px, batch, **({"graph": "off"} | overrides))
                # Switch off TF32, which a GPU may use instead of float32.
                with exact_float32():
                    error, warnings = max_loss_difference(config, self.extract, N_CHECKED_STEPS)
                self.result.checks.append(
                    {
                        "configuration": name,
                        "way": variant,
                        "error": error,
                        "at_most": max_error,
                        "notes": warnings,
                        "passed": error <= max_error and not warnings,
                    }
                )
                yield

    def measure_speeds(self, compiled: str) -> Iterator[None]:
        """Measures each configuration, picture size and batch size.

        The plain loop is measured beside the configuration `standard`.

        Args:
            compiled: whether the networks are compiled, `on` or `off`.
        """
        if compiled == "on" and self.device.type != "cuda":
            return
        cases = itertools.product(self.sizes.px, SKETCH_STUDY_CONFIGURATIONS, self.sizes.batches)
        for px, name, batch in cases:
            description = f"{name}, {px} px, batch {batch}, compile {compiled}"
            if self.begin(description, compiled == "on"):
                with_plain_loop = name == "standard" and compiled == "off"
                speed = self._measure_speed(name, px, batch, compiled, with_plain_loop)
                self.result.speeds.append(speed)
                yield

    def _measure_speed(
        self, name: str, px: int, batch: int, compiled: str, with_plain_loop: bool
    ) -> dict[str, Any]:
        # Free the memory of earlier measurements; a CUDA graph keeps its memory until collected.
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

        # Prepare our loop. The first step compiles the networks or captures the CUDA graph.
        config = self.build_config(name, px, batch, compile=compiled)
        pairs = make_pairs(config, max(self.sizes.n_pairs, batch), self.device)
        state = build_state(config, self.device)
        began = time.monotonic()
        training_step = loop.build_training_step(config, state, self.extract, pairs)
        training_step.train(next(training_batches(pairs, batch, 0, 0, 1)))
        machine_profile.synchronize(self.device)
        warm_up_s = time.monotonic() - began
        peak_memory_mb = loop.peak_memory_mb(self.device)
        epochs = (training_batches(pairs, batch, 0, 0, epoch) for epoch in itertools.count(1))
        batches = itertools.chain.from_iterable(epochs)
        contenders = {"ours": self._timed_steps(lambda: training_step.train(next(batches)))}

        # Prepare the plain loop.
        if with_plain_loop:
            few = make_pairs(config, max(batch, min(len(pairs), 256)), self.device)
            ((source, target),) = evaluation_batches(few, len(few))
            plain = PlainLoop(config, self.device, self.extract)
            pictures = batches_in_memory(source.contiguous(), target.contiguous(), batch)
            contenders["plain"] = self._timed_steps(lambda: plain.step(*next(pictures)))

        # Measure both in turn.
        speeds = measure_speeds(contenders, batch, ROUNDS, self.sizes.round_s)
        pictures_per_second = statistics.median(speeds["ours"])
        peak_flops = self.result.machine["limit_tflops"] * 1e12
        speed: dict[str, Any] = {
            "configuration": name,
            "px": px,
            "batch": batch,
            "compile": compiled,
            "graph": config.execution.graph if training_step.graph_step is not None else "off",
            "warm_up_s": warm_up_s,
            "pictures_per_second": pictures_per_second,
            "spread": (min(speeds["ours"]), max(speeds["ours"])),
            "share_of_limit": pictures_per_second * count_flops(config, self.extract) / peak_flops,
            "peak_memory_mb": peak_memory_mb,
            "notes": training_step.warnings,
        }
        if "plain" in speeds:
            speed["plain_pictures_per_second"] = statistics.median(speeds["plain"])
        return speed

    def _timed_steps(self, step: Callable[[], object]) -> TimedStepsFn:
        def take_steps(count: int) -> tuple[int, float]:
            machine_profile.synchronize(self.device)
            began = time.perf_counter()
            for _ in range(count):
                step()
            machine_profile.synchronize(self.device)
            return count, time.perf_counter() - began

        return take_steps

    def extrapolate_study(self) -> Iterator[None]:
        """Trains each configuration of study 1 for two epochs and extrapolates all epochs."""
        budget = BUDGETS["study1"]
        px = budget.px if self.device.type == "cuda" else self.sizes.px[-1]
        batch = min(budget.batch, self.sizes.n_study_train)
        for name in SKETCH_STUDY_CONFIGURATIONS:
            if not self.begin(f"study 1: {name}"):
                continue
            config = self.build_config(name, px, batch, epochs=str(N_STUDY_EPOCHS))
            pairs = make_pairs(config, self.sizes.n_study_train, self.device)
            val_pairs = make_pairs(config, self.sizes.n_study_val, self.device)
            first_s, last_s = self._time_epochs(config, pairs, val_pairs)
            self.result.study.append(
                {
                    "configuration": name,
                    "px": px,
                    "epochs": budget.epochs,
                    "first_epoch_s": first_s,
                    "epoch_s": last_s,
                    "extrapolated_s": first_s + (budget.epochs - 1) * last_s,
                }
            )
            yield

    def _time_epochs(
        self, config: RunConfig, pairs: PairSet, val_pairs: PairSet
    ) -> tuple[float, float]:
        """Returns the seconds of the first and of the last epoch, with validation."""
        state = build_state(config, self.device)
        began, seconds = time.monotonic(), []
        for event in loop.train(config, state, pairs, val_pairs, self.extract):
            if isinstance(event, loop.EpochDone):
                seconds.append(time.monotonic() - began)
                began = time.monotonic()
        return seconds[0], seconds[-1]

    def write(self) -> None:
        """Writes the results so far as JSON and as Markdown."""
        self.folder.mkdir(parents=True, exist_ok=True)
        result = {**vars(self.result), "is_right": self.result.all_checks_passed}
        (self.folder / "gpu.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
        (self.folder / "gpu.md").write_text(to_markdown(result), encoding="utf-8")
