"""Brings pretrained features of the source into a U-Net, and describes whole drawings.

The features are those of `source_features.SourceReader`. Maps are added to the encoder's maps of
the same size. For line art, the theme, a short description of the whole drawing, is added to the
innermost maps, helps the region head, and estimates the colours of the whole picture.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.networks.architectures import ResNetUNetGenerator, UNetGenerator
from engine.networks.drawing_geometry import N_FIGURES, drawing_geometry
from engine.networks.source_features import (
    CODE_SIZE,
    MAP_CHANNELS,
    FrozenFeatures,
    SourceReader,
    map_strides,
)

THEME_CHANNELS, THEME_HIDDEN_CHANNELS = 64, 256
MAP_DROPOUT, CODE_DROPOUT, THEME_DROPOUT = 0.2, 0.2, 0.5
COLOURFULNESS_UNIT = 50.0


class MapConditions(NamedTuple):
    """What a U-Net receives from the source.

    Attributes:
        additions: stride -> maps that are added to the encoder's maps of this stride.
        drawing: [N, D], added to the innermost maps of the U-Net.
        code: [N, CODE_SIZE], the whitened features of the whole source.
    """

    additions: dict[int, Tensor]
    drawing: Tensor
    code: Tensor


class Conditions(NamedTuple):
    """What the U-Net and the heads of a palette generator receive from the source.

    Attributes:
        additions: stride -> maps that are added to the encoder's maps of this stride.
        drawing: [N, D], added to the innermost maps of the U-Net.
        theme: [N, THEME_CHANNELS], a description of the whole drawing.
        colourfulness: [N], the estimated colourfulness of the picture.
        share_logits: [N, K], of the shares of palette colours in the picture.
    """

    additions: dict[int, Tensor]
    drawing: Tensor
    theme: Tensor
    colourfulness: Tensor
    share_logits: Tensor


class SourceMaps(nn.Module):
    """Fits the pretrained features of a source into the levels of a U-Net, in float32.

    Args:
        trunk: the U-Net that receives the features.
        px: side of the pictures.
        weights: file of the pretrained weights; None: random initial weights, for a checkpoint to
            replace.
    """

    def __init__(
        self, trunk: UNetGenerator | ResNetUNetGenerator, px: int, weights: Path | None
    ) -> None:
        super().__init__()
        self.reader = SourceReader(weights)
        self.strides = map_strides(px)
        self.dropout = nn.Dropout2d(MAP_DROPOUT)
        self.projections = nn.ModuleList(
            _build_projection(channels, trunk.level_channels[stride])
            for stride, channels in zip(self.strides, MAP_CHANNELS, strict=True)
        )
        self.to_drawing = nn.Linear(MAP_CHANNELS[-1], trunk.bottleneck_channels)

    def forward(self, frozen: FrozenFeatures) -> MapConditions:
        """Computes the conditions of sources from their frozen features."""
        with torch.autocast(frozen.pooled.device.type, enabled=False):
            features = self.reader(frozen)
            additions = {
                stride: projection(self.dropout(maps))
                for stride, projection, maps in zip(
                    self.strides, self.projections, features.maps, strict=True
                )
            }
            drawing = self.to_drawing(features.maps[-1].mean((2, 3)))
            return MapConditions(additions, drawing, features.code)


class ReadingUNet(nn.Module):
    """A U-Net that also uses the pretrained features of its source.

    Args:
        trunk: the U-Net.
        maps: fits the features into the levels of the U-Net.
    """

    def __init__(self, trunk: UNetGenerator | ResNetUNetGenerator, maps: SourceMaps) -> None:
        super().__init__()
        self.trunk, self.maps = trunk, maps

    def forward(self, source: Tensor, frozen: FrozenFeatures | None = None) -> Tensor:
        """Source [N, 3, H, W] in [-1, 1] -> output [N, out_channels, H, W] in [-1, 1].

        Args:
            source: the sources.
            frozen: their frozen features; None: they are computed.
        """
        frozen = self.maps.reader.read_frozen(source) if frozen is None else frozen
        additions, drawing, _ = self.maps(frozen)
        return self.trunk.compute_features(source, additions, drawing)[0]


class SourceConditioning(SourceMaps):
    """Computes the conditions of a palette generator, with a theme of the whole drawing.

    Args:
        trunk: the U-Net that receives the features.
        px: side of the pictures.
        weights: file of the pretrained weights, as for `SourceMaps`.
        n_colours: colours of the palette.
    """

    def __init__(
        self,
        trunk: UNetGenerator | ResNetUNetGenerator,
        px: int,
        weights: Path | None,
        n_colours: int,
    ) -> None:
        super().__init__(trunk, px, weights)
        self.theme = nn.Sequential(
            nn.Dropout(CODE_DROPOUT),
            nn.Linear(CODE_SIZE + N_FIGURES, THEME_HIDDEN_CHANNELS),
            nn.GELU(),
            nn.Dropout(THEME_DROPOUT),
            nn.Linear(THEME_HIDDEN_CHANNELS, THEME_HIDDEN_CHANNELS),
            nn.GELU(),
            nn.Dropout(THEME_DROPOUT),
            nn.Linear(THEME_HIDDEN_CHANNELS, THEME_CHANNELS),
        )
        self.theme_to_drawing = nn.Linear(THEME_CHANNELS, trunk.bottleneck_channels)
        self.colourfulness = nn.Linear(THEME_CHANNELS, 1)
        self.shares = nn.Linear(THEME_CHANNELS, n_colours)

    def describe(self, frozen: FrozenFeatures, source: Tensor, labels: Tensor) -> Conditions:
        """Computes the conditions of drawings.

        Args:
            frozen: the frozen features of the sources.
            source: [N, 3, H, W] in [-1, 1].
            labels: [N, H, W] region labels.
        """
        with torch.autocast(source.device.type, enabled=False):
            additions, drawing, code = self(frozen)
            geometry = self.reader.geometry_scale(drawing_geometry(source, labels))
            theme = self.theme(torch.cat([code, geometry], dim=1))
            colourfulness = functional.softplus(self.colourfulness(theme))[:, 0]
            return Conditions(
                additions,
                drawing + self.theme_to_drawing(theme),
                theme,
                COLOURFULNESS_UNIT * colourfulness,
                self.shares(theme),
            )


def _build_projection(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Builds a 1x1 convolution; standardised inputs give outputs of standard deviation 0.5."""
    projection = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.normal_(projection.weight, 0.0, 0.5 / in_channels**0.5)
    assert projection.bias is not None
    nn.init.zeros_(projection.bias)
    return projection
