"""Everything that depends on the loss terms is derived from their table."""

import subprocess
import sys

import pytest

from engine.config import Recipe, Term, build
from engine.errors import BadInputError
from engine.metrics.catalog import CATALOG
from engine.options.loss_terms import LOSS_TERMS
from engine.overrides import TERM_KEYS, parse_setting
from engine.presets import CONFIGURATIONS
from engine.settings import PROJECT_ROOT
from engine.training.losses import TERM_FUNCTIONS

WITH_A_NEW_TERM = """
from engine.options.loss_terms import LOSS_TERMS, LossTerm

LOSS_TERMS["edges"] = LossTerm("edges", "edge", 5, "down", 3, "features", "Difference.")

from dashboard.components.launch.configurations_form import LABELS, as_row, build_configuration
from engine.config import RunConfig
from engine.metrics.catalog import CATALOG, CURVE_METRICS
from engine.overrides import TERM_KEYS, apply_settings, flat_settings, parse_setting
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.report.export.bundle import CURVE_FIGURES

plain = RunConfig(data="openmoji", configuration=CONFIGURATIONS["standard"], budget=BUDGETS["demo"])
config = apply_settings(plain, dict([parse_setting("edges=5")]))
assert str(config.configuration.recipe) == "adversarial + 100 l1 + 5 edges"
assert config.configuration.recipe.needs_features
assert flat_settings(config)["weight of edges"] == 5

row = {**as_row(CONFIGURATIONS["standard"]), **dict.fromkeys(TERM_KEYS, 0.0), "edges": 2.0}
assert LABELS["edges"] == "weight of edge"
assert str(build_configuration("mine", row).recipe) == "2 edges"

metric = CATALOG["edges"]
assert (metric.label, metric.better, metric.digits) == ("Edge", "down", 3)
assert metric.description == "Difference."
assert "edges" in CURVE_METRICS
assert "edges" in CURVE_FIGURES

try:
    import engine.training.losses
except AssertionError as error:
    assert "a loss term has no function" in str(error)
else:
    raise AssertionError("a row without a function was accepted")
"""


def test_a_new_row_adds_a_term_to_schema_settings_form_catalog_and_figures():
    result = subprocess.run(
        [sys.executable, "-c", WITH_A_NEW_TERM], cwd=PROJECT_ROOT, capture_output=True, text=True
    )

    assert result.returncode == 0, result.stderr


def test_every_term_has_a_function_a_setting_and_a_metric():
    assert list(TERM_FUNCTIONS) == list(LOSS_TERMS)
    assert list(TERM_KEYS) == list(LOSS_TERMS)
    for name, term in LOSS_TERMS.items():
        assert term.name == name
        assert CATALOG[name].label == term.title
        assert CATALOG[name].group == "training"


def test_the_published_recipes_of_the_sketch_study_have_the_typical_weights():
    weights = {
        term.name: term.weight
        for name in ("standard", "perceptual", "regularized")
        for term in CONFIGURATIONS[name].recipe.terms
    }

    typical = {name: LOSS_TERMS[name].typical_weight for name in weights}
    assert weights == typical
    assert set(weights) == {"adversarial", "l1", "perceptual", "total_variation"}


def test_an_unknown_term_is_refused_with_the_most_similar_name():
    with pytest.raises(BadInputError) as refusal:
        build(Term, {"name": "perceptuel", "weight": 1})

    assert str(refusal.value) == (
        "There is no loss term 'perceptuel' (did you mean 'perceptual'?); "
        "there are adversarial, l1, perceptual, total_variation, "
        "palette, colourfulness, colour_shares."
    )


def test_an_unknown_setting_is_refused_with_the_most_similar_key():
    with pytest.raises(BadInputError, match=r"no setting 'epoch' \(did you mean 'epochs'\?\)"):
        parse_setting("epoch=3")


def test_a_term_without_a_weight_is_refused_with_its_typical_weight():
    with pytest.raises(BadInputError, match="for example --set l1=100"):
        parse_setting("l1")


def test_the_stored_json_of_a_recipe_has_names_and_weights():
    recipe = CONFIGURATIONS["standard"].recipe

    assert recipe.model_dump_json() == (
        '{"terms":[{"name":"adversarial","weight":1.0},{"name":"l1","weight":100.0}]}'
    )
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
