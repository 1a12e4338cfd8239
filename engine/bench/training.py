"""Measures training beside the plain loop: pictures per second, memory, share of peak arithmetic.

All contenders train the same configuration on the same random pairs, each in its own process, in
turn. "ours" is `training.loop`, whose losses are recorded in a database.
"""

import shutil
import statistics
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from engine.bench import breakdown, plain_loop
from engine.bench.race import Contender, Speed, measure_speeds, start_contenders
from engine.config import RunConfig
from engine.data.batches import PairSet, evaluation_batches, training_batches
from engine.networks import backbones
from engine.settings import Settings
from engine.store import Store, utc_now
from engine.system.child_environment import SPIN_COUNT
from engine.training import execution, loop, machine_profile
from engine.training.state import build_state
from engine.training.step import TrainingStep
from engine.workers.recorder import Recorder

ROUND_S = 4.0
N_FILES = 256
PAIRS_MB = {"cuda": 1024, "cpu": 32, "mps": 32}
OURS, PLAIN, DECODING = "ours", "plain loop", "plain loop, decoding, two forwards"


@dataclass(frozen=True)
class Task:
    """The training to measure.

    Attributes:
        config: the run that is trained; the plain loop ignores its execution settings.
        settings: has the folders of feature weights and of measurements of this machine.
        rounds: number of timed rounds, after a warm-up.
        round_s: seconds of each contender's turn in a round.
    """

    config: RunConfig
    settings: Settings
    rounds: int
    round_s: float


def run(task: Task, on_progress: Callable[[str], None] = lambda text: None) -> list[Speed]:
    """Measures all contenders; takes 1 to 2 minutes for the demo budget on two cores.

    Args:
        task: the training to measure.
        on_progress: called with the part of the benchmark that begins.

    Raises:
        EngineError: the device does not exist, or a contender failed.
        BadInputError: the plain loop cannot train the configuration.
    """
    plain_loop.require_adversarial(task.config)
    device = execution.choose_device(task.config.execution.device)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "pairs"
        _write_files(task, device, files)
        builders: dict[str, tuple[Callable[[], Contender], Mapping[str, str]]] = {
            OURS: (
                partial(TrainingLoopContender, task, Path(folder)),
                {"GOMP_SPINCOUNT": SPIN_COUNT},
            ),
            PLAIN: (partial(PlainLoopContender, task, device, None), {}),
            DECODING: (partial(PlainLoopContender, task, device, files), {}),
        }
        on_progress("starting the contenders")
        with start_contenders(builders) as contenders:
            functions = {name: contender.take_steps for name, contender in contenders.items()}
            batch = task.config.budget.batch
            speeds = measure_speeds(functions, batch, task.rounds, task.round_s, on_progress)
            on_progress("measuring the parts of a step")
            reports = {name: contender.report() for name, contender in contenders.items()}
        shutil.rmtree(files)
    flops, peak_flops = reports[OURS]["flops_per_picture"], reports[OURS]["limit_flops"]
    return [
        Speed(
            name,
            tuple(rounds),
            reports[name]["peak_memory_mb"],
            statistics.median(rounds) * flops / peak_flops,
            peak_flops / 1e12,
            reports[name].get("split"),
        )
        for name, rounds in speeds.items()
    ]


def as_json(task: Task, speeds: Sequence[Speed]) -> dict[str, Any]:
    """Returns the result and the configuration in the format of `bench train --json`."""
    ours, plain, decoding = speeds
    results: dict[str, Any] = {
        key: {"images_per_second": speed.median, **vars(speed)}
        for key, speed in (("ours", ours), ("plain", plain), ("decoding", decoding))
    }
    ratios = {"ratio": ours.median / plain.median, "ratio_decoding": ours.median / decoding.median}
    return {"asked": task.config.model_dump(mode="json"), **results, **ratios}


class TrainingLoopContender:
    """The project's training loop, which records every step in a database."""

    def __init__(self, task: Task, folder: Path) -> None:
        self.round_s = task.round_s
        self.device = execution.choose_device(task.config.execution.device)
        n_pairs = count_pairs(task.config, self.device)
        self.config = config = execution.resolve(task.config, n_pairs, task.settings)
        execution.configure_process(config.execution)
        self.pairs = make_pairs(config, n_pairs, self.device)
        self.extract = backbones.build_feature_extractor(config, task.settings, self.device)
        self.state = build_state(config, self.device)
        self.training_step = loop.build_training_step(config, self.state, self.extract, self.pairs)
        settings = Settings(f"sqlite:///{folder}/ours.db", folder / "ours")
        store = Store(settings.database_url)
        store.studies.add(uuid.uuid4().hex, "bench", [config], utc_now())
        job = store.jobs.claim(utc_now())
        assert job is not None
        self.recorder = Recorder(store, settings, job, lambda: False)

    def take_steps(self, steps: int) -> int:
        """Trains until the first event after `steps` steps; there is about one event per second."""
        state, first_step = self.state, self.state.step
        for event in breakdown.train_endlessly(self.config, state, self.training_step, self.pairs):
            self.recorder.add_steps(event)
            if state.step >= first_step + steps:
                break
        return state.step - first_step

    def report(self) -> dict[str, Any]:
        """Returns peak memory, arithmetic per picture, peak arithmetic and the parts of a step."""
        precision = self.config.execution.precision
        return {
            "peak_memory_mb": loop.peak_memory_mb(self.device),
            "flops_per_picture": count_flops(self.config, self.extract),
            "limit_flops": machine_profile.measure_peak_flops(self.device, precision),
            "split": breakdown.measure_breakdown(
                *(self.config, self.state, self.training_step, self.pairs),
                *(self.recorder, self.round_s),
            ),
        }


class PlainLoopContender:
    """The plain loop, on pairs in memory or on pairs that are decoded from files.

    Args:
        task: the training to measure.
        device: where the networks compute.
        files: a folder of pairs that are decoded during training; each step then runs the generator
            twice. None: the pairs are in memory.
    """

    def __init__(self, task: Task, device: torch.device, files: Path | None) -> None:
        config = task.config
        self.device, batch = device, config.budget.batch
        torch.manual_seed(config.seed)
        resolved = execution.resolve(config, batch, task.settings).execution
        extract = backbones.build_feature_extractor(
            config.model_copy(update={"execution": resolved}), task.settings, device
        )
        has_files = files is not None
        self.loop = plain_loop.PlainLoop(config, device, extract, two_forwards=has_files)
        if files is not None:
            self.batches = plain_loop.batches_from_files(files, batch, device)
            return
        n_pairs = _count_plain_pairs(config, device)
        ((source, target),) = evaluation_batches(make_pairs(config, n_pairs, device), n_pairs)
        self.batches = plain_loop.batches_in_memory(source.contiguous(), target.contiguous(), batch)

    def take_steps(self, steps: int) -> int:
        """Trains for exactly `steps` steps."""
        for _ in range(steps):
            self.loop.step(*next(self.batches))
        return steps

    def report(self) -> dict[str, Any]:
        """Returns the peak memory."""
        return {"peak_memory_mb": loop.peak_memory_mb(self.device)}


def count_pairs(config: RunConfig, device: torch.device) -> int:
    """Returns the number of random pairs: the whole batches in `PAIRS_MB`, at least 4 batches."""
    batch, bytes_per_pair = config.budget.batch, 6 * config.budget.px**2
    n_batches = (PAIRS_MB[device.type] << 20) // bytes_per_pair // batch
    return max(4, n_batches) * batch


def _count_plain_pairs(config: RunConfig, device: torch.device) -> int:
    return max(config.budget.batch, min(count_pairs(config, device), N_FILES))


def make_pairs(config: RunConfig, count: int, device: torch.device) -> PairSet:
    """Makes pairs of random bytes; the content of pictures does not influence the speed."""
    px, generator = config.budget.px, torch.Generator().manual_seed(0)
    shape = (min(count, 64), px, px, 6)
    distinct = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    n_repeats = -(-count // len(distinct))
    pixels = distinct.repeat(n_repeats, 1, 1, 1)[:count].to(device)
    return PairSet(pixels, tuple(map(str, range(count))), device)


def _write_files(task: Task, device: torch.device, folder: Path) -> None:
    """Writes pairs side by side as PNG files."""
    folder.mkdir()
    px, generator = task.config.budget.px, torch.Generator().manual_seed(0)
    for number in range(_count_plain_pairs(task.config, device)):
        coarse = torch.randint(0, 256, (8, 16, 3), generator=generator, dtype=torch.uint8)
        picture = Image.fromarray(coarse.numpy()).resize((2 * px, px), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:05d}.png")


def count_flops(config: RunConfig, extract: Callable[[Tensor], tuple[Tensor, ...]]) -> float:
    """Counts the floating-point operations of training on one picture.

    A multiplication with its addition counts as two operations.
    """
    device = execution.choose_device(config.execution.device)
    eager = config.execution.model_copy(update={"graph": "off", "compile": "off"})
    config = config.model_copy(update={"execution": eager})
    training_step = TrainingStep(config, build_state(config, device), extract)
    pairs = make_pairs(config, config.budget.batch, device)
    batch = next(training_batches(pairs, len(pairs), 0, 0, 1))
    with FlopCounterMode(display=False) as counter:
        training_step.run_step(batch)
    return float(counter.get_total_flops()) / config.budget.batch
