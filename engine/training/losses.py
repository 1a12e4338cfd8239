"""The loss functions of generator and discriminator.

`TERM_FUNCTIONS` has one function for each row of `loss_terms`. All losses are means over values, so
that a weight has the same effect at every picture size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.config import Recipe
from engine.options.loss_terms import LOSS_TERMS

FeatureMaps = tuple[Tensor, ...]
FeatureExtractor = Callable[[Tensor], FeatureMaps]  # pictures [N, 3, H, W] in [-1, 1] -> maps


@dataclass(frozen=True)
class LossInputs:
    """The inputs of every term of the generator's loss.

    Attributes:
        target: [N, 3, H, W] in [-1, 1].
        fake: [N, 3, H, W] in [-1, 1], with gradient.
        logits: the discriminator's logits for the fake, [N, 1, h, w].
        extract: computes feature maps; only terms that need feature maps call this function.
        target_features: the cached feature maps of the target; None: no maps are cached.
    """

    target: Tensor
    fake: Tensor
    logits: Tensor
    extract: FeatureExtractor
    target_features: FeatureMaps | None = None


def adversarial(inputs: LossInputs) -> Tensor:
    """Computes the cross entropy of the fake's logits with label 1 (non-saturating GAN loss)."""
    return _bce(inputs.logits, 1.0)


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


TERM_FUNCTIONS: dict[str, Callable[[LossInputs], Tensor]] = {
    "adversarial": adversarial,
    "l1": l1,
    "perceptual": perceptual,
    "total_variation": total_variation,
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
