import math

import pytest
import torch

from engine.config import Recipe, Term
from engine.training.losses import TERMS, Generated, discriminator_loss, generator_loss


def some_features(pictures):
    return (pictures.square(), pictures.mean((2, 3), keepdim=True))


def generated(fake, target=None, logits=None):
    target = torch.rand(2, 3, 8, 8) if target is None else target
    logits = torch.zeros(2, 1, 2, 2) if logits is None else logits
    return Generated(target, fake, logits, some_features)


@pytest.mark.parametrize("name", ["l1", "perceptual"])
def test_a_term_is_zero_when_the_fake_is_the_target(name):
    target = torch.rand(2, 3, 8, 8)

    assert TERMS[name](generated(target.clone(), target)) == 0


def test_total_variation_is_zero_for_a_flat_picture():
    assert TERMS["total_variation"](generated(torch.full((2, 3, 8, 8), 0.3))) == 0


def test_the_adversarial_term_vanishes_when_the_discriminator_is_sure():
    fooled = generated(torch.rand(2, 3, 8, 8), logits=torch.full((2, 1, 2, 2), 40.0))

    assert TERMS["adversarial"](fooled) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["l1", "perceptual", "total_variation"])
def test_a_terms_gradient_reaches_the_fake(name):
    fake = torch.rand(2, 3, 8, 8, requires_grad=True)

    TERMS[name](generated(fake)).backward()

    assert fake.grad.abs().sum() > 0


def test_the_loss_is_the_recipes_weighted_sum():
    recipe = Recipe(terms=(Term(name="l1", weight=100.0), Term(name="total_variation", weight=0.1)))

    total, values = generator_loss(recipe, generated(torch.rand(2, 3, 8, 8)))

    assert list(values) == ["l1", "total_variation"]
    assert total.item() == pytest.approx(
        100 * values["l1"].item() + 0.1 * values["total_variation"].item()
    )


def test_l1_and_total_variation_equal_their_closed_forms():
    target = torch.zeros(1, 3, 4, 4)
    ramp = torch.arange(4.0).expand(1, 3, 4, 4)

    found = generated(ramp, target)

    assert TERMS["l1"](found) == 1.5
    assert TERMS["total_variation"](found) == 1.0


def test_a_discriminator_that_tosses_a_coin_loses_ln_2():
    coin = torch.zeros(2, 1, 3, 3)

    assert discriminator_loss(coin, coin).item() == pytest.approx(math.log(2))
