"""The terms of a generator's loss: each a function of one frozen record of tensors.

All are means, so that weights mean the same at every size. The discriminator's loss stands here
too. The names are those of `config.TermName`; the loop sums what the recipe lists.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.config import Recipe

FeatureMaps = tuple[Tensor, ...]
Extract = Callable[[Tensor], FeatureMaps]  # pictures [N, 3, H, W] in [-1, 1] -> maps


@dataclass(frozen=True)
class Generated:
    """What one generator step has in its hands.

    Attributes:
        target: [N, 3, H, W] in [-1, 1].
        fake: likewise, with gradient.
        logits: the discriminator's patch scores of the fake, [N, 1, h, w].
        extract: only called by a term that needs maps.
        wanted: the target's maps, where they are known already.
    """

    target: Tensor
    fake: Tensor
    logits: Tensor
    extract: Extract
    wanted: FeatureMaps | None = None


def adversarial(generated: Generated) -> Tensor:
    """How little the discriminator takes the fake for true (non-saturating BCE on logits)."""
    return _bce(generated.logits, 1.0)


def l1(generated: Generated) -> Tensor:
    """Mean absolute error per channel value, in [-1, 1] units (Isola et al. 2017, eq. 3)."""
    return functional.l1_loss(generated.fake, generated.target)


def perceptual(generated: Generated) -> Tensor:
    """Squared distance of feature maps, summed over layers (Johnson et al. 2016, eq. 2)."""
    wanted = generated.wanted
    if wanted is None:
        with torch.no_grad():
            wanted = generated.extract(generated.target)
    found = generated.extract(generated.fake)
    distances = [
        functional.mse_loss(fake.float(), target.float())
        for fake, target in zip(found, wanted, strict=True)
    ]
    return torch.stack(distances).sum()


def total_variation(generated: Generated) -> Tensor:
    """Mean absolute difference of vertical plus of horizontal neighbours."""
    fake = generated.fake
    vertical = (fake[:, :, 1:] - fake[:, :, :-1]).abs().mean()
    horizontal = (fake[:, :, :, 1:] - fake[:, :, :, :-1]).abs().mean()
    return vertical + horizontal


TERMS: dict[str, Callable[[Generated], Tensor]] = {
    "adversarial": adversarial,
    "l1": l1,
    "perceptual": perceptual,
    "total_variation": total_variation,
}


def generator_loss(recipe: Recipe, generated: Generated) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the recipe's terms, and each term before its weight."""
    values: dict[str, Tensor] = {term.name: TERMS[term.name](generated) for term in recipe.terms}
    weighted = [term.weight * values[term.name] for term in recipe.terms]
    return torch.stack(weighted).sum(), values


def discriminator_loss(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """Half the sum of both cross entropies: targets to 1, fakes to 0 (Isola et al. 2017, 3.3)."""
    return 0.5 * (_bce(logits_real, 1.0) + _bce(logits_fake, 0.0))


def _bce(logits: Tensor, wanted: float) -> Tensor:
    scores = logits.float()
    return functional.binary_cross_entropy_with_logits(scores, torch.full_like(scores, wanted))
