"""Estimates the time, memory and disk space of a study before it starts.

The time is computed from speeds that were measured where the queue runs. Without a measurement, the
time is a rough guess from the speed of a reference machine.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.config import Budget, Configuration, RunConfig

# Training images per second at 64 px with 32 channels, measured on 2 CPU cores, without and with
# the perceptual term.
REFERENCE_PX, REFERENCE_CHANNELS = 64, 32
REFERENCE_SPEED = 165.0
REFERENCE_PERCEPTUAL_SPEED = 105.0
# The time of a step with a palette instead of adversarial training, as a share of that of
# `standard`: without and with pretrained features of the source.
PALETTE_COST, SOURCE_FEATURES_COST = 1.1, 1.8
# The start of the process, and the part of the evaluation whose duration does not depend on the
# number of images.
START_UP_S = 12.0
EVALUATED_IMAGES_PER_SECOND = 30.0
CHECKPOINTS_PER_DONE_RUN = 2  # the newest and the best
TEMPORARY_CHECKPOINTS = 2  # the second newest of the running run, and the one being written
BYTES_PER_WEIGHT = 4
KERNEL_AREA = 4 * 4
RESNET_UNET_WEIGHTS = 20_000_000  # ResNet-18 and its decoder, roughly
RESNET_BOTTLENECK = 512
# The network that reads the source: all its weights, and those of its blocks that are trained.
READER_WEIGHTS, TRAINED_READER_WEIGHTS = 5_600_000, 2_250_000
# The layers that bring its features into the U-Net, without those from and to the innermost maps.
CONDITIONING_WEIGHTS = 200_000
READER_CHANNELS, THEME_CHANNELS = 320, 64
REGION_FIGURES, REGION_CHANNELS = 7, 512


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

    The key names the networks, the loss terms with a weight other than 0 (without `adversarial`
    there is no discriminator), and the execution settings that are not `auto`.
    """
    execution, configuration, budget = config.execution, config.configuration, config.budget
    output = configuration.output_at(budget)
    networks = [
        f"{budget.generator} {output.name} {budget.discriminator}",
        f"{budget.px} px {budget.base_channels} channels batch {budget.batch}",
    ]
    if output.has_palette:
        networks += [f"{configuration.n_colours} colours", "regions" * configuration.regions]
    if configuration.source_features != "none":
        networks.append(f"source_features={configuration.source_features}")
    setting_names = ("device", "precision", "threads", "compile", "channels_last", "graph")
    settings = [
        f"{name}={value}"
        for name in (*setting_names, "keep_maps")
        if (value := getattr(execution, name)) != "auto"
    ]
    terms = [term for term in configuration.recipe.terms if term.weight]
    names = sorted(term.name for term in terms)
    needs_features = any(term.needs_features for term in terms)
    extractor = execution.perceptual_features if needs_features else ""
    return " ".join(filter(None, (*networks, *names, extractor, *settings)))


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
    checkpoints = [checkpoint_bytes(config.budget, config.configuration) for config in configs]
    disk_bytes = CHECKPOINTS_PER_DONE_RUN * sum(checkpoints)
    disk_bytes += TEMPORARY_CHECKPOINTS * max(checkpoints)
    memories = [speed.memory_mb for speed in measured if speed is not None]
    return Estimate(
        seconds=seconds,
        is_measured=None not in measured,
        disk_bytes=disk_bytes + bytes_to_pack,
        memory_mb=max((memory for memory in memories if memory is not None), default=None),
    )


class WeightCounts(NamedTuple):
    """Numbers of weights of a run's networks.

    Attributes:
        generator: all weights of the generator.
        trained: the weights of the generator that are trained.
        discriminator: the weights of the discriminator; 0 if there is none.
    """

    generator: int
    trained: int
    discriminator: int


def checkpoint_bytes(budget: Budget, configuration: Configuration) -> int:
    """Estimates the bytes of a checkpoint.

    A checkpoint holds the weights of both networks, both Adam moments of the trained weights and,
    unless `ema` is 0, the moving average of the generator's weights.
    """
    counts = count_weights(budget, configuration)
    n_values = counts.generator * (1 if budget.ema == 0 else 2)
    n_values += 2 * counts.trained + 3 * counts.discriminator
    return n_values * BYTES_PER_WEIGHT


def count_weights(budget: Budget, configuration: Configuration) -> WeightCounts:
    """Counts the weights of generator and discriminator without building them.

    Norms and biases, which are less than 1 % of the weights, are not counted.
    """
    output, base = configuration.output_at(budget), budget.base_channels
    generator = _count_trunk(budget, base if output.has_palette else output.channels)
    frozen = 0
    if output.has_palette:
        generator += _count_palette_heads(budget, configuration)
    if configuration.source_features != "none":
        frozen = READER_WEIGHTS - TRAINED_READER_WEIGHTS
        generator += READER_WEIGHTS + CONDITIONING_WEIGHTS
        generator += _count_bottleneck(budget) * (READER_CHANNELS + THEME_CHANNELS)
    patch = KERNEL_AREA * (6 * base + 2 * base**2 + 8 * base**2 + 32 * base**2 + 8 * base)
    discriminator = patch if configuration.recipe.is_adversarial else 0
    return WeightCounts(generator, generator - frozen, discriminator)


def _count_trunk(budget: Budget, out_channels: int) -> int:
    """Counts the weights of the U-Net."""
    if budget.has_encoder:
        return RESNET_UNET_WEIGHTS
    widths = budget.widths
    pairs = list(itertools.pairwise(widths))
    down = 3 * widths[0] + sum(before * after for before, after in pairs)
    up = sum(2 * before * after for before, after in pairs[:-1])
    up += widths[-1] * widths[-2] + 2 * widths[0] * out_channels
    return KERNEL_AREA * (down + up)


def _count_bottleneck(budget: Budget) -> int:
    """Returns the channels of the innermost maps."""
    return RESNET_BOTTLENECK if budget.has_encoder else budget.widths[-1]


def _count_palette_heads(budget: Budget, configuration: Configuration) -> int:
    """Counts the weights of a palette generator outside its U-Net."""
    base, n_colours = budget.base_channels, configuration.n_colours
    count = 9 * (base + 1) * base + base * n_colours
    if configuration.regions:
        reads_source = configuration.source_features != "none"
        n_inputs = base + REGION_FIGURES + _count_bottleneck(budget) + THEME_CHANNELS * reads_source
        count += REGION_CHANNELS * (n_inputs + REGION_CHANNELS + n_colours)
    return count


def _guess_speed(config: RunConfig) -> float:
    """Guesses the training speed in images per second.

    The speed is assumed to be inversely proportional to the area of an image and to the number of
    channels to the power of 1.5.
    """
    configuration = config.configuration
    needs_features = configuration.recipe.needs_features
    reference_speed = REFERENCE_PERCEPTUAL_SPEED if needs_features else REFERENCE_SPEED
    area_ratio = (REFERENCE_PX / config.budget.px) ** 2
    width_ratio: float = (REFERENCE_CHANNELS / config.budget.base_channels) ** 1.5
    cost = 1.0
    if configuration.source_features != "none":
        cost = SOURCE_FEATURES_COST
    elif configuration.output_at(config.budget).has_palette:
        cost = PALETTE_COST
    return reference_speed * area_ratio * width_ratio / cost
