import pytest
import torchvision

from engine.jobs import estimates
from engine.networks.architectures import build_discriminator
from engine.networks.outputs import Pretrained, build_generator
from engine.presets import BUDGETS, CONFIGURATIONS
from tests.support.runs import tiny_config

STANDARD = CONFIGURATIONS["standard"]

N_PAIRS = {"train": 1600, "val": 200, "test": 200}


@pytest.mark.parametrize("name", BUDGETS)
def test_the_counted_weights_are_those_of_the_built_networks(name):
    budget = BUDGETS[name]
    encoder = torchvision.models.resnet18(weights=None)

    counts = estimates.count_weights(budget)

    for network, count in zip(
        (build_generator(budget, STANDARD, Pretrained(encoder)), build_discriminator(budget)),
        counts,
        strict=True,
    ):
        assert count == pytest.approx(sum(part.numel() for part in network.parameters()), rel=0.1)


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
