"""Layers of the U-Net: 4x4 convolutions that halve or double the side, and the skip connection.

On a CPU, small feature maps are computed as one matrix product, which is 2 to 5 times as fast as
oneDNN's convolution, forward and backward. `torch.cat` returns gradients that are not contiguous,
which slows down the layers before it; `concat_skip` returns contiguous gradients
(docs/experiments.md). On other devices, all layers use torch's own kernels.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# On a CPU, a layer uses a matrix product if N h w is at most this; [h, w] is the smaller one of the
# sizes of its input and output maps.
MAX_GEMM_ROWS = 256
KERNEL_SIZE = 4


class DownConv(nn.Conv2d):
    """A convolution that halves the side: [N, C, 2h, 2w] -> [N, D, h, w].

    Args:
        in_channels: C.
        out_channels: D.
        depth: the number of halvings from the picture's size to [h, w].
    """

    def __init__(self, in_channels: int, out_channels: int, depth: int) -> None:
        super().__init__(in_channels, out_channels, KERNEL_SIZE, 2, 1)
        self.depth = depth
        self.max_gemm_rows = MAX_GEMM_ROWS

    def forward(self, maps: Tensor) -> Tensor:
        """Convolves maps [N, C, 2h, 2w] -> [N, D, h, w]."""
        n, _, height, width = maps.shape
        height, width = height // 2, width // 2
        if not _uses_gemm(maps, n * height * width, self.max_gemm_rows):
            return super().forward(maps)
        patches = functional.unfold(maps, KERNEL_SIZE, padding=1, stride=2)  # [N, 16 C, h w]
        rows = patches.transpose(1, 2).flatten(0, 1)  # [N h w, 16 C]
        output = functional.linear(rows, self.weight.flatten(1), self.bias)
        return output.view(n, height, width, -1).permute(0, 3, 1, 2)


class UpConv(nn.ConvTranspose2d):
    """A transposed convolution that doubles the side: [N, C, h, w] -> [N, D, 2h, 2w].

    Args:
        in_channels: C.
        out_channels: D.
        depth: the number of halvings from the picture's size to [h, w].
    """

    def __init__(self, in_channels: int, out_channels: int, depth: int) -> None:
        super().__init__(in_channels, out_channels, KERNEL_SIZE, 2, 1)
        self.depth = depth
        self.max_gemm_rows = MAX_GEMM_ROWS

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolves maps [N, C, h, w] -> [N, D, 2h, 2w]; `output_size` is ignored."""
        n, _, height, width = maps.shape
        if not _uses_gemm(maps, n * height * width, self.max_gemm_rows):
            return super().forward(maps)
        rows = maps.permute(0, 2, 3, 1).flatten(0, 2)  # [N h w, C]
        patches = rows @ self.weight.flatten(1)  # [N h w, 16 D]
        patches = patches.view(n, height * width, -1).transpose(1, 2)  # [N, 16 D, h w]
        output = functional.fold(patches, (2 * height, 2 * width), KERNEL_SIZE, padding=1, stride=2)
        assert self.bias is not None
        return output + self.bias.to(output.dtype)[:, None, None]


def concat_skip(maps: Tensor, skip: Tensor) -> Tensor:
    """Concatenates [N, C, H, W] and [N, D, H, W] -> [N, C + D, H, W]."""
    if maps.device.type == "cpu" and torch.is_grad_enabled():
        concatenated: Tensor = _ConcatSkip.apply(maps, skip)
        return concatenated
    return torch.cat([maps, skip], dim=1)


class _ConcatSkip(torch.autograd.Function):
    """A concatenation whose two gradients are contiguous in the memory format of the output."""

    @staticmethod
    def forward(context: Any, maps: Tensor, skip: Tensor) -> Tensor:  # noqa: ANN401 (as in torch)
        output = torch.cat([maps, skip], dim=1)
        context.channels = maps.shape[1]
        is_channels_last = output.is_contiguous(memory_format=torch.channels_last)
        context.memory_format = torch.channels_last if is_channels_last else torch.contiguous_format
        return output

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        parts = gradient[:, : context.channels], gradient[:, context.channels :]
        first, second = (part.contiguous(memory_format=context.memory_format) for part in parts)
        return first, second


def set_memory_format(
    generator: nn.Module, memory_format: torch.memory_format, px: int, batch: int
) -> None:
    """Puts the weights of a generator into a memory format, in place.

    On a CPU, the weights of layers that use a matrix product stay contiguous.

    Args:
        generator: a generator of `architectures`.
        memory_format: the memory format.
        px: side of the training pictures.
        batch: pictures in a training batch.
    """
    generator.to(memory_format=memory_format)
    for layer in generator.modules():
        if isinstance(layer, DownConv | UpConv):
            n_rows = batch * (px >> layer.depth) ** 2
            if _uses_gemm(layer.weight, n_rows, layer.max_gemm_rows):
                layer.weight.data = layer.weight.data.contiguous()


def _uses_gemm(tensor: Tensor, n_rows: int, max_rows: int) -> bool:
    return tensor.device.type == "cpu" and n_rows <= max_rows
