"""Small feature networks and networks without dropout."""

import torch
from torch import nn


def maps(pictures):
    """Computes feature maps without weights."""
    return (pictures, torch.nn.functional.avg_pool2d(pictures, 4))


def remove_dropout(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
