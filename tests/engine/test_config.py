import pytest
from pydantic import ValidationError

from engine.config import Budget, Configuration, RunConfig, build
from engine.errors import BadInputError
from engine.overrides import (
    apply_settings,
    changed_settings,
    parse_setting,
    settings_differences,
)
from engine.presets import BUDGETS, CONFIGURATIONS
from tests.support.runs import tiny_config


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("px", "100", "px must be a multiple of 32, not 100"),
        ("px", "100", "The nearest are 96 and 128"),
        ("lr_g", "nan", "lr_g cannot be 'nan'"),
        ("lr_g", "inf", "lr_g cannot be 'inf'"),
        ("lr_d", "-1e-4", "lr_d cannot be '-1e-4'"),
        ("epochs", "0", "epochs cannot be '0'"),
        ("epochs", "-3", "epochs cannot be '-3'"),
        ("batch", "none", "batch cannot be 'none'"),
        ("beta1", "1", "beta1 cannot be '1'"),
        ("optimizer", "sgd", "optimizer cannot be 'sgd': input should be 'adam' or 'adamw'."),
        ("schedule", "step", "schedule cannot be 'step': input should be 'linear' or 'cosine'."),
        ("warmup_steps", "-1", "warmup_steps cannot be '-1'"),
        (
            "weight_decay",
            "0.02",
            "weight_decay=0.02 needs optimizer=adamw, not adam; "
            "set optimizer=adamw or weight_decay=0.",
        ),
        (
            "final_lr",
            "0.5",
            "final_lr=0.5 needs schedule=cosine, not linear; set schedule=cosine or final_lr=0.02.",
        ),
        ("l1", "-1", "l1 cannot be '-1'"),
        ("l1", "1e309", "l1 cannot be '1e309'"),
        ("record_every", "9" * 30, "record_every cannot be"),
        ("norm", "layer", "norm cannot be 'layer'"),
        ("precision", "fp16", "precision cannot be 'fp16'"),
    ],
)
def test_a_bad_value_is_refused_by_field_and_value(key, value, sentence):
    with pytest.raises(BadInputError) as refusal:
        tiny_config(**{key: value})

    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["lr_g", "lr_g=", "bogus=1", "=3"])
def test_a_setting_without_a_value_or_with_an_unknown_key_is_refused(text):
    with pytest.raises(BadInputError):
        parse_setting(text)


def test_changed_settings_leave_the_others_unchanged():
    plain = tiny_config()

    changed = apply_settings(plain, {"lr_g": "1e-4", "l1": "50", "epochs": "3"})

    assert changed.configuration.lr_g == 1e-4
    assert str(changed.configuration.recipe) == "adversarial + 50 l1"
    assert changed.budget.epochs == 3
    assert changed.configuration.lr_d == plain.configuration.lr_d
    assert changed.budget.px == plain.budget.px


def test_a_term_that_is_not_in_the_recipe_is_added():
    changed = apply_settings(tiny_config(), {"total_variation": "0.5"})

    assert str(changed.configuration.recipe) == "adversarial + 100 l1 + 0.5 total_variation"


def test_unknown_keys_are_refused():
    with pytest.raises(BadInputError, match="Unknown key 'colour'"):
        build(Budget, {**BUDGETS["demo"].model_dump(), "colour": 1})


def test_a_budget_that_was_stored_before_the_setting_starts_with_normal_weights():
    stored = BUDGETS["demo"].model_dump(exclude={"upconv_init"})

    assert build(Budget, stored).upconv_init == "normal"


def test_a_configuration_cannot_be_changed_in_place():
    with pytest.raises(ValidationError):
        CONFIGURATIONS["standard"].lr_g = 1.0


def test_a_recipe_cannot_have_a_term_twice():
    document = CONFIGURATIONS["standard"].model_dump()
    document["recipe"]["terms"] = [{"name": "l1", "weight": 1}, {"name": "l1", "weight": 2}]

    with pytest.raises(BadInputError, match="l1 is in the recipe more than once"):
        build(type(CONFIGURATIONS["standard"]), document)


def test_a_run_written_to_json_is_read_unchanged():
    config = tiny_config("perceptual", seed=7)

    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_a_configuration_of_an_older_release_has_adam_and_a_linear_schedule():
    document = CONFIGURATIONS["ganv3"].model_dump()
    for key in ("optimizer", "weight_decay", "schedule", "warmup_steps", "final_lr"):
        del document[key]

    assert build(Configuration, document) == CONFIGURATIONS["ganv3"]


def test_a_weight_of_0_leaves_a_term_out():
    assert str(apply_settings(tiny_config(), {"adversarial": "0"}).configuration.recipe) == "100 l1"
    assert apply_settings(tiny_config(), {"colourfulness": "0"}) == tiny_config()

    changed = apply_settings(tiny_config("perceptual"), {"perceptual": "0"})

    assert changed_settings(changed).items() >= {"perceptual": "0"}.items()
    assert apply_settings(tiny_config("perceptual"), changed_settings(changed)) == changed


def test_the_settings_of_a_palette_are_set_by_keys_and_differ_in_the_flat_settings():
    plain = tiny_config("vivid")
    settings = {
        **{"n_colours": "16", "regions": "false", "source_features": "none", "decoding": "sharp"},
        **{"colourfulness": "0", "colour_shares": "0"},
    }

    changed = apply_settings(plain, settings)

    assert settings_differences(plain, changed) == {
        "weight of colourfulness": (0.5, 0.0),
        "weight of colour_shares": (0.1, 0.0),
        "n_colours": (32, 16),
        "regions": (True, False),
        "source_features": ("efficientnet_lite0", "none"),
        "decoding": (plain.configuration.decoding, "sharp:0.1"),
    }
    assert apply_settings(plain, changed_settings(changed)) == changed


def test_the_flat_settings_name_the_output_of_the_generator():
    differences = settings_differences(tiny_config(output="line_fill"), tiny_config("vivid"))

    assert differences["output"] == ("line_fill", "palette")


def test_a_setting_without_effect_is_possible_and_one_that_needs_a_palette_is_not():
    assert apply_settings(tiny_config(), {"regions": "false"}) == tiny_config()
    assert not apply_settings(tiny_config("vivid"), {"regions": "false"}).configuration.regions

    with pytest.raises(BadInputError, match=r"^standard: regions=true needs output=palette"):
        apply_settings(tiny_config(), {"regions": "true"})


def test_the_optimiser_is_set_by_keys_and_differs_in_the_flat_settings():
    plain = tiny_config()
    settings = {
        **{"optimizer": "adamw", "weight_decay": "0.02"},
        **{"schedule": "cosine", "warmup_steps": "50", "final_lr": "0.1"},
    }

    changed = apply_settings(plain, settings)

    differences = settings_differences(plain, changed)
    assert differences == {
        "optimizer": ("adam", "adamw"),
        "weight_decay": (0.0, 0.02),
        "schedule": ("linear", "cosine"),
        "warmup_steps": (0, 50),
        "final_lr": (0.02, 0.1),
    }
    assert settings.items() <= changed_settings(changed).items()
    assert apply_settings(plain, changed_settings(changed)) == changed
