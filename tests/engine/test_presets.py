import pytest

from engine.errors import BadInputError
from engine.presets import BUDGETS, CONFIGURATIONS, read_budget, read_configurations


def test_the_six_configurations_are_the_published_ones():
    table = {
        name: (str(it.recipe), it.lr_g, it.lr_d, it.beta1, it.beta2)
        for name, it in CONFIGURATIONS.items()
    }

    assert table == {
        "standard": ("adversarial + 100 l1", 2e-4, 2e-4, 0.5, 0.999),
        "perceptual": ("adversarial + 100 l1 + 10 perceptual", 2e-4, 2e-4, 0.5, 0.999),
        "regularized": ("adversarial + 100 l1 + 0.1 total_variation", 2e-4, 2e-4, 0.5, 0.999),
        "gan": ("adversarial + 100 l1", 2e-4, 2e-4, 0.5, 0.999),
        "ganv2": ("adversarial + 50 l1", 1e-4, 3e-4, 0.6, 0.999),
        "ganv3": ("adversarial + 150 l1", 3e-4, 1e-4, 0.4, 0.995),
    }


def test_the_five_budgets_have_the_sizes_that_were_agreed():
    table = {
        name: (it.px, it.base_channels, it.epochs, it.batch, it.n_train, it.n_val, it.n_test)
        for name, it in BUDGETS.items()
    }

    assert table == {
        "smoke": (32, 8, 1, 8, 64, 32, 32),
        "demo": (64, 32, 4, 16, 2500, 300, 300),
        "study1": (192, 64, 60, 16, 8000, 1000, 1000),
        "study2": (256, 64, 5, 64, None, None, None),
        "paper": (256, 64, 200, 1, None, None, None),
    }


def test_published_recipes_have_no_moving_average():
    assert {BUDGETS[name].ema for name in ("study1", "study2", "paper")} == {0.0}


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(BadInputError, match=r"no budget 'huge'; there are smoke, demo"):
        read_budget("huge")
    with pytest.raises(BadInputError, match=r"no configuration 'best'; there are standard"):
        read_configurations(["best"])


def test_a_configuration_named_twice_is_refused():
    with pytest.raises(BadInputError, match="named twice"):
        read_configurations(["gan", "gan"])
