"""Estimates the time, memory and disk space of a study before it starts.

The time is computed from speeds that were measured where the queue runs. Without a measurement, the
time is a rough guess from the speed of a reference machine.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.config import Budget, RunConfig

# Training images per second at 64 px with 32 channels, measured on 2 CPU cores, without and with
# the perceptual term.
REFERENCE_PX, REFERENCE_CHANNELS = 64, 32
REFERENCE_SPEED = 165.0
REFERENCE_PERCEPTUAL_SPEED = 105.0
# The start of the process, and the part of the evaluation whose duration does not depend on the
# number of images.
START_UP_S = 12.0
EVALUATED_IMAGES_PER_SECOND = 30.0
CHECKPOINTS_PER_DONE_RUN = 2  # the newest and the best
TEMPORARY_CHECKPOINTS = 2  # the second newest of the running run, and the one being written
BYTES_PER_WEIGHT = 4
KERNEL_AREA = 4 * 4
RESNET_UNET_WEIGHTS = 20_000_000  # ResNet-18 and its decoder, roughly


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of a study.

    Attributes:
        seconds: duration of all runs one after the other.
        is_measured: whether the speed of every run was measured where the queue runs.
        disk_bytes: bytes of all checkpoints, and of the pairs that are not packed yet.
        memory_mb: memory of the run that needs the most, in MiB; None if none was measured.
    """

    seconds: float
    is_measured: bool
    disk_bytes: int
    memory_mb: float | None = None

    @property
    def disk_mb(self) -> float:
        """The disk space in MiB."""
        return self.disk_bytes / 2**20


@dataclass(frozen=True)
class MeasuredSpeed:
    """Speed and memory of one workload, measured where the queue runs; memory in MiB."""

    images_per_second: float
    memory_mb: float | None


def workload_key(config: RunConfig) -> str:
    """Identifies the work of a training step: runs with equal keys train at equal speed.

    The key names the networks, the loss terms with a weight other than 0, and the execution
    settings that are not `auto`.
    """
    execution = config.execution
    setting_names = ("device", "precision", "threads", "compile", "channels_last", "graph")
    settings = [
        f"{name}={value}"
        for name in (*setting_names, "keep_maps")
        if (value := getattr(execution, name)) != "auto"
    ]
    terms = [term for term in config.configuration.recipe.terms if term.weight]
    names = sorted(term.name for term in terms)
    needs_features = any(term.needs_features for term in terms)
    features = execution.perceptual_features if needs_features else ""
    return " ".join(filter(None, (config.budget.workload_key, *names, features, *settings)))


def estimate(
    configs: Sequence[RunConfig],
    n_pairs: Mapping[str, int],
    speeds: Mapping[str, MeasuredSpeed],
    bytes_to_pack: int,
) -> Estimate:
    """Estimates the cost of a study.

    Args:
        configs: the configs of the study's runs.
        n_pairs: split -> number of pairs.
        speeds: `workload_key` -> measured speed.
        bytes_to_pack: bytes of the pairs that are not packed yet.
    """
    measured = [speeds.get(workload_key(config)) for config in configs]
    seconds = 0.0
    for config, speed in zip(configs, measured, strict=True):
        budget = config.budget
        images_per_second = _guess_speed(config) if speed is None else speed.images_per_second
        seconds += START_UP_S + budget.epochs * n_pairs["train"] / images_per_second
        n_validations = len(budget.evaluated_epochs)
        n_validated = n_validations * n_pairs["val"] if n_validations > 1 else 0
        seconds += (n_validated + n_pairs["test"]) / EVALUATED_IMAGES_PER_SECOND
    n_checkpoints = len(configs) * CHECKPOINTS_PER_DONE_RUN + TEMPORARY_CHECKPOINTS
    memories = [speed.memory_mb for speed in measured if speed is not None]
    return Estimate(
        seconds=seconds,
        is_measured=None not in measured,
        disk_bytes=n_checkpoints * checkpoint_bytes(configs[0].budget) + bytes_to_pack,
        memory_mb=max((memory for memory in memories if memory is not None), default=None),
    )


def checkpoint_bytes(budget: Budget) -> int:
    """Estimates the bytes of a checkpoint.

    A checkpoint holds the weights and both Adam moments of both networks and, unless `ema` is 0,
    the moving average of the generator's weights.
    """
    generator, discriminator = count_weights(budget)
    generator_copies = 3 if budget.ema == 0 else 4
    return (generator * generator_copies + discriminator * 3) * BYTES_PER_WEIGHT


def count_weights(budget: Budget) -> tuple[int, int]:
    """Counts the convolution weights of generator and discriminator without building them.

    Norms and biases, which are less than 1 % of the weights, are not counted.
    """
    base, widths = budget.base_channels, budget.widths
    pairs = list(itertools.pairwise(widths))
    down = 3 * widths[0] + sum(before * after for before, after in pairs)
    up = sum(2 * before * after for before, after in pairs[:-1])
    up += widths[-1] * widths[-2] + 2 * widths[0] * 3
    unet = KERNEL_AREA * (down + up)
    patch = KERNEL_AREA * (6 * base + 2 * base**2 + 8 * base**2 + 32 * base**2 + 8 * base)
    return (RESNET_UNET_WEIGHTS if budget.has_encoder else unet), patch


def _guess_speed(config: RunConfig) -> float:
    """Guesses the training speed in images per second.

    The speed is assumed to be inversely proportional to the area of an image and to the number of
    channels to the power of 1.5.
    """
    needs_features = config.configuration.recipe.needs_features
    reference_speed = REFERENCE_PERCEPTUAL_SPEED if needs_features else REFERENCE_SPEED
    area_ratio = (REFERENCE_PX / config.budget.px) ** 2
    width_ratio: float = (REFERENCE_CHANNELS / config.budget.base_channels) ** 1.5
    return reference_speed * area_ratio * width_ratio
