"""Builds the optimisers of both networks, and sets their learning rates."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.config import Configuration

# Name in a configuration -> class. AdamW is a subclass of Adam.
OPTIMIZERS: dict[str, type[torch.optim.Adam]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def build_optimizer(
    configuration: Configuration,
    lr: float,
    groups: Sequence[Mapping[str, Any]],
    device: torch.device,
    has_graph: bool = False,
) -> torch.optim.Adam:
    """Builds the optimiser of one network.

    The weight decay applies to all weights, also to biases and to the weights of norms: the
    recipe that was measured did so.

    Args:
        configuration: the optimiser, its betas and its weight decay.
        lr: the learning rate of the network.
        groups: groups of weights, each with the key `params` and, if the group has another
            learning rate than `lr`, with `lr_scale`, the factor of its rate.
        device: the device of the weights.
        has_graph: whether a CUDA graph replays the steps. A graph needs the learning rate and the
            step counter on the device.
    """
    scales = [float(group.get("lr_scale", 1.0)) for group in groups]
    # Each group has its own tensor, because the rates are changed in place.
    rates = [
        torch.tensor(lr * scale, device=device) if has_graph else lr * scale for scale in scales
    ]
    return OPTIMIZERS[configuration.optimizer](
        [
            {**group, "lr": rate, "lr_scale": scale}
            for group, rate, scale in zip(groups, rates, scales, strict=True)
        ],
        betas=(configuration.beta1, configuration.beta2),
        weight_decay=configuration.weight_decay,
        fused=device.type in ("cuda", "cpu"),
        capturable=has_graph,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of each group of weights to `lr` times the factor of the group."""
    for group in optimizer.param_groups:
        rate = lr * group["lr_scale"]
        if isinstance(group["lr"], Tensor):  # A CUDA graph reads the rate from this tensor.
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
