import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.config import Recipe, Term
from engine.images import color
from engine.networks.ink import apply_ink, ink_of
from engine.networks.palette import build_class_table, find_palette, is_paper
from engine.networks.palette_generator import Prediction
from engine.training.losses import TERM_FUNCTIONS, LossInputs, discriminator_loss, generator_loss


def some_features(pictures):
    return (pictures.square(), pictures.mean((2, 3), keepdim=True))


def loss_inputs(fake, target=None, logits=None):
    target = torch.rand(2, 3, 8, 8) if target is None else target
    logits = torch.zeros(2, 1, 2, 2) if logits is None else logits
    return LossInputs(torch.ones_like(target), target, Prediction(fake), logits, some_features)


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


def palette_inputs(logits, classes, source=None):
    """Inputs whose target has the palette colours of `classes` [1, H, W]."""
    colours = find_palette(np.zeros((256, 256, 256), np.int64), logits.shape[-1])
    palette = torch.from_numpy(colours).float() / 255
    source = torch.ones(1, 3, *classes.shape[1:]) if source is None else source
    target = apply_ink(palette[classes], ink_of(source))
    prediction = Prediction(
        target,
        logits,
        torch.tensor([30.0], requires_grad=True),
        torch.zeros(1, len(palette), requires_grad=True),
        palette,
        build_class_table(colours),
    )
    return LossInputs(source, target, prediction, None, some_features)


def test_the_palette_term_is_the_cross_entropy_of_the_targets_colours():
    classes = torch.randint(0, 8, (1, 6, 6))
    logits = torch.randn(1, 6, 6, 8, requires_grad=True)

    loss = TERM_FUNCTIONS["palette"](palette_inputs(logits, classes))

    expected = -logits.log_softmax(-1).gather(-1, classes[..., None]).mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad.abs().sum() > 0


def test_the_palette_term_is_about_zero_for_certain_and_right_logits():
    classes = torch.randint(0, 8, (1, 6, 6))
    logits = 100 * torch.nn.functional.one_hot(classes, 8).float()

    assert TERM_FUNCTIONS["palette"](palette_inputs(logits, classes)) == pytest.approx(0, abs=1e-6)


def test_pixels_under_black_lines_do_not_count_in_the_palette_term():
    classes = torch.full((1, 4, 4), 5)
    logits = torch.zeros(1, 4, 4, 8)
    source = torch.ones(1, 3, 4, 4)
    source[..., 0, :] = -1  # a black line
    inputs = palette_inputs(logits, classes, source)
    changed = palette_inputs(logits.index_fill(1, torch.tensor([0]), 9.0), classes, source)

    assert TERM_FUNCTIONS["palette"](inputs) == TERM_FUNCTIONS["palette"](changed)
    assert TERM_FUNCTIONS["palette"](inputs) == pytest.approx(12 / 16 * math.log(8), rel=1e-5)


def test_the_terms_of_the_whole_drawing_are_lowest_at_the_truth():
    classes = torch.zeros(1, 4, 4, dtype=torch.long)
    classes[:, :2] = 3
    inputs = palette_inputs(torch.zeros(1, 4, 4, 8), classes)
    actual = color.colorfulness((inputs.target + 1) / 2)
    shares = torch.tensor([[0.5, 0, 0, 0.5, 0, 0, 0, 0]])
    paper = is_paper(inputs.prediction.palette)
    weighted = shares * torch.where(paper, 0.1, 1.0)
    logits = (weighted / weighted.sum()).clamp(min=1e-9).log()
    truth = replace(
        inputs, prediction=inputs.prediction._replace(colourfulness=actual, share_logits=logits)
    )

    assert TERM_FUNCTIONS["colourfulness"](truth) == 0
    for name in ("colourfulness", "colour_shares"):
        assert TERM_FUNCTIONS[name](truth) < TERM_FUNCTIONS[name](inputs)
