"""Whether our steps do what the plain loop's do."""

import math

from torch import nn

from engine.bench.plain_loop import PlainLoop
from engine.bench.training import make_pairs
from engine.config import RunConfig
from engine.data.batches import cut, training_batches
from engine.training import execution
from engine.training.losses import Extract
from engine.training.state import build_state
from engine.training.step import Steps

JITTER = 4  # pixels


def worst_difference(config: RunConfig, extract: Extract, count: int) -> tuple[float, list[str]]:
    """Takes steps beside the plain loop, from the same weights and without dropout.

    Args:
        config: the run, with nothing left `auto`.
        extract: pictures -> feature maps, for recipes with a perceptual term.
        count: how many steps.

    Returns:
        The largest relative difference of a loss, infinite where one is not finite; and what our
        steps note.
    """
    device = execution.choose_device(config.execution.device)
    state, plain = build_state(config, device), PlainLoop(config, device, extract)
    plain.generator.load_state_dict(state.generator.state_dict())
    plain.discriminator.load_state_dict(state.discriminator.state_dict())
    for network in (state.generator, plain.generator):
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    steps, worst = Steps(config, state, extract), 0.0
    pairs = make_pairs(config, config.budget.batch * count, device)
    for batch in training_batches(pairs, config.budget.batch, JITTER, 0, 1):
        found = steps.train(batch)[:2].tolist()
        for mine, theirs in zip(found, plain.step(*cut(batch)), strict=True):
            error = abs(mine - theirs) / abs(theirs)
            worst = max(worst, error) if math.isfinite(error) else math.inf
    return worst, steps.notes
