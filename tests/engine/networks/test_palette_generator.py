import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._pytree import tree_map_only

from engine.config import change
from engine.images import color
from engine.networks import palette, region_labels
from engine.networks.ink import apply_ink, fill_of, ink_of
from engine.networks.outputs import build_generator
from engine.options.decodings import parse_decoding
from engine.presets import BUDGETS, CONFIGURATIONS, _recipe
from engine.training.losses import LossInputs, generator_loss

PALETTE = palette.find_palette(np.zeros((256, 256, 256), np.int64), 8)


def palette_configuration(**changes):
    values = {"recipe": _recipe(palette=1, l1=2), "output": "palette", "n_colours": 8}
    return change(CONFIGURATIONS["standard"], {**values, **changes})


def build(generator="unet", px=32, **changes):
    torch.manual_seed(0)
    budget = change(BUDGETS["smoke"], {"generator": generator, "px": px})
    network = build_generator(budget, palette_configuration(**changes)).eval()
    network.set_palette(PALETTE)
    return network


def drawing(px=32, n=2):
    """White paper with a black frame around a square, as sources in [-1, 1]."""
    source = torch.ones(n, 3, px, px)
    source[:, :, 8:24, 8:24] = -1
    source[:, :, 10:22, 10:22] = 1
    return source


@pytest.mark.parametrize("generator", ["unet", "resnet18_unet"])
@pytest.mark.parametrize("has_regions", [False, True])
def test_the_picture_is_the_fill_times_the_ink_for_every_trunk(generator, has_regions):
    network = build(generator, regions=has_regions)
    source = drawing()

    picture = network(source)

    assert picture.shape == source.shape
    fill = network.decode_fill(source)
    assert (fill >= 0).all()
    assert (fill <= 1).all()
    torch.testing.assert_close(picture, apply_ink(fill, ink_of(source)))
    assert (picture[source < 0] == -1).all(), "lines are black"


def test_the_prediction_is_the_mean_of_the_distribution():
    network = build()
    source = drawing()

    prediction = network.predict(source)

    mean = prediction.logits.softmax(-1) @ network.palette
    torch.testing.assert_close(prediction.picture, apply_ink(mean, ink_of(source)))
    torch.testing.assert_close(network(source), prediction.picture)


def test_a_flat_decoding_gives_every_region_one_colour():
    network = build(decoding="sharp:0.5+flat")
    source = drawing()

    fill = network.decode_fill(source)

    labels = region_labels.label_regions(source)
    assert len(labels.unique()) == 2
    for label in labels.unique():
        colours = fill[0][labels[0] == label]
        torch.testing.assert_close(colours, colours[:1].expand_as(colours))


def test_the_decoding_can_be_changed_without_changing_a_weight():
    network, source = build(regions=True), drawing()
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pictures = []

    for text in ("mean", "sharp:0.1", "median:4+flat", "medoid:1+flat", "sample:1"):
        pictures.append(network.paint(source, parse_decoding(text)))

    assert all(not torch.equal(pictures[0], other) for other in pictures[1:])
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())


def test_different_seeds_of_a_sample_are_different_answers_with_the_same_lines():
    network, source = build(decoding="sample:1+flat"), drawing()
    answers = []

    for seed in (1, 2, 3):
        answers.append(network.paint(source, parse_decoding("sample:1+flat", seed)))

    assert not torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[1], answers[2])
    assert all((answer[source < 0] == -1).all() for answer in answers)


@pytest.mark.parametrize("text", ["mean", "sharp:0.1+flat", "median:4", "sample:1+flat"])
def test_painting_with_a_decoding_equals_a_generator_that_has_it(text):
    source, painter = drawing(), build(regions=True)

    painted = painter.paint(source, parse_decoding(text))

    assert torch.equal(painted, build(regions=True, decoding=text)(source))
    assert painter.decoding == parse_decoding("mean"), "the generator is not changed"


def test_a_sample_of_a_picture_does_not_depend_on_the_other_pictures():
    network, source = build(decoding="sample:1+flat"), drawing()
    source[1, :, 2, 2] = -1

    both = network(source)

    torch.testing.assert_close(network(source[1:]), both[1:])


def test_a_mirrored_source_gives_the_mirrored_region_logits():
    network = build(regions=True)
    labels, features = torch.randint(0, 3, (1, 32, 32)), torch.rand(1, 32, 32, 8)
    ink, theme = torch.ones(1, 32, 32), torch.rand(1, 64)

    logits = network.region_head(features, ink, labels, theme)
    mirrored = network.region_head(features.flip(2), ink, labels.flip(2), theme)

    # Only the mean horizontal position differs; with its weight set to 0, nothing does.
    assert not torch.equal(logits, mirrored)
    first = network.region_head.layers[0]
    first.weight.data[:, 8 + 2] = 0
    torch.testing.assert_close(
        network.region_head(features, ink, labels, theme),
        network.region_head(features.flip(2), ink, labels.flip(2), theme),
        atol=1e-5,
        rtol=1e-4,
    )


def test_the_state_dict_restores_palette_and_pictures():
    network, restored = build(regions=True), build(regions=True)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    restored.palette.zero_()

    restored.load_state_dict(network.state_dict())

    assert torch.equal(restored(drawing()), network(drawing()))
    assert torch.equal(restored.class_table, network.class_table)


def test_ink_times_fill_is_the_target_where_the_ink_is_not_dark():
    source = torch.rand(1, 1, 16, 16).mul(1.6).sub(0.6).expand(1, 3, 16, 16)  # ink from 0.2 to 1
    fill = torch.rand(1, 16, 16, 3)
    target = apply_ink(fill, ink_of(source))

    recovered = fill_of(target, source)

    torch.testing.assert_close(recovered.permute(0, 2, 3, 1), fill, atol=1e-5, rtol=0)


VIVID = {
    **{"recipe": _recipe(palette=1, l1=2, colourfulness=0.5, colour_shares=0.1)},
    **{"regions": True, "source_features": "efficientnet_lite0"},
    "decoding": "medoid:1+flat+steer",
}


def test_a_generator_that_reads_its_source_paints_and_estimates_the_whole_drawing():
    network = build(**VIVID)
    source = drawing()

    prediction = network.predict(source)
    picture = network(source)

    assert prediction.colourfulness.shape == (2,)
    assert (prediction.colourfulness > 0).all()
    assert prediction.share_logits.shape == (2, 8)
    assert picture.shape == source.shape
    assert (picture[source < 0] == -1).all(), "lines are black"


def test_a_steered_picture_is_at_least_as_near_to_the_wanted_colourfulness_as_the_median():
    network = build(**VIVID)
    torch.nn.init.normal_(network.pixel_logits.weight, std=5.0)
    source = drawing()
    estimate = network.predict(source).colourfulness
    network.decoding = parse_decoding("medoid:1+flat")
    median = color.colorfulness((network(source) + 1) / 2)
    target_colourfulness = (estimate + median) / 2

    network.decoding = parse_decoding("medoid:1+flat+steer")
    steered = color.colorfulness((network(source) + 1) / 2)

    assert (
        (steered - target_colourfulness).abs() <= (median - target_colourfulness).abs() + 1e-3
    ).all()


@pytest.mark.parametrize("changes", [{"regions": True}, VIVID], ids=["regions", "vivid"])
def test_a_training_step_needs_no_value_from_the_device(changes):
    network = build(px=64, **changes).train()
    source = torch.zeros(4, 3, 64, 64)
    inputs = network.read_inputs(source)
    weights = network.state_dict()

    class Loss(torch.nn.Module):
        """The whole loss of a batch, from the network's prediction."""

        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, source, target, inputs):
            prediction = self.network.predict(source, inputs)
            loss_inputs = LossInputs(source, target, prediction, None, lambda pictures: ())
            return generator_loss(palette_configuration(**changes).recipe, loss_inputs)[0]

    with FakeTensorMode(), torch.device("cuda"):
        # Tensors without content: an operation that reads a value in Python fails.
        state = {
            f"network.{name}": torch.empty_strided(value.shape, value.stride(), dtype=value.dtype)
            for name, value in weights.items()
        }
        on_gpu = tree_map_only(
            torch.Tensor, lambda value: torch.zeros(value.shape, dtype=value.dtype), inputs
        )
        picture = torch.zeros(4, 3, 64, 64)
        loss = functional_call(Loss(), state, (picture, picture, on_gpu))

    assert loss.device.type == "cuda"
    assert loss.shape == ()


def test_bf16_paints_nearly_what_float32_paints():
    network = build(px=64, regions=True)
    source = drawing(64)

    exact = network.predict(source).picture
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network.predict(source).picture

    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().mean() < 5e-3
