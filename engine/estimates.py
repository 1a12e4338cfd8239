"""How long, how much memory and disk a study may take. Torch-free.

Speeds measured by earlier runs of the same configuration and size come first; before there are
any, arithmetic from one measured machine, said to be rough.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.config import RunConfig

# Measured on 2 CPU cores at 64 px, 32 channels: pictures per second, and of the perceptual term.
REFERENCE_SPEED = 140.0
REFERENCE_PERCEPTUAL_SPEED = 65.0
START_S = 12.0  # a process's start, and its part of the evaluation that does not grow
JUDGED_PER_SECOND = 20.0  # test pictures through the evaluation
BYTES_PER_WEIGHT = 16  # saved: weights, two moments, the moving average
CHECKPOINTS_KEPT = 2


@dataclass(frozen=True)
class Estimate:
    """What a study may take.

    Attributes:
        seconds: all runs one after the other.
        is_measured: whether the speed of every configuration was measured before.
        disk_mb: checkpoints of all runs, and packed pairs.
    """

    seconds: float
    is_measured: bool
    disk_mb: float


def estimate(
    configs: Sequence[RunConfig],
    pairs: Mapping[str, int],
    speeds: Mapping[tuple[str, int, int], float],
) -> Estimate:
    """Estimates a study.

    Args:
        configs: one per run.
        pairs: how many of each split.
        speeds: (configuration, px, base_channels) -> pictures per second, measured.
    """
    seconds, measured = 0.0, True
    for config in configs:
        budget = config.budget
        key = (config.configuration.name, budget.px, budget.base_channels)
        measured = measured and key in speeds
        speed = speeds.get(key) or _guess_speed(config)
        seconds += START_S + budget.epochs * pairs["train"] / speed
        seconds += pairs["test"] / JUDGED_PER_SECOND
    budget = configs[0].budget
    weights = 14_000 * budget.base_channels**2  # U-Net and PatchGAN at 256 px
    checkpoints = len(configs) * CHECKPOINTS_KEPT * weights * BYTES_PER_WEIGHT
    packed = sum(pairs.values()) * 2 * 3 * budget.px**2
    return Estimate(seconds, measured, (checkpoints + packed) / 2**20)


def _guess_speed(config: RunConfig) -> float:
    perceptual = "perceptual" in config.configuration.recipe.names
    reference = REFERENCE_PERCEPTUAL_SPEED if perceptual else REFERENCE_SPEED
    budget = config.budget
    speed: float = reference * (64 / budget.px) ** 2 * (32 / budget.base_channels) ** 1.5
    return speed
