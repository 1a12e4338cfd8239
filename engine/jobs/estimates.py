"""How long, how much memory and disk a study may take. Torch-free.

Speeds measured by earlier runs of the same configuration and size come first; before there are
any, arithmetic from one measured machine, said to be rough.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.config import Budget, RunConfig

# Measured on 2 CPU cores at 64 px, 32 channels: pictures per second, and of the perceptual term.
REFERENCE_SPEED = 165.0
REFERENCE_PERCEPTUAL_SPEED = 105.0
START_S = 12.0  # a process's start, and its part of the evaluation that does not grow
JUDGED_PER_SECOND = 30.0  # pictures through the evaluation
CHECKPOINTS_KEPT = 2  # of a run that is done: the newest and the best
SPARE_CHECKPOINTS = 2  # of the run at work: the second newest, and one that is being written
BYTES_PER_NUMBER = 4
KERNEL = 4 * 4
RESNET_UNET = 20_000_000  # ResNet-18 and its decoder, roughly


@dataclass(frozen=True)
class Estimate:
    """What a study may take.

    Attributes:
        seconds: all runs one after the other.
        is_measured: whether the speed of every configuration was measured before.
        disk_bytes: checkpoints of all runs, and the pairs that are still to be packed.
        memory_mb: of the run that needs most; None where none was measured.
    """

    seconds: float
    is_measured: bool
    disk_bytes: int
    memory_mb: float | None = None

    @property
    def disk_mb(self) -> float:
        """The same in mebibytes."""
        return self.disk_bytes / 2**20


@dataclass(frozen=True)
class Pace:
    """What one kind of work was measured to need, on this machine."""

    images_per_second: float
    memory_mb: float | None


def work_of(config: RunConfig) -> str:
    """What a training step costs, in a word: runs with the same are equally fast.

    That is the networks' work, which terms the loss has (their weights cost nothing), and what was
    asked of the machine.
    """
    execution = config.execution
    asked = {
        name: value
        for name in (
            *("device", "precision", "threads", "compile", "channels_last", "graph", "keep_maps"),
        )
        if (value := getattr(execution, name)) != "auto"
    }
    how = " ".join(f"{name}={value}" for name, value in asked.items())
    names = [term.name for term in config.configuration.recipe.terms if term.weight]
    features = config.execution.perceptual_features if "perceptual" in names else ""
    parts = (config.budget.work, *sorted(names), features, how)
    return " ".join(filter(None, parts))


def estimate(
    configs: Sequence[RunConfig],
    pairs: Mapping[str, int],
    paces: Mapping[str, Pace],
    to_pack: int,
) -> Estimate:
    """Estimates a study.

    Args:
        configs: one per run.
        pairs: how many of each split.
        paces: `work_of` -> what was measured.
        to_pack: bytes of pairs that are still to be packed.
    """
    seconds, known = 0.0, [paces.get(work_of(config)) for config in configs]
    for config, pace in zip(configs, known, strict=True):
        budget = config.budget
        speed = pace.images_per_second if pace is not None else _guess_speed(config)
        seconds += START_S + budget.epochs * pairs["train"] / speed
        choices = len(budget.evaluated_epochs)
        judged = (choices * pairs["val"] if choices > 1 else 0) + pairs["test"]
        seconds += judged / JUDGED_PER_SECOND
    budget = configs[0].budget
    checkpoints = (len(configs) * CHECKPOINTS_KEPT + SPARE_CHECKPOINTS) * checkpoint_bytes(budget)
    memory = [it.memory_mb for it in known if it is not None and it.memory_mb is not None]
    return Estimate(seconds, None not in known, checkpoints + to_pack, max(memory, default=None))


def checkpoint_bytes(budget: Budget) -> int:
    """The size of a checkpoint: weights and two moments of both networks, and the average."""
    generator, discriminator = count_weights(budget)
    copies = 3 if budget.ema == 0 else 4
    return (generator * copies + discriminator * 3) * BYTES_PER_NUMBER


def count_weights(budget: Budget) -> tuple[int, int]:
    """Convolution weights of generator and discriminator; norms and biases are under 1 %."""
    base, widths = budget.base_channels, budget.widths
    pairs = list(itertools.pairwise(widths))
    down = 3 * widths[0] + sum(before * after for before, after in pairs)
    up = sum(2 * before * after for before, after in pairs[:-1])
    up += widths[-1] * widths[-2] + 2 * widths[0] * 3
    unet = KERNEL * (down + up)
    patch = KERNEL * (6 * base + 2 * base**2 + 8 * base**2 + 32 * base**2 + 8 * base)
    return (RESNET_UNET if budget.generator == "resnet18_unet" else unet), patch


def _guess_speed(config: RunConfig) -> float:
    perceptual = "perceptual" in config.configuration.recipe.names
    reference = REFERENCE_PERCEPTUAL_SPEED if perceptual else REFERENCE_SPEED
    budget = config.budget
    speed: float = reference * (64 / budget.px) ** 2 * (32 / budget.base_channels) ** 1.5
    return speed
