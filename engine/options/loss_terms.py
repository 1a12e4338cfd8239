"""Defines the terms of the generator's loss, one row per term. Does not import torch.

`config` validates the terms of a recipe with this table. The keys of `--set`, the fields of the
launch form, the metrics of the loss curves and their figures are derived from it. A new term needs
a row here and a function in `training.losses`.
"""

from dataclasses import dataclass
from typing import Literal

Needs = Literal["", "features", "palette", "theme"]


@dataclass(frozen=True)
class LossTerm:
    """One term of the generator's loss.

    Attributes:
        name: the term's key in recipes, in `--set` and in the database.
        label: the term's name inside a sentence.
        typical_weight: the weight in the recipes of study 1, which messages give as an example.
        better: `down` if a lower value means better images, else `none`.
        digits: decimals shown.
        needs: what the term compares: `features` for the maps of a pretrained network, `palette`
            for distributions over palette colours, `theme` for estimates for the whole drawing;
            "" for pictures.
        help: one sentence for a tooltip.
    """

    name: str
    label: str
    typical_weight: float
    better: Literal["down", "none"]
    digits: int
    needs: Needs
    help: str

    @property
    def needs_features(self) -> bool:
        """Whether the term compares the maps of a pretrained network."""
        return self.needs == "features"

    @property
    def title(self) -> str:
        """The label with a capital letter, for headings and menus."""
        return self.label[:1].upper() + self.label[1:]


# fmt: off
_ROWS: tuple[tuple[str, str, float, Literal["down", "none"], int, Needs, str], ...] = (
    # name              label              weight better digits needs       help
    ("adversarial",     "adversarial",     1,   "none", 3, "",         "Adversarial loss of the generator: 0 if the discriminator takes every fake for real."),
    ("l1",              "L1",              100, "down", 4, "",         "Mean absolute error of values in [-1, 1]."),
    ("perceptual",      "perceptual",      10,  "down", 4, "features", "Distance between feature maps of fake and target."),
    ("total_variation", "total variation", 0.1, "none", 4, "",         "Mean absolute difference of neighbouring pixels."),
    ("palette",         "palette",         1,   "down", 3, "palette",  "Cross entropy of the palette colours, weighted by the squared lightness of the sketch, so that lines do not count."),
    ("colourfulness",   "colourfulness",   0.5, "down", 3, "theme",    "Error of the colourfulness that is estimated for the whole drawing, divided by 50."),
    ("colour_shares",   "colour shares",   0.1, "down", 3, "theme",    "Cross entropy of the shares of palette colours that are estimated for the whole drawing."),
)
# fmt: on

LOSS_TERMS: dict[str, LossTerm] = {row[0]: LossTerm(*row) for row in _ROWS}
