import pytest

from engine.errors import BadInputError
from engine.presets import (
    BUDGETS,
    PUBLISHED_CONFIGURATIONS,
    PUBLISHED_STUDIES,
    default_configurations,
    get_budget,
    get_configurations,
)


def test_the_six_configurations_are_the_published_ones():
    table = {
        name: (str(preset.recipe), preset.lr_g, preset.lr_d, preset.beta1, preset.beta2)
        for name, preset in PUBLISHED_CONFIGURATIONS.items()
    }

    assert table == {
        "standard": ("adversarial + 100 l1", 2e-4, 2e-4, 0.5, 0.999),
        "perceptual": ("adversarial + 100 l1 + 10 perceptual", 2e-4, 2e-4, 0.5, 0.999),
        "regularized": ("adversarial + 100 l1 + 0.1 total_variation", 2e-4, 2e-4, 0.5, 0.999),
        "gan": ("adversarial + 100 l1", 2e-4, 2e-4, 0.5, 0.999),
        "ganv2": ("adversarial + 50 l1", 1e-4, 3e-4, 0.6, 0.999),
        "ganv3": ("adversarial + 150 l1", 3e-4, 1e-4, 0.4, 0.995),
    }


def test_the_six_configurations_train_with_adam_and_without_warm_up():
    for preset in PUBLISHED_CONFIGURATIONS.values():
        assert (preset.optimizer, preset.weight_decay) == ("adam", 0)
        assert (preset.schedule, preset.warmup_steps) == ("linear", 0)


def test_the_five_budgets_have_their_documented_sizes():
    table = {
        name: tuple(
            getattr(budget, field)
            for field in ("px", "base_channels", "epochs", "batch", "n_train", "n_val", "n_test")
        )
        for name, budget in BUDGETS.items()
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


def test_published_recipes_start_with_normal_weights():
    assert {BUDGETS[name].upconv_init for name in ("study1", "study2", "paper")} == {"normal"}


def test_by_default_the_published_configurations_are_compared_with_the_best_of_the_source():
    published = PUBLISHED_STUDIES["Sketch study"][1]

    assert published == ("standard", "perceptual", "regularized")
    assert default_configurations("sketch") == (*published, "vivid")
    assert default_configurations("grey") == (*published, "vivid_photo")
    for source_label in ("sketch", "grey"):
        for configuration in get_configurations(default_configurations(source_label)):
            output = configuration.output_at(BUDGETS["demo"])
            assert output.source_label in ("", source_label)


def test_an_unknown_name_is_refused_with_the_names_that_exist():
    with pytest.raises(BadInputError, match=r"no budget 'huge'; there are smoke, demo"):
        get_budget("huge")
    with pytest.raises(BadInputError, match=r"'stduy1' \(did you mean 'study1'\?\); there are"):
        get_budget("stduy1")
    with pytest.raises(BadInputError, match=r"no configuration 'best'; there are standard"):
        get_configurations(["best"])


def test_a_configuration_named_twice_is_refused():
    with pytest.raises(BadInputError, match="named twice"):
        get_configurations(["gan", "gan"])
