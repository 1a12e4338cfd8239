"""The networks of a run: U-Net generator, ResNet-18 U-Net generator, PatchGAN discriminator.

U-Net and PatchGAN follow Isola et al. 2017, "Image-to-Image Translation with Conditional
Adversarial Networks", section 6.1. Pictures are [N, 3, H, W] in [-1, 1].
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import ResNet

from engine.config import Budget, UpconvInit
from engine.networks.backbones import IMAGENET_MEAN, IMAGENET_STD, load_resnet18
from engine.networks.layers import DownConv, UpConv, concat_skip

NO_ADDITIONS: Mapping[int, Tensor] = MappingProxyType({})


class UNetGenerator(nn.Module):
    """An encoder and a decoder of 4x4 convolutions with skips between equal resolutions.

    The first layer and the bottleneck have no norm. The three innermost decoder blocks have dropout
    0.5.

    Args:
        widths: channels at each level, outermost first; each level halves the side.
        norm: `batch` or `instance`.
        out_channels: channels of the output.
        has_dropout: whether the innermost decoder blocks have dropout.
        last_layers: the layers after the last transposed convolution; None: tanh.
    """

    def __init__(
        self,
        widths: Sequence[int],
        norm: str,
        out_channels: int,
        has_dropout: bool = True,
        last_layers: Sequence[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        n_levels = len(widths)
        self.level_channels = {2 ** (level + 1): width for level, width in enumerate(widths)}
        self.bottleneck_channels, self.feature_channels = widths[-1], out_channels
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for level, width in enumerate(widths):
            is_outermost, is_innermost = level == 0, level == n_levels - 1
            in_channels = 3 if is_outermost else widths[level - 1]
            layers: list[nn.Module] = [] if is_outermost else [nn.LeakyReLU(0.2)]
            layers.append(DownConv(in_channels, width, depth=level + 1))
            if not is_innermost and not is_outermost:
                layers.append(build_norm(norm, width))
            self.down.append(nn.Sequential(*layers))
        for level in reversed(range(n_levels)):
            in_channels = widths[level] * (1 if level == n_levels - 1 else 2)
            if level == 0:
                last = [nn.Tanh()] if last_layers is None else last_layers
                layers = [nn.ReLU(), UpConv(in_channels, out_channels, depth=1), *last]
            else:
                width = widths[level - 1]
                layers = [nn.ReLU(), UpConv(in_channels, width, depth=level + 1)]
                layers += [build_norm(norm, width)]
                if has_dropout and level >= max(n_levels - 3, 1):
                    layers += [nn.Dropout(0.5)]
            self.up.append(nn.Sequential(*layers))

    def forward(self, source: Tensor) -> Tensor:
        """Source [N, 3, H, W] in [-1, 1] -> output [N, out_channels, H, W] in [-1, 1]."""
        return self.compute_features(source)[0]

    def compute_features(
        self,
        source: Tensor,
        additions: Mapping[int, Tensor] = NO_ADDITIONS,
        drawing: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Computes the last layer's maps and the innermost maps.

        Args:
            source: [N, 3, H, W] in [-1, 1].
            additions: stride -> maps that are added to the encoder's maps of this stride.
            drawing: [N, bottleneck_channels], added to the innermost maps; None: nothing is added.

        Returns:
            [N, out_channels, H, W] and [N, bottleneck_channels, h, w].
        """
        skips, bottleneck = _encode(self, source, additions, drawing)
        x = bottleneck
        for block, skip in zip(self.up, [None, *skips[-2::-1]], strict=True):
            x = block(x if skip is None else concat_skip(x, skip))
        return x, bottleneck


class ResNetUNetGenerator(nn.Module):
    """A U-Net decoder on a ResNet-18 encoder, as in study 2.

    Args:
        encoder: a torchvision ResNet-18, pretrained or not.
        base_channels: channels of the decoder's last level, before the output layer.
        norm: `batch` or `instance`, for the decoder.
        out_channels: channels of the output; None: the output is that of the decoder.
    """

    def __init__(
        self, encoder: ResNet, base_channels: int, norm: str, out_channels: int | None
    ) -> None:
        super().__init__()
        # Buffers that are not persistent are not saved in checkpoints.
        self.mean = nn.Buffer(torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.std = nn.Buffer(torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.level_channels = {2: 64, 4: 64, 8: 128, 16: 256, 32: 512}
        self.bottleneck_channels, self.feature_channels = 512, out_channels or base_channels
        stem = nn.Sequential(encoder.conv1, encoder.bn1, encoder.relu)
        first = nn.Sequential(encoder.maxpool, encoder.layer1)
        self.down = nn.ModuleList([stem, first, encoder.layer2, encoder.layer3, encoder.layer4])
        widths = [base_channels * factor for factor in (4, 2, 1, 1, 1)]
        in_widths, skip_widths = [512, *widths[:-1]], [256, 128, 64, 64, 0]
        n_levels = len(widths)
        self.up = nn.ModuleList(
            nn.Sequential(
                UpConv(in_width, in_width, depth=n_levels - index),
                build_norm(norm, in_width),
                nn.ReLU(),
            )
            for index, in_width in enumerate(in_widths)
        )
        self.merge = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(in_width + skip_width, width, 3, 1, 1),
                build_norm(norm, width),
                nn.ReLU(),
            )
            for in_width, skip_width, width in zip(in_widths, skip_widths, widths, strict=True)
        )
        self.head: nn.Module = nn.Identity()
        if out_channels is not None:
            self.head = nn.Sequential(nn.Conv2d(base_channels, out_channels, 3, 1, 1), nn.Tanh())

    def forward(self, source: Tensor) -> Tensor:
        """Source [N, 3, H, W] in [-1, 1] -> output [N, out_channels, H, W] in [-1, 1]."""
        return self.compute_features(source)[0]

    def compute_features(
        self,
        source: Tensor,
        additions: Mapping[int, Tensor] = NO_ADDITIONS,
        drawing: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Computes the last layer's maps and the innermost maps, as `UNetGenerator` does."""
        normalised = ((source + 1) / 2 - self.mean) / self.std
        skips, bottleneck = _encode(self, normalised, additions, drawing)
        x = bottleneck
        for up, merge, skip in zip(self.up, self.merge, [*skips[-2::-1], None], strict=True):
            x = up(x)
            x = merge(x if skip is None else concat_skip(x, skip))
        return cast(Tensor, self.head(x)), bottleneck


class PatchDiscriminator(nn.Module):
    """The 70x70 PatchGAN: one logit for each of many overlapping patches.

    Args:
        base_channels: channels of the first layer.
        norm: `batch` or `instance`.
        is_conditional: whether the input is source and picture; else only the picture.
    """

    def __init__(self, base_channels: int, norm: str, is_conditional: bool = True) -> None:
        super().__init__()
        self.is_conditional = is_conditional
        widths = [base_channels * factor for factor in (1, 2, 4, 8)]
        in_channels = 6 if is_conditional else 3
        layers: list[nn.Module] = [nn.Conv2d(in_channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for in_width, width, stride in zip(widths[:-1], widths[1:], (2, 2, 1), strict=True):
            layers += [nn.Conv2d(in_width, width, 4, stride, 1), build_norm(norm, width)]
            layers += [nn.LeakyReLU(0.2)]
        layers += [nn.Conv2d(widths[-1], 1, 4, 1, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, source: Tensor, picture: Tensor) -> Tensor:
        """Source and picture [N, 3, H, W] in [-1, 1] -> logits [N, 1, h, w], one per patch."""
        inputs = torch.cat([source, picture], dim=1) if self.is_conditional else picture
        return cast(Tensor, self.layers(inputs))


def build_encoder(budget: Budget, path: Path | None = None) -> ResNet | None:
    """Builds the encoder of a budget's generator: a ResNet-18, or None for a U-Net.

    Args:
        budget: the budget.
        path: file of ImageNet weights; None: the encoder is initialised randomly.
    """
    return load_resnet18(path) if budget.has_encoder else None


def build_trunk(
    budget: Budget,
    encoder: ResNet | None,
    out_channels: int,
    has_features: bool = False,
    has_dropout: bool = True,
) -> UNetGenerator | ResNetUNetGenerator:
    """Builds a budget's U-Net; initialises all weights randomly, except those of the encoder.

    Args:
        budget: the budget.
        encoder: the encoder of `build_encoder`; None: the encoder is initialised randomly, too.
        out_channels: channels of the output.
        has_features: whether the output is features for heads, [N, base_channels, H, W], instead
            of values in [-1, 1]. This U-Net has no dropout.
        has_dropout: whether the innermost decoder blocks of a U-Net without a ResNet encoder have
            dropout.
    """
    if budget.has_encoder:
        encoder = load_resnet18(None) if encoder is None else encoder
        channels = None if has_features else out_channels
        generator = ResNetUNetGenerator(encoder, budget.base_channels, budget.norm, channels)
        for part in (generator.up, generator.merge, generator.head):
            part.apply(init_weights)
        _init_upconvs(generator, budget)
        return generator
    if has_features:
        width = budget.base_channels
        last_layers = (build_norm(budget.norm, width), nn.ReLU())
        unet = UNetGenerator(budget.widths, budget.norm, width, False, last_layers)
    else:
        unet = UNetGenerator(budget.widths, budget.norm, out_channels, has_dropout)
    unet.apply(init_weights)
    _init_upconvs(unet, budget)
    return unet


def _init_upconvs(generator: nn.Module, budget: Budget) -> None:
    """Initialises the transposed convolutions of a generator as its budget says.

    The input of the innermost one may be a single pixel, so an even start gives an even output. An
    instance norm would turn that into rounding noise: with it, the layer keeps its weights.
    """
    layers = [layer for layer in generator.modules() if isinstance(layer, UpConv)]
    for layer in layers[1:] if budget.norm == "instance" else layers:
        init_upconv(layer, budget.upconv_init)


def build_discriminator(budget: Budget) -> PatchDiscriminator:
    """Builds a budget's discriminator with random initial weights."""
    is_conditional = budget.discriminator == "conditional"
    discriminator = PatchDiscriminator(budget.base_channels, budget.norm, is_conditional)
    discriminator.apply(init_weights)
    for layer in discriminator.modules():
        if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            init_upconv(layer, budget.upconv_init)
    return discriminator


def init_weights(module: nn.Module) -> None:
    """Initialises convolutions from N(0, 0.02) and norms from N(1, 0.02); sets biases to 0.

    Source: Isola et al. 2017, section 6.2.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


@torch.no_grad()
def init_upconv(layer: UpConv | nn.Conv2d, init: UpconvInit) -> None:
    """Changes the initial weights of a transposed convolution, in place, so that it weaves less.

    A convolution with stride 2 is changed in the same way: its gradient is the transposed
    convolution with the same weights, and a discriminator passes this gradient to the generator.

    The layer computes each of the four phases of its output (even or odd row, even or odd column)
    with a sub-kernel of 2x2 weights of its own. With independent sub-kernels, a constant input
    gives four different values, a checkerboard (Odena et al. 2016, "Deconvolution and Checkerboard
    Artifacts"). All initialisations but `normal` give a constant output, apart from the border:

    - `normal`: keeps the independent weights of `init_weights`.
    - `equal`: the four sub-kernels are equal: a 2x2 convolution whose output is enlarged to
      nearest neighbours (Aitken et al. 2017, "Checkerboard artifact free sub-pixel convolution").
    - `resize`: the input is enlarged to nearest neighbours, then convolved with a 3x3 kernel.
    - `bilinear`: the channels are mixed at random, and the result is enlarged bilinearly.

    The output for a constant input has the same variance in all four cases. The weights are made
    from the layer's present weights and take no random numbers, so that all other initial weights
    of a run do not depend on the initialisation.

    Args:
        layer: a transposed convolution [C, D, 4, 4], or a convolution with stride 2 [C, D, 4, 4],
            with weights of `init_weights`.
        init: the initialisation.
    """
    layer.weight.copy_(_UPCONV_WEIGHTS[init](layer.weight))


def _equal_phases(weight: Tensor) -> Tensor:
    """[C, D, 4, 4] -> [C, D, 4, 4]: the sub-kernel of even rows and columns for all phases."""
    return weight[..., 1::2, 1::2].repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)


def _resize_phases(weight: Tensor) -> Tensor:
    """[C, D, 4, 4] -> [C, D, 4, 4]: nearest neighbours and the first 3x3 weights as one kernel."""
    # A constant input meets 9 weights instead of 4: 2/3 of their size gives the same variance.
    kernel = weight[..., :3, :3] * (2 / 3)
    shifted = [
        functional.pad(kernel, (column, 1 - column, row, 1 - row))
        for row in (0, 1)
        for column in (0, 1)
    ]
    return torch.stack(shifted).sum(0)


def _bilinear_phases(weight: Tensor) -> Tensor:
    """[C, D, 4, 4] -> [C, D, 4, 4]: the sum of one sub-kernel times the bilinear kernel."""
    mixing = weight[..., 1::2, 1::2].sum(dim=(-2, -1), keepdim=True)
    bell = weight.new_tensor([0.25, 0.75, 0.75, 0.25])
    return mixing * bell[:, None] * bell


_UPCONV_WEIGHTS: Mapping[UpconvInit, Callable[[Tensor], Tensor]] = {
    "normal": lambda weight: weight,
    "equal": _equal_phases,
    "resize": _resize_phases,
    "bilinear": _bilinear_phases,
}


def build_norm(name: str, channels: int) -> nn.Module:
    """Builds a norm of feature maps: `batch` or `instance`."""
    if name == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels, affine=True)


def _encode(
    network: UNetGenerator | ResNetUNetGenerator,
    x: Tensor,
    additions: Mapping[int, Tensor],
    drawing: Tensor | None,
) -> tuple[list[Tensor], Tensor]:
    """Computes the maps of each level, and the innermost maps with `drawing` added."""
    skips: list[Tensor] = []
    for stride, block in zip(network.level_channels, network.down, strict=True):
        x = _add(block(x), additions.get(stride))
        skips.append(x)
    return skips, _add(x, None if drawing is None else drawing[:, :, None, None])


def _add(maps: Tensor, addition: Tensor | None) -> Tensor:
    return maps if addition is None else maps + addition.to(maps.dtype)
