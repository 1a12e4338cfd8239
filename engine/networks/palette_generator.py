"""The generator of the output `palette`: a distribution over palette colours for each pixel.

The picture is the fill, whose colours are read from the distributions, multiplied by the ink, which
is the lightness of the source. Lines are therefore exact, and the network learns only the colours
between them.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.images import color
from engine.networks import palette as palettes
from engine.networks import region_labels, regions
from engine.networks.architectures import ResNetUNetGenerator, UNetGenerator
from engine.networks.decoding import STEERED_QUANTILES, decode, source_keys
from engine.networks.ink import apply_ink, ink_of
from engine.networks.regions import RegionHead
from engine.networks.source_conditioning import THEME_CHANNELS, SourceConditioning
from engine.networks.source_features import FrozenFeatures, SourceReader
from engine.options.decodings import Decoding

# The learning rate of the pretrained late blocks, as a share of that of the other weights.
READER_LR_SCALE = 0.2


class SourceInputs(NamedTuple):
    """Values that are computed from sources, once for all epochs.

    Attributes:
        labels: [N, H, W] int64 region labels; None: the generator uses no regions.
        frozen: the frozen pretrained features; None: the generator reads none.
    """

    labels: Tensor | None = None
    frozen: FrozenFeatures | None = None


class Prediction(NamedTuple):
    """Everything that a generator computes for a batch of sources.

    Attributes:
        picture: [N, 3, H, W] in [-1, 1], which the loss compares with the target.
        logits: [N, H, W, K] float32, of palette colours; None for outputs without a palette.
        colourfulness: [N], the estimated colourfulness of the pictures; None: not estimated.
        share_logits: [N, K], of the shares of palette colours in the pictures; None: not estimated.
        palette: [K, 3] in [0, 1]; None for outputs without a palette.
        class_table: the table of nearest palette colours of `palette.build_class_table`.
    """

    picture: Tensor
    logits: Tensor | None = None
    colourfulness: Tensor | None = None
    share_logits: Tensor | None = None
    palette: Tensor | None = None
    class_table: Tensor | None = None


class PaletteGenerator(nn.Module):
    """Estimates distributions over palette colours, and decodes them to pictures.

    The palette belongs to the run: `set_palette` stores it with the weights.

    Args:
        trunk: the U-Net, which computes features at full size.
        n_colours: K, the colours of the palette.
        has_regions: whether the pixels of a region share logits of the region.
        conditioning: brings pretrained features of the source into the U-Net; None: none are used.
        decoding: how `forward` reads colours from distributions; `paint` takes another decoding.
    """

    def __init__(
        self,
        trunk: UNetGenerator | ResNetUNetGenerator,
        n_colours: int,
        has_regions: bool,
        conditioning: SourceConditioning | None = None,
        decoding: Decoding | None = None,
    ) -> None:
        super().__init__()
        self.trunk, self.conditioning = trunk, conditioning
        self.decoding = decoding or Decoding()
        channels = trunk.feature_channels
        self.join = nn.Sequential(nn.Conv2d(channels + 1, channels, 3, 1, 1), nn.ReLU())
        self.pixel_logits = nn.Linear(channels, n_colours)
        self.region_head = None
        if has_regions:
            n_drawing = trunk.bottleneck_channels
            n_drawing += 0 if conditioning is None else THEME_CHANNELS
            self.region_head = RegionHead(channels, n_drawing, n_colours)
        self.palette = nn.Buffer(torch.zeros(n_colours, 3))
        self.class_table = nn.Buffer(torch.zeros(2 ** (3 * palettes.TABLE_BITS), dtype=torch.uint8))

    @property
    def uses_labels(self) -> bool:
        """Whether training needs region labels."""
        return self.region_head is not None or self.conditioning is not None

    def set_palette(self, colours: NDArray[np.uint8]) -> None:
        """Sets the palette, [K, 3] bytes."""
        self.palette.copy_(torch.from_numpy(colours.astype(np.float32) / 255))
        self.class_table.copy_(palettes.build_class_table(colours))

    @torch.no_grad()
    def read_inputs(self, source: Tensor) -> SourceInputs:
        """Computes the inputs of `predict` from sources [N, 3, H, W] in [-1, 1]."""
        return SourceInputs(
            region_labels.label_regions(source) if self.uses_labels else None,
            None if self.conditioning is None else self.conditioning.reader.read_frozen(source),
        )

    def predict(self, source: Tensor, inputs: SourceInputs | None = None) -> Prediction:
        """Estimates the distributions of all pixels, and the picture of their mean colours.

        Args:
            source: [N, 3, H, W] in [-1, 1].
            inputs: the inputs of these sources; None: they are computed.
        """
        labels, frozen = self.read_inputs(source) if inputs is None else inputs
        conditions = None
        if self.conditioning is not None:
            assert frozen is not None
            assert labels is not None
            conditions = self.conditioning.describe(frozen, source, labels)

        # Compute the features of pixels and drawing.
        ink = ink_of(source)
        if conditions is None:
            features, bottleneck = self.trunk.compute_features(source)
        else:
            features, bottleneck = self.trunk.compute_features(
                source, conditions.additions, conditions.drawing
            )
        features = self.join(torch.cat([features, ink[:, None].to(features.dtype)], dim=1))

        # Estimate the logits of pixels and regions.
        with torch.autocast(source.device.type, enabled=False):
            by_pixel = features.float().permute(0, 2, 3, 1)
            logits = self.pixel_logits(by_pixel)
            if self.region_head is not None:
                assert labels is not None
                drawing = [bottleneck.float().relu().mean((2, 3))]
                if conditions is not None:
                    drawing.append(conditions.theme)
                of_regions = self.region_head(by_pixel, ink, labels, torch.cat(drawing, dim=1))
                logits = logits + regions.spread_to_pixels(of_regions, labels)
            mean_fill = logits.softmax(-1) @ self.palette
        picture = apply_ink(mean_fill, ink)
        colourfulness, share_logits = None, None
        if conditions is not None:
            colourfulness, share_logits = conditions.colourfulness, conditions.share_logits
        return Prediction(
            picture, logits, colourfulness, share_logits, self.palette, self.class_table
        )

    def forward(self, source: Tensor) -> Tensor:
        """Source [N, 3, H, W] in [-1, 1] -> decoded picture [N, 3, H, W] in [-1, 1]."""
        return self.paint(source, self.decoding)

    def paint(self, source: Tensor, decoding: Decoding) -> Tensor:
        """Paints sources with any decoding, and does not change the generator.

        Args:
            source: [N, 3, H, W] in [-1, 1].
            decoding: how colours are read from the distributions.

        Returns:
            Pictures [N, 3, H, W] in [-1, 1].
        """
        return apply_ink(self.decode_fill(source, decoding), ink_of(source))

    def decode_fill(self, source: Tensor, decoding: Decoding | None = None) -> Tensor:
        """Computes the fill, which is the picture without lines.

        Args:
            source: [N, 3, H, W] in [-1, 1].
            decoding: how colours are read from the distributions; None: the generator's decoding.

        Returns:
            [N, H, W, 3] in [0, 1].
        """
        decoding = decoding or self.decoding
        inputs = self.read_inputs(source)
        prediction = self.predict(source, inputs)
        assert prediction.logits is not None
        with torch.autocast(source.device.type, enabled=False):
            ink, labels = ink_of(source), None
            probabilities = prediction.logits.softmax(-1)
            if decoding.is_flat:
                labels = inputs.labels
                if labels is None:
                    labels = region_labels.label_regions(source)
                weights = ink.square() + regions.MIN_WEIGHT
                probabilities = regions.region_means(probabilities, weights, labels)
            if decoding.is_steered and prediction.colourfulness is not None:
                return self._steer(probabilities, ink, labels, prediction.colourfulness, decoding)
            keys = source_keys(source) if decoding.rule == "sample" else None
            return _spread(decode(probabilities, self.palette, decoding, keys=keys), labels)

    def _steer(
        self,
        probabilities: Tensor,
        ink: Tensor,
        labels: Tensor | None,
        estimate: Tensor,
        decoding: Decoding,
    ) -> Tensor:
        """Decodes at the quantile that gives each picture about the estimated colourfulness.

        The wanted colourfulness is the mean of the estimate and of the median's colourfulness.

        Args:
            probabilities: [N, H, W, K], or [N, R, K] of regions.
            ink: [N, H, W] in [0, 1].
            labels: [N, H, W] region labels; None: each pixel has its own distribution.
            estimate: [N], the estimated colourfulness of the pictures.
            decoding: the rule and its strength.
        """
        fills = torch.stack(
            [
                _spread(decode(probabilities, self.palette, decoding, quantile), labels)
                for quantile in STEERED_QUANTILES
            ]
        )  # [Q, N, H, W, 3]
        pictures = (fills * ink[..., None]).permute(0, 1, 4, 2, 3)
        reached = color.colorfulness(pictures.flatten(0, 1)).view(len(fills), -1)  # [Q, N]
        target_colourfulness = (estimate + reached[STEERED_QUANTILES.index(0.5)]) / 2
        best = (reached - target_colourfulness).abs().argmin(0)  # [N]
        return fills[best, torch.arange(ink.shape[0], device=ink.device)]


def _spread(colours: Tensor, labels: Tensor | None) -> Tensor:
    """Gives pixels the colours of their regions [N, R, 3]; without labels, changes nothing."""
    return colours if labels is None else regions.spread_to_pixels(colours, labels)


def paint(generator: nn.Module, source: Tensor, decoding: Decoding | None) -> Tensor:
    """Computes pictures with a generator of any output.

    Args:
        generator: a generator of `outputs.build_generator`.
        source: [N, 3, H, W] in [-1, 1].
        decoding: how a palette generator reads colours; None for generators without a palette.

    Returns:
        Pictures [N, 3, H, W] in [-1, 1].
    """
    if decoding is not None:
        assert isinstance(generator, PaletteGenerator), "only a palette can be decoded"
        return generator.paint(source, decoding)
    picture: Tensor = generator(source)
    return picture


def find_reader(generator: nn.Module) -> SourceReader | None:
    """Returns the pretrained network with which a generator reads its sources, or None."""
    readers = (module for module in generator.modules() if isinstance(module, SourceReader))
    return next(readers, None)


def parameter_groups(generator: nn.Module) -> list[dict[str, Any]]:
    """Groups the trained weights of a generator for its optimiser.

    The late blocks of a pretrained reader are trained at `READER_LR_SCALE` of the learning rate.
    """
    trained = [weight for weight in generator.parameters() if weight.requires_grad]
    reader = find_reader(generator)
    if reader is None:
        return [{"params": trained}]
    of_reader = set(reader.parameters())
    return [
        {"params": [weight for weight in trained if weight not in of_reader]},
        {
            "params": [weight for weight in trained if weight in of_reader],
            "lr_scale": READER_LR_SCALE,
        },
    ]


def predict(generator: nn.Module, source: Tensor, inputs: SourceInputs | None = None) -> Prediction:
    """Computes everything that a generator of any output computes for training.

    Args:
        generator: a generator of `outputs.build_generator`.
        source: [N, 3, H, W] in [-1, 1].
        inputs: the inputs of these sources; None: they are computed if the generator has any.
    """
    if isinstance(generator, PaletteGenerator):
        return generator.predict(source, inputs)
    features = () if inputs is None or inputs.frozen is None else (inputs.frozen,)
    picture: Tensor = generator(source, *features)
    return Prediction(picture.float())
