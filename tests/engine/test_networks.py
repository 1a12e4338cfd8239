import pytest
import torch
import torchvision

from engine.config import change
from engine.networks import (
    PatchDiscriminator,
    ResNetUNetGenerator,
    build_discriminator,
    build_generator,
)
from engine.presets import BUDGETS


def budget_of(px, base_channels, **changes):
    return change(BUDGETS["paper"], {"px": px, "base_channels": base_channels, **changes})


def count_weights(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("px", [32, 64, 96, 160, 192, 256])
def test_the_generator_keeps_any_multiple_of_32(px):
    generator = build_generator(budget_of(px, 2)).eval()

    fake = generator(torch.zeros(1, 3, px, px))

    assert fake.shape == (1, 3, px, px)
    assert fake.abs().max() <= 1


@pytest.mark.parametrize(("px", "levels"), [(32, 5), (96, 5), (192, 6), (256, 8), (512, 8)])
def test_the_unet_halves_while_the_side_is_even_at_most_8_times(px, levels):
    assert budget_of(px, 1).levels == levels
    assert len(build_generator(budget_of(px, 1)).down) == levels


def test_at_256_px_the_networks_have_the_published_size():
    budget = BUDGETS["paper"]

    assert count_weights(build_generator(budget)) == pytest.approx(54.4e6, rel=0.002)
    assert count_weights(build_discriminator(budget)) == pytest.approx(2.77e6, rel=0.002)


def test_a_patch_sees_70_by_70_pixels():
    discriminator = PatchDiscriminator(2, "batch").eval()
    source, picture = torch.zeros(1, 3, 256, 256), torch.randn(1, 3, 256, 256).requires_grad_()

    logits = discriminator(source, picture)
    logits[0, 0, 15, 15].backward()

    rows = picture.grad.abs().sum((0, 1, 3)).nonzero()
    assert logits.shape == (1, 1, 30, 30)
    assert rows.max() - rows.min() + 1 == 70


def test_weights_start_normal_with_deviation_0_02():
    generator = build_generator(BUDGETS["demo"])

    deepest = generator.down[-1][1].weight.detach()
    assert deepest.std().item() == pytest.approx(0.02, rel=0.02)
    assert generator.down[0][0].bias.abs().max() == 0
    assert generator.down[2][-1].weight.mean().item() == pytest.approx(1.0, abs=0.01)


def test_the_first_layer_and_the_bottleneck_have_no_norm():
    generator = build_generator(budget_of(64, 4, norm="batch"))

    kinds = [[type(layer).__name__ for layer in block] for block in generator.down]
    assert "BatchNorm2d" not in kinds[0]
    assert "BatchNorm2d" not in kinds[-1]
    assert all("BatchNorm2d" in kind for kind in kinds[1:-1])


def test_dropout_stands_in_the_three_innermost_decoder_blocks():
    generator = build_generator(budget_of(256, 1))

    with_dropout = [
        any(isinstance(layer, torch.nn.Dropout) for layer in block) for block in generator.up
    ]
    assert with_dropout == [True] * 3 + [False] * 5


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_in_evaluation_a_picture_does_not_depend_on_its_neighbours(norm):
    torch.manual_seed(0)
    generator = build_generator(budget_of(32, 4, norm=norm)).eval()
    pictures = torch.randn(4, 3, 32, 32)

    together, alone = generator(pictures)[:1], generator(pictures[:1])

    assert torch.allclose(together, alone, atol=1e-6)


def test_the_resnet_generator_keeps_the_size():
    encoder = torchvision.models.resnet18(weights=None)
    generator = build_generator(BUDGETS["study2"], encoder).eval()

    assert isinstance(generator, ResNetUNetGenerator)
    assert generator(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 64, 64)
