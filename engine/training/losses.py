"""The loss functions of generator and discriminator.

`TERM_FUNCTIONS` has one function for each row of `options.loss_terms`. All losses are means over
values, so that a weight has the same effect at every picture size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from engine.config import Recipe
from engine.images import color
from engine.networks import palette as palettes
from engine.networks.ink import fill_of, ink_of
from engine.networks.palette_generator import Prediction
from engine.options.loss_terms import LOSS_TERMS

# Unit of the term `colourfulness`: about the colourfulness of a colourful photograph.
COLOURFULNESS_UNIT = 50.0
PAPER_WEIGHT = 0.1

ValueT = TypeVar("ValueT")
FeatureMaps = tuple[Tensor, ...]
FeatureExtractor = Callable[[Tensor], FeatureMaps]  # pictures [N, 3, H, W] in [-1, 1] -> maps


@dataclass(frozen=True)
class LossInputs:
    """The inputs of every term of the generator's loss.

    Attributes:
        source: [N, 3, H, W] in [-1, 1].
        target: [N, 3, H, W] in [-1, 1].
        prediction: everything that the generator has computed, with gradient.
        logits: the discriminator's logits for the fake, [N, 1, h, w]; None: there is no
            discriminator.
        extract: computes feature maps; only terms that need feature maps call this function.
        target_features: the cached feature maps of the target; None: no maps are cached.
    """

    source: Tensor
    target: Tensor
    prediction: Prediction
    logits: Tensor | None
    extract: FeatureExtractor
    target_features: FeatureMaps | None = None

    @cached_property
    def ink(self) -> Tensor:
        """The lightness of the source, [N, H, W] in [0, 1]."""
        return ink_of(self.source)

    @cached_property
    def classes(self) -> Tensor:
        """The palette colours nearest to the target's fill, [N, H, W] int64."""
        class_table = _required(self.prediction.class_table)
        return palettes.classify(fill_of(self.target, self.source), class_table)

    @property
    def fake(self) -> Tensor:
        """The picture that the generator has painted, [N, 3, H, W] in [-1, 1]."""
        return self.prediction.picture


def adversarial(inputs: LossInputs) -> Tensor:
    """Computes the cross entropy of the fake's logits with label 1 (non-saturating GAN loss)."""
    return _bce(_required(inputs.logits), 1.0)


def l1(inputs: LossInputs) -> Tensor:
    """Computes the mean absolute error of values in [-1, 1] (Isola et al. 2017, equation 3)."""
    return functional.l1_loss(inputs.fake, inputs.target)


def perceptual(inputs: LossInputs) -> Tensor:
    """Sums the mean squared error of feature maps over layers (Johnson et al. 2016, eq. 2)."""
    target_features = inputs.target_features
    if target_features is None:
        with torch.no_grad():
            target_features = inputs.extract(inputs.target)
    errors = [
        functional.mse_loss(fake_map.float(), target_map.float())
        for fake_map, target_map in zip(inputs.extract(inputs.fake), target_features, strict=True)
    ]
    return torch.stack(errors).sum()


def total_variation(inputs: LossInputs) -> Tensor:
    """Adds the mean absolute differences of vertical and of horizontal neighbours."""
    fake = inputs.fake
    vertical = (fake[:, :, 1:] - fake[:, :, :-1]).abs().mean()
    horizontal = (fake[:, :, :, 1:] - fake[:, :, :, :-1]).abs().mean()
    return vertical + horizontal


def palette(inputs: LossInputs) -> Tensor:
    """Computes the cross entropy of palette colours, weighted by the squared ink of the source."""
    logits = _required(inputs.prediction.logits)  # [N, H, W, K]
    losses = functional.cross_entropy(
        logits.flatten(0, 2), inputs.classes.flatten(), reduction="none"
    )
    return (inputs.ink.flatten().square() * losses).mean()


def colourfulness(inputs: LossInputs) -> Tensor:
    """Computes the error of the estimated colourfulness, divided by `COLOURFULNESS_UNIT`."""
    estimate = _required(inputs.prediction.colourfulness)
    actual = color.colorfulness((inputs.target + 1) / 2)
    return functional.l1_loss(estimate, actual) / COLOURFULNESS_UNIT


def colour_shares(inputs: LossInputs) -> Tensor:
    """Computes the cross entropy of the estimated shares of palette colours in the targets.

    Pixels count by the squared ink. The colour of paper counts a tenth, because it would dominate.
    """
    logits, colours = (
        _required(inputs.prediction.share_logits),
        _required(inputs.prediction.palette),
    )
    weights = inputs.ink.square().flatten(1)  # [N, H W]
    sums = logits.new_zeros(logits.shape).scatter_add_(1, inputs.classes.flatten(1), weights)
    sums = sums * torch.where(palettes.is_paper(colours), PAPER_WEIGHT, 1.0)
    shares = sums / sums.sum(1, keepdim=True).clamp(min=1e-6)
    return functional.cross_entropy(logits, shares)


TERM_FUNCTIONS: dict[str, Callable[[LossInputs], Tensor]] = {
    "adversarial": adversarial,
    "l1": l1,
    "perceptual": perceptual,
    "total_variation": total_variation,
    "palette": palette,
    "colourfulness": colourfulness,
    "colour_shares": colour_shares,
}
assert TERM_FUNCTIONS.keys() == LOSS_TERMS.keys(), "a loss term has no function, or no row"


def generator_loss(recipe: Recipe, inputs: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
    """Computes the weighted sum of a recipe's terms.

    Returns:
        The weighted sum, and the value of each term without its weight.
    """
    values = {term.name: TERM_FUNCTIONS[term.name](inputs) for term in recipe.terms}
    weighted = [term.weight * values[term.name] for term in recipe.terms]
    return torch.stack(weighted).sum(), values


def discriminator_loss(target_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Computes half the sum of the cross entropies of targets (label 1) and fakes (label 0).

    The factor 0.5 follows Isola et al. 2017, section 3.3.
    """
    return 0.5 * (_bce(target_logits, 1.0) + _bce(fake_logits, 0.0))


def _bce(logits: Tensor, label: float) -> Tensor:
    logits = logits.float()
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def _required(value: ValueT | None) -> ValueT:
    """Returns a value that the recipe's terms need; `config` refuses recipes without it."""
    assert value is not None, "the generator does not compute what this term needs"
    return value
