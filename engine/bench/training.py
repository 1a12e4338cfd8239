"""Training beside the plain loop: pictures per second, memory, share of the arithmetic limit.

All contenders train the same configuration on the same made-up pairs, each in its own process, in
turn. Ours is the loop that runs are trained by, its figures recorded in a database.
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
from engine.bench.contenders import Remote, Rival, started
from engine.config import RunConfig
from engine.data.batches import PairSet, evaluation_batches, training_batches
from engine.networks import backbones
from engine.records.comparison import Speed
from engine.settings import Settings
from engine.store import Store, utc_now
from engine.system.child_environment import SPIN_COUNT
from engine.training import execution, loop, machine_profile
from engine.training.state import build_state
from engine.training.step import Steps
from engine.workers.recorder import Recorder

ROUND_S = 4.0  # of each contender's work in a round
LOADED = 256  # files that the decoding loader reads
PAIRS_MB = {"cuda": 1024, "cpu": 32, "mps": 32}  # of made-up pairs
OURS, PLAIN, LOADING = "ours", "plain loop", "plain loop, decoding, two forwards"


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        config: what was asked of ours; the others look at its budget and configuration alone.
        settings: of this installation: feature weights, what was measured of the machine.
        rounds: how often each contender takes its turn, after a warm-up.
        round_s: how long a turn is.
    """

    config: RunConfig
    settings: Settings
    rounds: int
    round_s: float


def run(task: Task, on_progress: Callable[[str], None] = lambda doing: None) -> list[Speed]:
    """Races the contenders; takes a minute or two at the demo budget on two cores.

    Raises:
        EngineError: the device is not here, or a contender ended.
    """
    device = execution.choose_device(task.config.execution.device)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "pairs"
        _write_files(task, device, files)
        builders: dict[str, tuple[Callable[[], Rival], Mapping[str, str]]] = {
            OURS: (partial(Ours, task, Path(folder)), {"GOMP_SPINCOUNT": SPIN_COUNT}),
            PLAIN: (partial(Plain, task, device, None), {}),
            LOADING: (partial(Plain, task, device, files), {}),
        }
        on_progress("starting the contenders")
        with started(builders) as rivals:
            turns = {name: _warm_up(rival, task.round_s) for name, rival in rivals.items()}
            speeds: dict[str, list[float]] = {name: [] for name in rivals}
            for number in range(task.rounds):
                for name, rival in rivals.items():
                    on_progress(f"round {number + 1} of {task.rounds}: {name}")
                    taken, seconds = rival.run(turns[name])
                    speeds[name].append(taken * task.config.budget.batch / seconds)
            on_progress("measuring where the time goes")
            told = {name: rival.tell() for name, rival in rivals.items()}
        shutil.rmtree(files)
    flops, limit = told[OURS]["flops_per_picture"], told[OURS]["limit_flops"]
    return [
        Speed(
            name,
            tuple(found),
            told[name]["peak_memory_mb"],
            statistics.median(found) * flops / limit,
            limit / 1e12,
            told[name].get("split"),
        )
        for name, found in speeds.items()
    ]


def as_json(task: Task, speeds: Sequence[Speed]) -> dict[str, Any]:
    """The result with what was asked, for files."""
    ours, plain, loading = speeds
    found: dict[str, Any] = {
        key: {"images_per_second": it.median, **vars(it)}
        for key, it in (("ours", ours), ("plain", plain), ("decoding", loading))
    }
    ratios = {"ratio": ours.median / plain.median, "ratio_decoding": ours.median / loading.median}
    return {"asked": task.config.model_dump(mode="json"), **found, **ratios}


def _warm_up(rival: Remote, round_s: float) -> int:
    """Steps that fill a round."""
    rival.run(2)
    taken, seconds = rival.run(3)
    return max(1, round(round_s / (seconds / taken)))


class Ours:
    """The loop that runs are trained by, recording every step."""

    def __init__(self, task: Task, folder: Path) -> None:
        self.round_s = task.round_s
        self.device = device = execution.choose_device(task.config.execution.device)
        n_pairs = count_pairs(task.config, device)
        self.config = config = execution.resolve(task.config, n_pairs, task.settings)
        execution.set_up(config.execution)
        self.pairs = make_pairs(config, n_pairs, self.device)
        self.extract = backbones.build_extract(config, task.settings, self.device)
        self.state = build_state(config, self.device)
        self.steps = loop.build_steps(config, self.state, self.extract, self.pairs)
        own = Settings(f"sqlite:///{folder}/ours.db", folder / "ours")
        store = Store(own.database_url)
        store.add_study(uuid.uuid4().hex, "bench", [config], utc_now())
        job = store.claim_job(utc_now())
        assert job is not None
        self.recorder = Recorder(store, own, job, lambda: False)

    def work(self, steps: int) -> int:
        """Trains; what is told of about once a second ends a turn."""
        state, began = self.state, self.state.step
        for event in breakdown.keep_training(self.config, state, self.steps, self.pairs):
            self.recorder.add_steps(event)
            if state.step >= began + steps:
                break
        return state.step - began

    def tell(self) -> dict[str, Any]:
        """Memory, arithmetic, and the split of a step."""
        found = {"peak_memory_mb": loop.peak_memory_mb(self.device)}
        found["flops_per_picture"] = count_flops(self.config, self.extract)
        found["limit_flops"] = machine_profile.measure_limit(
            self.device, self.config.execution.precision
        )
        split = breakdown.split(
            self.config, self.state, self.steps, self.pairs, self.recorder, self.round_s
        )
        return {**found, "split": split}


class Plain:
    """The plain loop, on pictures in memory, or decoded from files with a second forward."""

    def __init__(self, task: Task, device: torch.device, files: Path | None) -> None:
        config = task.config
        self.device, batch = device, config.budget.batch
        torch.manual_seed(config.seed)
        resolved = execution.resolve(config, batch, task.settings).execution
        features = config.model_copy(update={"execution": resolved})
        extract = backbones.build_extract(features, task.settings, device)
        self.loop = plain_loop.PlainLoop(config, device, extract, makes_twice=files is not None)
        if files is None:
            n_pairs = max(batch, min(count_pairs(config, device), LOADED))
            pairs = make_pairs(config, n_pairs, device)
            ((source, target),) = evaluation_batches(pairs, n_pairs)
            self.batches = plain_loop.in_memory(source.contiguous(), target.contiguous(), batch)
        else:
            self.batches = plain_loop.decoded(files, batch, device)

    def work(self, steps: int) -> int:
        """Trains."""
        for _ in range(steps):
            self.loop.step(*next(self.batches))
        return steps

    def tell(self) -> dict[str, Any]:
        """Memory."""
        return {"peak_memory_mb": loop.peak_memory_mb(self.device)}


def count_pairs(config: RunConfig, device: torch.device) -> int:
    """Made-up pairs: whole batches, enough that an epoch is not over at once."""
    n_bytes = 6 * config.budget.px**2
    return (
        max(4, (PAIRS_MB[device.type] << 20) // n_bytes // config.budget.batch)
        * config.budget.batch
    )


def make_pairs(config: RunConfig, count: int, device: torch.device) -> PairSet:
    """Pairs of random bytes: what is in a picture makes no difference to the speed."""
    px, chance = config.budget.px, torch.Generator().manual_seed(0)
    few = torch.randint(0, 256, (min(count, 64), px, px, 6), generator=chance, dtype=torch.uint8)
    pixels = few.repeat(-(-count // len(few)), 1, 1, 1)[:count].to(device)
    return PairSet(pixels, tuple(map(str, range(count))), device)


def _write_files(task: Task, device: torch.device, folder: Path) -> None:
    """Pairs side by side, as a decoding loader reads them."""
    folder.mkdir()
    batch, px = task.config.budget.batch, task.config.budget.px
    chance = torch.Generator().manual_seed(0)
    for number in range(max(batch, min(count_pairs(task.config, device), LOADED))):
        coarse = torch.randint(0, 256, (8, 16, 3), generator=chance, dtype=torch.uint8)
        picture = Image.fromarray(coarse.numpy()).resize((2 * px, px), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:05d}.png")


def count_flops(config: RunConfig, extract: Callable[[Tensor], tuple[Tensor, ...]]) -> float:
    """Floating-point operations that training on one picture needs, two to a multiplication."""
    device = execution.choose_device(config.execution.device)
    eager = config.execution.model_copy(update={"graph": "off", "compile": "off"})
    config = config.model_copy(update={"execution": eager})
    steps = Steps(config, build_state(config, device), extract)
    pairs = make_pairs(config, config.budget.batch, device)
    batch = next(training_batches(pairs, len(pairs), 0, 0, 1))
    with FlopCounterMode(display=False) as counter:
        steps.take(batch)
    return float(counter.get_total_flops()) / config.budget.batch
