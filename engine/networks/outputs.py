"""Builds generators: a U-Net and an output, which makes a picture from the U-Net's values.

There is one builder for each row of `options.outputs`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import ResNet

from engine.config import Budget, Configuration
from engine.images import color
from engine.networks.architectures import build_trunk
from engine.networks.ink import apply_ink, ink_of
from engine.networks.palette_generator import PaletteGenerator
from engine.networks.source_conditioning import ReadingUNet, SourceConditioning, SourceMaps
from engine.networks.source_features import FrozenFeatures
from engine.options.outputs import OUTPUTS

AB_RANGE = 110.0  # All sRGB colours have an a and b between -110 and 110.


class LuminancePreserving(nn.Module):
    """Adds colour to a grey picture: predicts a and b of CIE Lab, and keeps the lightness.

    Colours outside the sRGB gamut are desaturated until they fit (`color.fit_to_gamut`).

    Args:
        network: source -> a and b divided by 110, [N, 2, H, W] in [-1, 1]. It receives all
            arguments of `forward`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor, *features: FrozenFeatures) -> Tensor:
        """Grey source [N, 3, H, W] in [-1, 1] -> picture [N, 3, H, W] in [-1, 1]."""
        output = self.network(source, *features)
        with torch.autocast(source.device.type, enabled=False):
            grey = (source[:, :1].float() + 1) / 2
            lightness = color.srgb_to_lab(grey.expand(-1, 3, -1, -1))[0][:, None]
            a, b = (AB_RANGE * output.float()).split(1, dim=1)
            linear = color.lab_to_linear(lightness, a, b)
            fitted = torch.cat(color.fit_to_gamut(linear, color.srgb_to_linear(grey)), dim=1)
            return color.linear_to_srgb(fitted.clamp(0, 1)) * 2 - 1


class LineFill(nn.Module):
    """Colours line art: paints a fill, and multiplies it by the lightness of the source.

    Args:
        network: source -> fill [N, 3, H, W] in [-1, 1]. It receives all arguments of `forward`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor, *features: FrozenFeatures) -> Tensor:
        """Source [N, 3, H, W] in [-1, 1] -> picture [N, 3, H, W] in [-1, 1]."""
        return apply_ink(self.decode_fill(source, *features), ink_of(source.float()))

    def decode_fill(self, source: Tensor, *features: FrozenFeatures) -> Tensor:
        """Source [N, 3, H, W] in [-1, 1] -> fill [N, H, W, 3] in [0, 1], without lines."""
        fill: Tensor = self.network(source, *features)
        return (fill.float().permute(0, 2, 3, 1) + 1) / 2


class Pretrained(NamedTuple):
    """The pretrained parts of a new generator; what is None is initialised randomly.

    Attributes:
        encoder: the encoder of `build_encoder`.
        reader_weights: file of the weights of the network that reads the source.
    """

    encoder: ResNet | None = None
    reader_weights: Path | None = None


def _build_network(
    budget: Budget, configuration: Configuration, pretrained: Pretrained, out_channels: int
) -> nn.Module:
    """Builds a U-Net, which also reads pretrained features if the configuration names them.

    A U-Net with pretrained features has no dropout.
    """
    reads_features = configuration.source_features != "none"
    trunk = build_trunk(budget, pretrained.encoder, out_channels, has_dropout=not reads_features)
    if not reads_features:
        return trunk
    return ReadingUNet(trunk, SourceMaps(trunk, budget.px, pretrained.reader_weights))


def _build_rgb(budget: Budget, configuration: Configuration, pretrained: Pretrained) -> nn.Module:
    return _build_network(budget, configuration, pretrained, OUTPUTS["rgb"].channels)


def _build_lab_ab(
    budget: Budget, configuration: Configuration, pretrained: Pretrained
) -> nn.Module:
    channels = OUTPUTS["lab_ab"].channels
    return LuminancePreserving(_build_network(budget, configuration, pretrained, channels))


def _build_line_fill(
    budget: Budget, configuration: Configuration, pretrained: Pretrained
) -> nn.Module:
    channels = OUTPUTS["line_fill"].channels
    return LineFill(_build_network(budget, configuration, pretrained, channels))


def _build_palette(
    budget: Budget, configuration: Configuration, pretrained: Pretrained
) -> nn.Module:
    trunk = build_trunk(budget, pretrained.encoder, budget.base_channels, has_features=True)
    n_colours = configuration.n_colours
    conditioning = None
    if configuration.source_features != "none":
        conditioning = SourceConditioning(trunk, budget.px, pretrained.reader_weights, n_colours)
    return PaletteGenerator(
        trunk, n_colours, configuration.regions, conditioning, configuration.parsed_decoding
    )


NOT_PRETRAINED = Pretrained()
Builder = Callable[[Budget, Configuration, Pretrained], nn.Module]
BUILDERS: dict[str, Builder] = {
    "rgb": _build_rgb,
    "lab_ab": _build_lab_ab,
    "line_fill": _build_line_fill,
    "palette": _build_palette,
}
assert BUILDERS.keys() == OUTPUTS.keys(), "an output has no builder, or no row"


def build_generator(
    budget: Budget, configuration: Configuration, pretrained: Pretrained = NOT_PRETRAINED
) -> nn.Module:
    """Builds a generator; initialises all weights randomly, except those of pretrained parts.

    Args:
        budget: the size of the network.
        configuration: the output of the network.
        pretrained: the pretrained parts.
    """
    return BUILDERS[configuration.output_at(budget).name](budget, configuration, pretrained)
