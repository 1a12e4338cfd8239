import pytest
import torchvision

from engine.jobs import estimates
from engine.networks.architectures import build_discriminator, build_generator
from engine.presets import BUDGETS
from tests.conftest import tiny_config

PAIRS = {"train": 1600, "val": 200, "test": 200}


@pytest.mark.parametrize("name", BUDGETS)
def test_weights_are_counted_without_building_the_networks(name):
    budget = BUDGETS[name]
    encoder = torchvision.models.resnet18(weights=None)

    counted = estimates.count_weights(budget)

    for network, found in zip(
        (build_generator(budget, encoder), build_discriminator(budget)), counted, strict=True
    ):
        assert found == pytest.approx(sum(it.numel() for it in network.parameters()), rel=0.1)


def test_measured_speeds_come_first():
    config = tiny_config(epochs=10)  # judged once: nothing to choose, nothing to pay for
    paces = {estimates.work_of(config): estimates.Pace(100.0, 900.0)}

    guessed = estimates.estimate([config], PAIRS, {}, 0)
    measured = estimates.estimate([config], PAIRS, paces, 0)

    assert (guessed.is_measured, measured.is_measured) == (False, True)
    assert (guessed.memory_mb, measured.memory_mb) == (None, 900.0)
    judged = PAIRS["test"] / estimates.JUDGED_PER_SECOND
    assert measured.seconds == pytest.approx(10 * 1600 / 100 + estimates.START_S + judged)


def test_runs_one_after_the_other_add_up():
    one = estimates.estimate([tiny_config()], PAIRS, {}, 0)
    two = estimates.estimate([tiny_config(), tiny_config(seed=1)], PAIRS, {}, 0)

    assert two.seconds == pytest.approx(2 * one.seconds)


def test_equal_work_is_told_by_its_terms_and_not_by_a_name_or_a_weight():
    def work(name="standard", **changes):
        return estimates.work_of(tiny_config(name, **changes))

    assert work() == work("gan") == work(l1="50") == work(epochs="9", lr_g="1e-3")
    assert work() != work("regularized")
    assert work() != work("perceptual")
    assert work() != work(px="64")
    assert work("regularized", total_variation="0") == work()
