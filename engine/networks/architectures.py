"""The three networks: U-Net generator, ResNet-18 U-Net generator, PatchGAN discriminator.

After Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks",
section 6.1. Pictures are [N, 3, H, W] in [-1, 1].
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models import ResNet

from engine.config import Budget
from engine.images import color
from engine.networks.backbones import IMAGENET_MEAN, IMAGENET_STD
from engine.networks.layers import Doubling, Halving, join

AB_REACH = 110.0  # of a and b; sRGB's colours lie within


class UNetGenerator(nn.Module):
    """An encoder and a decoder of 4x4 convolutions with skips between equal resolutions.

    No norm on the first layer nor at the bottleneck; dropout 0.5 in the three innermost decoder
    blocks.

    Args:
        widths: channels at each level, outermost first; each level halves the side.
        norm: `batch` or `instance`.
        made: channels that it makes.
    """

    def __init__(self, widths: Sequence[int], norm: str, made: int) -> None:
        super().__init__()
        levels = len(widths)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for level in range(levels):
            before = 3 if level == 0 else widths[level - 1]
            inner, outermost = level == levels - 1, level == 0
            layers: list[nn.Module] = [] if outermost else [nn.LeakyReLU(0.2)]
            layers.append(Halving(before, widths[level]))
            if not inner and not outermost:
                layers.append(_norm(norm, widths[level]))
            self.down.append(nn.Sequential(*layers))
        for level in reversed(range(levels)):
            width = widths[level] * (1 if level == levels - 1 else 2)
            layers = [nn.ReLU()]
            if level == 0:
                layers += [Doubling(width, made), nn.Tanh()]
            else:
                layers += [Doubling(width, widths[level - 1])]
                layers += [_norm(norm, widths[level - 1])]
                if level >= max(levels - 3, 1):
                    layers += [nn.Dropout(0.5)]
            self.up.append(nn.Sequential(*layers))

    def forward(self, source: Tensor) -> Tensor:
        """Source [N, 3, H, W] in [-1, 1] -> [N, made, H, W], likewise."""
        skips = []
        x = source
        for block in self.down:
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.up, [None, *skips[-2::-1]], strict=True):
            x = block(x if skip is None else join(x, skip))
        return x


class ResNetUNetGenerator(nn.Module):
    """A U-Net decoder on a ResNet-18 encoder, as study 2 has it.

    Args:
        encoder: a torchvision ResNet-18, pretrained or not.
        base_channels: width of the decoder's last layer.
        norm: `batch` or `instance`, for the decoder.
        made: channels that it makes.
    """

    def __init__(self, encoder: ResNet, base_channels: int, norm: str, made: int) -> None:
        super().__init__()
        # Not saved: they are the encoder's, not the run's.
        self.mean = nn.Buffer(torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.std = nn.Buffer(torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        stem = nn.Sequential(encoder.conv1, encoder.bn1, encoder.relu)
        first = nn.Sequential(encoder.maxpool, encoder.layer1)
        self.down = nn.ModuleList([stem, first, encoder.layer2, encoder.layer3, encoder.layer4])
        decoder = [base_channels * factor for factor in (4, 2, 1, 1, 1)]
        before, skips = [512, *decoder[:-1]], [256, 128, 64, 64, 0]
        self.up = nn.ModuleList(
            nn.Sequential(
                Doubling(inner, inner),
                _norm(norm, inner),
                nn.ReLU(),
            )
            for inner in before
        )
        self.merge = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inner + skip, width, 3, 1, 1),
                _norm(norm, width),
                nn.ReLU(),
            )
            for inner, skip, width in zip(before, skips, decoder, strict=True)
        )
        self.head = nn.Sequential(nn.Conv2d(base_channels, made, 3, 1, 1), nn.Tanh())

    def forward(self, source: Tensor) -> Tensor:
        """Source [N, 3, H, W] in [-1, 1] -> [N, made, H, W], likewise."""
        skips = []
        x = ((source + 1) / 2 - self.mean) / self.std
        for block in self.down:
            x = block(x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, [*skips[-2::-1], None], strict=True):
            x = up(x)
            x = merge(x if skip is None else join(x, skip))
        return cast(Tensor, self.head(x))


class GreyKeeping(nn.Module):
    """Adds colour to a grey picture: a network makes a and b of CIE Lab, the lightness stays.

    A colour that no screen shows is paled until one does (`color.pale`).

    Args:
        network: source -> [N, 2, H, W] in [-1, 1], a and b in parts of 110.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor) -> Tensor:
        """Grey source [N, 3, H, W] in [-1, 1] -> picture of the same lightness, likewise."""
        made = self.network(source)
        with torch.autocast(source.device.type, enabled=False):
            grey = (source[:, :1].float() + 1) / 2
            lightness = color.lab(grey.expand(-1, 3, -1, -1))[0][:, None]
            a, b = (AB_REACH * made.float()).split(1, dim=1)
            colours = color.linear_rgb(lightness, a, b)
            shown = torch.cat(color.pale(colours, color.decode(grey)), dim=1)
            return color.encode(shown.clamp(0, 1)) * 2 - 1


class PatchDiscriminator(nn.Module):
    """The 70x70 PatchGAN: judges overlapping patches.

    Args:
        base_channels: width of the first layer.
        norm: `batch` or `instance`.
        sees_source: whether it judges (source, picture) pairs, or pictures alone.
    """

    def __init__(self, base_channels: int, norm: str, sees_source: bool = True) -> None:
        super().__init__()
        self.sees_source = sees_source
        widths = [base_channels * factor for factor in (1, 2, 4, 8)]
        seen = 6 if sees_source else 3
        layers: list[nn.Module] = [nn.Conv2d(seen, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for before, width, stride in zip(widths[:-1], widths[1:], (2, 2, 1), strict=True):
            layers += [nn.Conv2d(before, width, 4, stride, 1), _norm(norm, width)]
            layers += [nn.LeakyReLU(0.2)]
        layers += [nn.Conv2d(widths[-1], 1, 4, 1, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, source: Tensor, picture: Tensor) -> Tensor:
        """Two [N, 3, H, W] in [-1, 1] -> logits [N, 1, h, w], one per patch."""
        seen = torch.cat([source, picture], dim=1) if self.sees_source else picture
        return cast(Tensor, self.layers(seen))


def build_generator(budget: Budget, encoder: ResNet | None = None) -> nn.Module:
    """The budget's generator with fresh weights; `encoder` is the ResNet-18 where one is asked."""
    made = 2 if budget.output == "lab_ab" else 3
    generator: nn.Module
    if budget.generator == "resnet18_unet":
        assert encoder is not None, "a resnet18_unet needs its encoder"
        generator = ResNetUNetGenerator(encoder, budget.base_channels, budget.norm, made)
        for part in (generator.up, generator.merge, generator.head):
            part.apply(initialise)
    else:
        generator = UNetGenerator(budget.widths, budget.norm, made).apply(initialise)
    return GreyKeeping(generator) if budget.output == "lab_ab" else generator


def build_discriminator(budget: Budget) -> PatchDiscriminator:
    """The budget's discriminator with fresh weights."""
    sees_source = budget.discriminator == "conditional"
    discriminator = PatchDiscriminator(budget.base_channels, budget.norm, sees_source)
    discriminator.apply(initialise)
    return discriminator


def initialise(module: nn.Module) -> None:
    """Convolutions normal(0, 0.02), norm weights normal(1, 0.02), biases 0 (Isola et al. 6.2)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _norm(name: str, channels: int) -> nn.Module:
    if name == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels, affine=True)
