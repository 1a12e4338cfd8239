import pytest
import skimage.color
import torch
from torch.nn import functional

from engine.config import change
from engine.images import color
from engine.networks.architectures import (
    PatchDiscriminator,
    ResNetUNetGenerator,
    build_discriminator,
    init_upconv,
    init_weights,
)
from engine.networks.layers import UpConv
from engine.networks.outputs import LuminancePreserving, build_generator
from engine.presets import BUDGETS, CONFIGURATIONS

STANDARD = CONFIGURATIONS["standard"]


def budget_of(px, base_channels, **changes):
    return change(BUDGETS["paper"], {"px": px, "base_channels": base_channels, **changes})


def count_weights(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("px", [32, 64, 96, 160, 192, 256])
def test_the_generator_keeps_any_multiple_of_32(px):
    generator = build_generator(budget_of(px, 2), STANDARD).eval()

    fake = generator(torch.zeros(1, 3, px, px))

    assert fake.shape == (1, 3, px, px)
    assert fake.abs().max() <= 1


@pytest.mark.parametrize(("px", "levels"), [(32, 5), (96, 5), (192, 6), (256, 8), (512, 8)])
def test_the_unet_halves_while_the_side_is_even_at_most_8_times(px, levels):
    assert budget_of(px, 1).levels == levels
    assert len(build_generator(budget_of(px, 1), STANDARD).down) == levels


def test_at_256_px_the_networks_have_the_published_size():
    budget = BUDGETS["paper"]

    assert count_weights(build_generator(budget, STANDARD)) == pytest.approx(54.4e6, rel=0.002)
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
    generator = build_generator(BUDGETS["demo"], STANDARD)

    deepest = generator.down[-1][1].weight.detach()
    assert deepest.std().item() == pytest.approx(0.02, rel=0.02)
    assert generator.down[0][0].bias.abs().max() == 0
    assert generator.down[2][-1].weight.mean().item() == pytest.approx(1.0, abs=0.01)


EVEN_INITS = ("equal", "resize", "bilinear")


def upconv_of(init):
    torch.manual_seed(0)
    layer = UpConv(64, 128, depth=1)
    init_weights(layer)
    init_upconv(layer, init)
    return layer


def even_maps():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 64, 1, 1, generator=generator).expand(-1, -1, 6, 6)


@pytest.mark.parametrize("init", EVEN_INITS)
def test_a_constant_input_gives_a_constant_output_apart_from_the_border(init):
    inner = upconv_of(init)(even_maps())[..., 2:-2, 2:-2]

    assert torch.allclose(inner, inner[..., :1, :1].expand_as(inner), atol=1e-6)


def test_normal_sub_kernels_weave_a_constant_input():
    inner = upconv_of("normal")(even_maps())[..., 2:-2, 2:-2]

    assert inner.var((-2, -1)).mean() > 0.5 * inner.var()


@pytest.mark.parametrize("init", EVEN_INITS)
def test_the_output_for_a_constant_input_has_the_variance_of_a_normal_start(init):
    inner, of_normal = (upconv_of(name)(even_maps())[..., 2:-2, 2:-2] for name in (init, "normal"))

    assert inner.std().item() == pytest.approx(of_normal.std().item(), rel=0.05)


def test_equal_sub_kernels_give_blocks_of_2x2_equal_pixels():
    maps = torch.randn(2, 64, 6, 6, generator=torch.Generator().manual_seed(0))

    blocks = upconv_of("equal")(maps)[..., 1:-1, 1:-1].unfold(2, 2, 2).unfold(3, 2, 2)

    assert torch.allclose(blocks, blocks[..., :1, :1].expand_as(blocks), atol=1e-6)


def test_a_resize_start_convolves_the_input_enlarged_to_nearest_neighbours():
    layer, maps = upconv_of("resize"), torch.randn(2, 64, 6, 6)
    kernel = 2 / 3 * upconv_of("normal").weight[..., :3, :3].transpose(0, 1).flip(-2, -1)

    enlarged = functional.interpolate(maps, scale_factor=2, mode="nearest")

    assert torch.allclose(layer(maps), functional.conv2d(enlarged, kernel, padding=1), atol=1e-5)


def test_a_bilinear_start_mixes_the_channels_and_enlarges_them_bilinearly():
    layer, maps = upconv_of("bilinear"), torch.randn(2, 64, 6, 6)
    mixing = upconv_of("normal").weight[..., 1::2, 1::2].sum((-2, -1))

    enlarged = functional.interpolate(maps, scale_factor=2, mode="bilinear")
    expected = torch.einsum("nchw,cd->ndhw", enlarged, mixing)

    difference = (layer(maps) - expected)[..., 1:-1, 1:-1]
    assert difference.abs().max() < 1e-5


@pytest.mark.parametrize("generator", ["unet", "resnet18_unet"])
@pytest.mark.parametrize("init", EVEN_INITS)
def test_only_transposed_convolutions_start_differently(generator, init):
    networks, next_numbers = [], []
    for name in (init, "normal"):
        torch.manual_seed(0)
        budget = change(BUDGETS["smoke"], {"generator": generator, "upconv_init": name})
        networks.append(build_generator(budget, STANDARD))
        next_numbers.append(torch.rand(1))

    first, second = (network.state_dict() for network in networks)
    upconvs = {
        f"{name}.weight" for name, layer in networks[0].named_modules() if isinstance(layer, UpConv)
    }
    assert {name for name in first if not torch.equal(first[name], second[name])} == upconvs
    assert torch.equal(*next_numbers)


def test_with_an_instance_norm_the_innermost_level_is_not_constant_at_the_start():
    torch.manual_seed(0)
    budget = change(BUDGETS["smoke"], {"norm": "instance", "upconv_init": "bilinear"})
    generator = build_generator(budget, STANDARD).eval()
    maps = []
    innermost = next(layer for layer in generator.modules() if isinstance(layer, UpConv))
    innermost.register_forward_hook(lambda layer, inputs, output: maps.append(output))

    generator(torch.rand(2, 3, 32, 32))

    assert maps[0].shape[-2:] == (2, 2)
    assert maps[0].std((2, 3)).min() > 1e-4


@pytest.mark.parametrize("init", EVEN_INITS)
def test_a_discriminator_layer_passes_an_even_gradient_on_evenly(init):
    torch.manual_seed(0)
    layer, maps = torch.nn.Conv2d(16, 32, 4, 2, 1), torch.zeros(1, 16, 16, 16, requires_grad=True)
    init_weights(layer)
    init_upconv(layer, init)

    (layer(maps) * torch.randn(1, 32, 1, 1)).sum().backward()

    inner = maps.grad[..., 2:-2, 2:-2]
    assert inner.abs().max() > 0
    assert torch.allclose(inner, inner[..., :1, :1].expand_as(inner), atol=1e-6)


def test_only_the_discriminators_layers_with_stride_2_start_differently():
    networks = []
    for name in ("bilinear", "normal"):
        torch.manual_seed(0)
        networks.append(build_discriminator(change(BUDGETS["smoke"], {"upconv_init": name})))

    first, second = (network.state_dict() for network in networks)
    different = {name for name in first if not torch.equal(first[name], second[name])}
    assert different == {"layers.0.weight", "layers.2.weight", "layers.5.weight"}


def test_the_first_layer_and_the_bottleneck_have_no_norm():
    generator = build_generator(budget_of(64, 4, norm="batch"), STANDARD)

    has_norm = [
        any(isinstance(layer, torch.nn.BatchNorm2d) for layer in block) for block in generator.down
    ]
    assert has_norm == [False, *[True] * (len(has_norm) - 2), False]


def test_the_three_innermost_decoder_blocks_have_dropout():
    generator = build_generator(budget_of(256, 1), STANDARD)

    has_dropout = [
        any(isinstance(layer, torch.nn.Dropout) for layer in block) for block in generator.up
    ]
    assert has_dropout == [True] * 3 + [False] * 5


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_in_evaluation_a_fake_does_not_depend_on_its_batch(norm):
    torch.manual_seed(0)
    generator = build_generator(budget_of(32, 4, norm=norm), STANDARD).eval()
    pictures = torch.randn(4, 3, 32, 32)

    together, alone = generator(pictures)[:1], generator(pictures[:1])

    assert torch.allclose(together, alone, atol=1e-6)


def test_the_resnet_generator_keeps_the_size():
    generator = build_generator(BUDGETS["study2"], STANDARD).eval()

    assert isinstance(generator, ResNetUNetGenerator)
    assert generator(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 64, 64)


def test_an_unconditional_discriminator_sees_the_picture_alone():
    budget = change(BUDGETS["smoke"], {"discriminator": "unconditional"})
    discriminator = build_discriminator(budget).eval()
    picture = torch.randn(1, 3, 32, 32)

    sources = [torch.full((1, 3, 32, 32), value) for value in (-1.0, 1.0)]

    first, second = (discriminator(source, picture) for source in sources)

    assert torch.equal(first, second)


class Constant(torch.nn.Module):
    """A network that returns a constant output for every source."""

    def __init__(self, ab):
        super().__init__()
        self.ab = torch.nn.Parameter(ab)

    def forward(self, source):
        return self.ab


def grey_pictures(levels):
    return (levels / 127.5 - 1).expand(-1, 3, -1, -1)


def test_colours_from_lab_are_those_of_scikit_image():
    generator = torch.Generator().manual_seed(0)
    pictures = 0.1 + 0.8 * torch.rand(2, 3, 24, 24, generator=generator)
    lab = skimage.color.rgb2lab(pictures.permute(0, 2, 3, 1).double().numpy())
    lightness = torch.from_numpy(lab[..., 0])[:, None]
    grey = color.linear_to_srgb(
        torch.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    )
    ab = torch.from_numpy(lab[..., 1:]).permute(0, 3, 1, 2).float() / 110

    source = (2 * grey - 1).float().expand(-1, 3, -1, -1)
    coloured = (LuminancePreserving(Constant(ab))(source) + 1) / 2

    assert (coloured - pictures).abs().max() < 1e-3


def test_every_colour_keeps_the_luminance_of_the_grey():
    levels = torch.arange(256.0).view(1, 1, 16, 16)
    source = grey_pictures(levels)
    for seed in range(5):
        ab = 2 * torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(seed)) - 1

        coloured = (LuminancePreserving(Constant(ab))(source) + 1) / 2

        assert coloured.min() >= 0
        assert coloured.max() <= 1
        luminance = (
            color.srgb_to_linear(coloured)
            * torch.tensor([0.212671, 0.715160, 0.072169]).view(1, 3, 1, 1)
        ).sum(1)
        assert torch.allclose(luminance, color.srgb_to_linear(levels[:, 0] / 255), atol=2e-6)


def test_an_output_of_zero_gives_the_grey_picture():
    source = grey_pictures(torch.arange(256.0).view(1, 1, 16, 16))

    coloured = LuminancePreserving(Constant(torch.zeros(1, 2, 16, 16)))(source)

    assert torch.allclose(coloured, source, atol=1e-4)


def test_gradients_reach_the_colours_at_every_lightness_and_are_finite():
    levels = torch.linspace(0, 255, 256).view(1, 1, 16, 16)
    for size in (0.0, 0.1, 1.0):
        network = Constant(torch.full((1, 2, 16, 16), size))

        (LuminancePreserving(network)(grey_pictures(levels)) ** 2).mean().backward()

        assert network.ab.grad.isfinite().all()
        assert (network.ab.grad[..., 4:12, :].abs().sum(1) > 0).all()


@pytest.mark.parametrize("generator", ["unet", "resnet18_unet"])
def test_a_generator_of_two_colour_channels_keeps_the_lightness(generator):
    budget = change(BUDGETS["smoke"], {"output": "lab_ab", "generator": generator, "px": 64})
    network = build_generator(budget, STANDARD).eval()
    source = grey_pictures(torch.randint(0, 256, (2, 1, 64, 64)).float())

    coloured = network(source)

    assert coloured.shape == (2, 3, 64, 64)
    lightness = [color.srgb_to_lab((pictures + 1) / 2)[0] for pictures in (coloured, source)]
    assert torch.allclose(*lightness, atol=0.01)
