import math

import pytest
import torch

from engine.config import Recipe, Term
from engine.training.losses import TERM_FUNCTIONS, LossInputs, discriminator_loss, generator_loss


def some_features(pictures):
    return (pictures.square(), pictures.mean((2, 3), keepdim=True))


def loss_inputs(fake, target=None, logits=None):
    target = torch.rand(2, 3, 8, 8) if target is None else target
    logits = torch.zeros(2, 1, 2, 2) if logits is None else logits
    return LossInputs(target, fake, logits, some_features)


@pytest.mark.parametrize("name", ["l1", "perceptual"])
def test_a_term_is_zero_when_the_fake_is_the_target(name):
    target = torch.rand(2, 3, 8, 8)

    assert TERM_FUNCTIONS[name](loss_inputs(target.clone(), target)) == 0


def test_total_variation_is_zero_for_a_flat_picture():
    assert TERM_FUNCTIONS["total_variation"](loss_inputs(torch.full((2, 3, 8, 8), 0.3))) == 0


def test_the_adversarial_term_is_zero_when_the_discriminator_takes_the_fake_for_real():
    fooled = loss_inputs(torch.rand(2, 3, 8, 8), logits=torch.full((2, 1, 2, 2), 40.0))

    assert TERM_FUNCTIONS["adversarial"](fooled) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["l1", "perceptual", "total_variation"])
def test_a_terms_gradient_reaches_the_fake(name):
    fake = torch.rand(2, 3, 8, 8, requires_grad=True)

    TERM_FUNCTIONS[name](loss_inputs(fake)).backward()

    assert fake.grad.abs().sum() > 0


def test_the_loss_is_the_recipes_weighted_sum():
    recipe = Recipe(terms=(Term(name="l1", weight=100.0), Term(name="total_variation", weight=0.1)))

    total, values = generator_loss(recipe, loss_inputs(torch.rand(2, 3, 8, 8)))

    assert list(values) == ["l1", "total_variation"]
    assert total.item() == pytest.approx(
        100 * values["l1"].item() + 0.1 * values["total_variation"].item()
    )


def test_l1_and_total_variation_equal_their_closed_forms():
    target = torch.zeros(1, 3, 4, 4)
    ramp = torch.arange(4.0).expand(1, 3, 4, 4)

    inputs = loss_inputs(ramp, target)

    assert TERM_FUNCTIONS["l1"](inputs) == 1.5
    assert TERM_FUNCTIONS["total_variation"](inputs) == 1.0


def test_logits_of_zero_give_a_discriminator_loss_of_ln_2():
    logits = torch.zeros(2, 1, 3, 3)

    assert discriminator_loss(logits, logits).item() == pytest.approx(math.log(2))
