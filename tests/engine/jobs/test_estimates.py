import pytest
import torch
import torchvision

from engine.config import Configuration, Recipe, Term, change
from engine.jobs import estimates
from engine.networks.architectures import build_discriminator
from engine.networks.outputs import Pretrained, build_generator
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.training.state import build_state
from tests.support.runs import tiny_config

N_PAIRS = {"train": 1600, "val": 200, "test": 200}

STANDARD, VIVID = CONFIGURATIONS["standard"], CONFIGURATIONS["vivid"]
# A palette without pretrained features, with and without regions, and a fill.
PALETTE = Configuration(
    name="palette",
    recipe=Recipe(terms=(Term(name="palette", weight=1),)),
    **{key: getattr(VIVID, key) for key in ("lr_g", "lr_d", "beta1", "beta2", "output")},
)
REGIONS = change(PALETTE, {"name": "regions", "regions": True})
LINE_FILL = change(STANDARD, {"name": "line_fill", "output": "line_fill"})


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        *((name, STANDARD) for name in BUDGETS),
        *((name, VIVID) for name in ("smoke", "demo", "study2")),
        *((name, CONFIGURATIONS["vivid_photo"]) for name in ("smoke", "demo", "study2")),
        *(("smoke", configuration) for configuration in (PALETTE, REGIONS, LINE_FILL)),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_the_counted_weights_are_those_of_the_built_networks(name, configuration):
    budget = BUDGETS[name]
    encoder = torchvision.models.resnet18(weights=None)

    counts = estimates.count_weights(budget, configuration)

    generator = build_generator(budget, configuration, Pretrained(encoder))
    sizes = [weight.numel() for weight in generator.parameters()]
    trained = [weight.numel() for weight in generator.parameters() if weight.requires_grad]
    discriminator = [weight.numel() for weight in build_discriminator(budget).parameters()]
    if not configuration.recipe.is_adversarial:
        discriminator = []
    expected = (sum(sizes), sum(trained), sum(discriminator))
    assert counts == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("configuration", [STANDARD, VIVID], ids=lambda value: value.name)
@pytest.mark.parametrize("ema", ["0", "32"])
def test_a_checkpoint_has_about_the_estimated_size(tmp_path, configuration, ema):
    config = tiny_config(configuration.name, ema=ema)
    state = build_state(config, torch.device("cpu"))
    for network, optimiser in zip(state.networks, state.optimisers, strict=True):
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
        optimiser.step()

    torch.save(state.state_dict(), tmp_path / "checkpoint.pt")

    n_bytes = (tmp_path / "checkpoint.pt").stat().st_size
    assert estimates.checkpoint_bytes(config.budget, configuration) == pytest.approx(
        n_bytes, rel=0.15
    )


def test_a_measured_speed_replaces_the_guess():
    config = tiny_config(epochs=10)  # only the last epoch is evaluated, so no validation is counted
    speeds = {estimates.workload_key(config): estimates.MeasuredSpeed(100.0, 900.0)}

    guessed = estimates.estimate([config], N_PAIRS, {}, 0)
    measured = estimates.estimate([config], N_PAIRS, speeds, 0)

    assert (guessed.is_measured, measured.is_measured) == (False, True)
    assert (guessed.memory_mb, measured.memory_mb) == (None, 900.0)
    evaluation_s = N_PAIRS["test"] / estimates.EVALUATED_IMAGES_PER_SECOND
    expected_s = 10 * 1600 / 100 + estimates.START_UP_S + evaluation_s
    assert measured.seconds == pytest.approx(expected_s)


def test_the_times_of_runs_add_up():
    one = estimates.estimate([tiny_config()], N_PAIRS, {}, 0)
    two = estimates.estimate([tiny_config(), tiny_config(seed=1)], N_PAIRS, {}, 0)

    assert two.seconds == pytest.approx(2 * one.seconds)


def test_the_workload_follows_from_the_terms_and_not_from_names_or_weights():
    def key(name="standard", **changes):
        return estimates.workload_key(tiny_config(name, **changes))

    assert key() == key("gan") == key(l1="50") == key(epochs="9", lr_g="1e-3")
    assert key() != key("regularized")
    assert key() != key("perceptual")
    assert key() != key(px="64")
    assert key("regularized", total_variation="0") == key()


def test_the_workload_follows_from_output_palette_regions_and_source_features():
    def key(name="vivid", **changes):
        return estimates.workload_key(tiny_config(name, **changes))

    assert key() == key(decoding="mean") == key(lr_g="2e-3")
    no_theme = {"colourfulness": "0", "colour_shares": "0", "decoding": "mean"}
    keys = {
        *(key(), key(n_colours="16"), key(regions="false"), key(adversarial="1")),
        *(key(source_features="none", **no_theme), key("standard")),
        *(key("standard", output="line_fill"), key("standard", adversarial="0")),
    }
    assert len(keys) == 8


def test_a_slower_configuration_has_a_longer_rough_estimate():
    def seconds(*arguments, **changes):
        return estimates.estimate([tiny_config(*arguments, **changes)], N_PAIRS, {}, 0).seconds

    no_theme = {"colourfulness": "0", "colour_shares": "0", "decoding": "mean"}
    assert seconds() < seconds("vivid", source_features="none", **no_theme) < seconds("vivid")
