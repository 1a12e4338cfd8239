"""Reads a source with a pretrained EfficientNet-Lite0: maps at three strides and a code.

The early blocks are frozen, so that their maps can be computed once for each training source
(`training.source_feature_cache`). The late blocks are trained with the generator. A frozen copy of
the late blocks describes the whole picture by 1,280 features, of which the code keeps the 96
whitened principal components. Not here: the layers that add maps and code to a generator.
"""

import copy
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.networks import backbones
from engine.networks.drawing_geometry import N_FIGURES
from engine.networks.efficientnet_lite import FEATURES, EfficientNetLite

NETWORK = "efficientnet_lite0"
# Sources of up to this side are doubled first, so that the strides 8, 16 and 32 of the maps are
# strides 4, 8 and 16 of the source, where a drawing of 64 px still has shapes.
MAX_DOUBLED_PX = 128
# The blocks end with the last map of stride 8, of stride 16 and of stride 32.
STRIDE_8_BLOCKS, STRIDE_16_BLOCKS = slice(0, 5), slice(5, 11)
LATE_BLOCKS = slice(11, 16)
MAP_CHANNELS = (40, 112, 320)
CODE_SIZE = 96
# A principal component with a smaller share of the largest variance is rounding noise.
MIN_VARIANCE_SHARE = 1e-6
MIN_STD = 1e-3  # of a channel; channels that are nearly constant are not enlarged
# The means and standard deviations of the maps are fitted on this many pictures: every picture has
# at least 16 positions at a side of 128 px, so that more pictures change them little.
N_MAP_PICTURES = 256
PICTURES_PER_PASS = 16


class FrozenFeatures(NamedTuple):
    """The features of sources that no training changes.

    Attributes:
        stride8: maps [N, 40, h, w] after block 4.
        stride16: maps [N, 112, h / 2, w / 2] after block 10.
        pooled: [N, 1280] means of the last map.
    """

    stride8: Tensor
    stride16: Tensor
    pooled: Tensor


class SourceFeatures(NamedTuple):
    """The features of sources as a generator uses them.

    Attributes:
        maps: standardised maps [N, 40, h, w], [N, 112, h / 2, w / 2] and [N, 320, h / 4, w / 4].
        code: [N, 96] whitened principal components of the pooled features.
    """

    maps: tuple[Tensor, Tensor, Tensor]
    code: Tensor


class Standardisation(nn.Module):
    """Subtracts a fixed mean from each channel and divides by a fixed standard deviation.

    Both are fitted once and stored with the weights. Until then the channels are left unchanged.

    Args:
        n_channels: the size of dimension 1 of the values.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(n_channels))
        self.std = nn.Buffer(torch.ones(n_channels))

    @torch.no_grad()
    def fit(self, values: Tensor) -> None:
        """Fits mean and standard deviation (at least `MIN_STD`) to values [N, C, ...]."""
        columns = values.double().transpose(0, 1).flatten(1)  # [C, N ...]
        self.mean.copy_(columns.mean(1))
        self.std.copy_(columns.std(1, correction=0).clamp_min(MIN_STD))

    def forward(self, values: Tensor) -> Tensor:
        """Values [N, C, ...] -> standardised values of the same shape."""
        shape = (1, -1) + (1,) * (values.dim() - 2)
        return (values - self.mean.view(shape)) / self.std.view(shape)


class SourceReader(nn.Module):
    """EfficientNet-Lite0 that reads sources: frozen early blocks, trainable late blocks.

    All norms are fused with their convolutions, so that training and evaluation are the same
    function. All values are float32 under autocast too: depthwise convolutions are not faster in
    bf16. Every tensor is in the state dict, so that a checkpoint needs no file of weights.

    Args:
        path: file of weights; None: random initial weights, for a checkpoint to replace.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        network = (
            EfficientNetLite(NETWORK).eval().requires_grad_(False)
            if path is None
            else backbones.load_efficientnet_lite(NETWORK, path)
        )
        network.fuse_norms()
        blocks = network.blocks
        self.early = nn.ModuleList(
            [
                nn.Sequential(network.stem, *blocks[STRIDE_8_BLOCKS]),
                nn.Sequential(*blocks[STRIDE_16_BLOCKS]),
            ]
        )
        self.frozen_late = nn.Sequential(*blocks[LATE_BLOCKS], network.head)
        self.late = copy.deepcopy(nn.Sequential(*blocks[LATE_BLOCKS])).requires_grad_(True)
        self.map_scales = nn.ModuleList(Standardisation(channels) for channels in MAP_CHANNELS)
        self.geometry_scale = Standardisation(N_FIGURES)
        self.code_mean = nn.Buffer(torch.zeros(FEATURES))
        self.code_components = nn.Buffer(torch.zeros(FEATURES, CODE_SIZE))
        # Depthwise convolutions are fastest in channels_last.
        self.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def read_frozen(self, source: Tensor) -> FrozenFeatures:
        """Computes the features that training does not change.

        Args:
            source: [N, 3, H, W] in [-1, 1]; H and W are multiples of 32.
        """
        with torch.autocast(source.device.type, enabled=False):
            pictures = _to_network_range(source.float())
            stride8 = self.early[0](pictures)
            stride16 = self.early[1](stride8)
            pooled = self.frozen_late(stride16).mean((2, 3))
        return FrozenFeatures(stride8, stride16, pooled)

    def forward(self, frozen: FrozenFeatures) -> SourceFeatures:
        """Computes maps and code from the result of `read_frozen`, or from its stored values."""
        with torch.autocast(frozen.pooled.device.type, enabled=False):
            stride8, stride16, pooled = (values.float() for values in frozen)
            stride32 = self.late(stride16)
            scale8, scale16, scale32 = self.map_scales
            maps = (scale8(stride8), scale16(stride16), scale32(stride32))
            code = (pooled - self.code_mean) @ self.code_components
        return SourceFeatures(maps, code)

    @torch.no_grad()
    def fit(self, frozen: FrozenFeatures) -> None:
        """Fits the scales of the maps and the whitening of the code to training sources.

        Call it once, before the training and before the moving average is copied. The scales of the
        maps are fitted to the first `N_MAP_PICTURES` pictures, the whitening to all. The scale of
        the geometry has its own `fit`, because not every drawing has regions.
        """
        stride8, stride16 = (
            values[:N_MAP_PICTURES].float() for values in (frozen.stride8, frozen.stride16)
        )
        stride32 = torch.cat([self.late(maps) for maps in torch.split(stride16, PICTURES_PER_PASS)])
        for scale, maps in zip(self.map_scales, (stride8, stride16, stride32), strict=True):
            assert isinstance(scale, Standardisation)
            scale.fit(maps)
        mean, components = fit_whitening(frozen.pooled)
        self.code_mean.copy_(mean)
        self.code_components.copy_(components)


def fit_whitening(pooled: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the whitened principal components of features.

    `(pooled - mean) @ components` has the mean 0 and the identity as covariance (divisor N - 1).
    The components are sorted by variance, the largest first. Those with less than
    `MIN_VARIANCE_SHARE` of the largest variance are zeros, and so are all after the first N - 1.
    The sign of each component makes its largest weight positive. Computed in float64 on the CPU.

    Args:
        pooled: [N, D] features of the training sources.

    Returns:
        The mean [D] and the components [D, 96], both float32 on the CPU.
    """
    rows = pooled.detach().double().cpu()
    mean = rows.mean(0)
    centred = rows - mean
    covariance = centred.T @ centred / max(len(rows) - 1, 1)
    variances, directions = torch.linalg.eigh(covariance)  # ascending
    variances, directions = variances.flip(0)[:CODE_SIZE], directions.flip(1)[:, :CODE_SIZE]
    is_kept = variances > max(MIN_VARIANCE_SHARE * float(variances[0]), torch.finfo().tiny)
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))  # [1, 96]
    scales = torch.where(is_kept, variances.clamp_min(torch.finfo().tiny).rsqrt(), 0.0)
    components = directions * largest.sign() * scales
    padding = CODE_SIZE - components.shape[1]  # if there are fewer than 96 features
    return mean.float(), functional.pad(components, (0, padding)).float()


def network_side(px: int) -> int:
    """Returns the side of the pictures that the network reads, for sources of a side."""
    return 2 * px if px <= MAX_DOUBLED_PX else px


def map_strides(px: int) -> tuple[int, int, int]:
    """Returns the strides of the three maps in pixels of the source."""
    enlargement = network_side(px) // px
    return 8 // enlargement, 16 // enlargement, 32 // enlargement


def map_shapes(px: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Returns the shapes [C, h, w] of the frozen maps of a source."""
    side = network_side(px)
    return (MAP_CHANNELS[0], side // 8, side // 8), (MAP_CHANNELS[1], side // 16, side // 16)


def _to_network_range(source: Tensor) -> Tensor:
    """Sources [N, 3, H, W] in [-1, 1] -> enlarged pictures in channels_last and Lite0's range.

    Lite0 expects (byte - 127) / 128. The bilinear enlargement keeps the range, so it comes last.
    """
    height, width = source.shape[2:]
    pictures = source * (127.5 / 128) + 0.5 / 128
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    if max(height, width) > MAX_DOUBLED_PX:
        return pictures
    return functional.interpolate(
        pictures, (2 * height, 2 * width), mode="bilinear", align_corners=False
    )
