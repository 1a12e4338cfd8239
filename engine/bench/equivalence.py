"""Checks that our training steps compute the same losses as the plain loop."""

import math

from torch import nn

from engine.bench.plain_loop import PlainLoop
from engine.bench.training import make_pairs
from engine.config import RunConfig
from engine.data.batches import make_images, training_batches
from engine.training import execution
from engine.training.losses import FeatureExtractor
from engine.training.state import build_state
from engine.training.step import TrainingStep

JITTER_PX = 4


def max_loss_difference(
    config: RunConfig, extract: FeatureExtractor, n_steps: int
) -> tuple[float, list[str]]:
    """Takes steps with both loops, on the same batches, from the same weights, without dropout.

    Args:
        config: the run, with no setting left `auto`.
        extract: pictures -> feature maps, for recipes with a perceptual term.
        n_steps: number of steps.

    Returns:
        The largest relative difference of a loss (infinite if a loss is not finite), and the
        warnings of our training step.

    Raises:
        BadInputError: the recipe has no adversarial term.
    """
    # Give both loops the same weights and switch off dropout, whose random numbers differ.
    device = execution.choose_device(config.execution.device)
    state, plain = build_state(config, device), PlainLoop(config, device, extract)
    plain.generator.load_state_dict(state.generator.state_dict())
    assert state.discriminator is not None  # `PlainLoop` has refused other recipes.
    plain.discriminator.load_state_dict(state.discriminator.state_dict())
    for network in (state.generator, plain.generator):
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    # Compare the losses step by step.
    training_step, max_difference = TrainingStep(config, state, extract), 0.0
    pairs = make_pairs(config, config.budget.batch * n_steps, device)
    for batch in training_batches(pairs, config.budget.batch, JITTER_PX, 0, 1):
        our_losses = training_step.train(batch)[:2].tolist()
        plain_losses = plain.step(*make_images(batch))
        for ours, expected in zip(our_losses, plain_losses, strict=True):
            difference = abs(ours - expected) / abs(expected)
            is_finite = math.isfinite(difference)
            max_difference = max(max_difference, difference) if is_finite else math.inf
    return max_difference, training_step.warnings
