"""The U-Net's convolutions, 4x4 and halving or doubling the sides, and the joining of its maps.

On a CPU, where a map has few positions, the library's kernels take 2 to 5 times as long as one
matrix product of all positions with all weights, forward and backward; and what comes after a
joining waits for gradients that lie scattered (docs/experiments.md). On a GPU all is the library's.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_ROWS = 256  # positions of the smaller map, of all pictures together
KERNEL = 4


class Halving(nn.Conv2d):
    """[N, C, 2h, 2w] -> [N, D, h, w]."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, KERNEL, 2, 1)
        self.most_rows = MOST_ROWS

    def forward(self, maps: Tensor) -> Tensor:
        """Convolves."""
        n, _, height, width = maps.shape
        height, width = height // 2, width // 2
        if not _is_small(maps, n * height * width, self.most_rows):
            return super().forward(maps)
        patches = functional.unfold(maps, KERNEL, padding=1, stride=2)  # [N, 16 C, h w]
        rows = patches.transpose(1, 2).flatten(0, 1)
        made = functional.linear(rows, self.weight.flatten(1), self.bias)
        return made.view(n, height, width, -1).permute(0, 3, 1, 2)


class Doubling(nn.ConvTranspose2d):
    """[N, C, h, w] -> [N, D, 2h, 2w]."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, KERNEL, 2, 1)
        self.most_rows = MOST_ROWS

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolves, the output at its only size."""
        n, _, height, width = maps.shape
        if not _is_small(maps, n * height * width, self.most_rows):
            return super().forward(maps)
        rows = maps.permute(0, 2, 3, 1).flatten(0, 2)
        patches = rows @ self.weight.flatten(1)  # [N h w, 16 D]
        patches = patches.view(n, height * width, -1).transpose(1, 2)
        made = functional.fold(patches, (2 * height, 2 * width), KERNEL, padding=1, stride=2)
        assert self.bias is not None
        return made + self.bias.to(made.dtype)[:, None, None]


def join(maps: Tensor, skipped: Tensor) -> Tensor:
    """[N, C, H, W] and [N, D, H, W] -> [N, C + D, H, W]."""
    if maps.device.type == "cpu" and torch.is_grad_enabled():
        joined: Tensor = _Join.apply(maps, skipped)
        return joined
    return torch.cat([maps, skipped], dim=1)


class _Join(torch.autograd.Function):
    """Concatenation whose gradients lie together again, each as its maps do."""

    @staticmethod
    def forward(context: Any, maps: Tensor, skipped: Tensor) -> Tensor:  # noqa: ANN401, as torch has it
        joined = torch.cat([maps, skipped], dim=1)
        context.channels = maps.shape[1]
        is_last = joined.is_contiguous(memory_format=torch.channels_last)
        context.layout = torch.channels_last if is_last else torch.contiguous_format
        return joined

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        parts = gradient[:, : context.channels], gradient[:, context.channels :]
        first, second = (part.contiguous(memory_format=context.layout) for part in parts)
        return first, second


def lay_out(network: nn.Module, layout: torch.memory_format, px: int, batch: int) -> None:
    """Puts weights into a memory layout, but those that are multiplied as they lie.

    Args:
        network: a generator, changed in place.
        layout: of the weights of large maps.
        px: side of the pictures that it is trained on.
        batch: how many at a time.
    """
    network.to(memory_format=layout)
    if next(network.parameters()).device.type != "cpu":
        return
    small: list[Halving | Doubling] = []

    def look(layer: Halving | Doubling, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        side = min(inputs[0].shape[2], output.shape[2])
        if batch * side**2 <= layer.most_rows:
            small.append(layer)

    layers = [it for it in network.modules() if isinstance(it, Halving | Doubling)]
    hooks = [it.register_forward_hook(look) for it in layers]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, px, px))
    network.train()
    for hook in hooks:
        hook.remove()
    for layer in small:
        layer.weight.data = layer.weight.data.contiguous()


def _is_small(maps: Tensor, rows: int, most_rows: int) -> bool:
    return maps.device.type == "cpu" and rows <= most_rows
