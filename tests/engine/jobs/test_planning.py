import json

import pytest

from engine.data.sources.openmoji import OpenMoji
from engine.errors import BadInputError, MissingWeightsError
from engine.jobs import planning
from engine.report.comparison import compare
from engine.report.export.csv_files import results_json
from tests.conftest import NOW, tiny_config


@pytest.fixture
def exported(store, settings, tmp_path):
    """A results.json of two configurations and two seeds."""
    configs = [tiny_config(name, seed) for name in ("standard", "gan") for seed in (0, 1)]
    configs = [planning.choose_weights(config, settings) for config in configs]
    study, runs = store.add_study("key", "mine", configs, NOW)
    path = tmp_path / "results.json"
    path.write_text(results_json(store, study, runs, compare(store, study.id), []))
    return path, configs


def test_an_exported_study_is_planned_again_as_it_was(exported, settings):
    path, configs = exported

    again, name = planning.plan_repetition(path, settings)

    assert again == configs
    assert name == "mine (again)"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda document: document.update(format=99), "of format 1"),
        (lambda document: document.update(runs=[]), "runs: List should have at least 1"),
        (lambda document: document["runs"][0].pop("config"), "Run 1 of .*required"),
        (lambda document: document["runs"].append(document["runs"][0]), "holds a run twice"),
        (
            lambda document: document["runs"][0]["config"]["configuration"].update(lr_g=-1),
            "Run 1 of .*lr_g cannot be",
        ),
        (
            lambda document: document["runs"][0]["config"].update(data="nowhere"),
            "different data or budgets",
        ),
    ],
)
def test_a_file_that_was_tampered_with_is_refused_in_one_sentence(
    exported, settings, change, reason
):
    path, _ = exported
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))

    with pytest.raises(BadInputError, match=reason):
        planning.plan_repetition(path, settings)


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", "[" * 100_000])
def test_what_is_no_results_file_is_refused(settings, tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)

    with pytest.raises(BadInputError, match=r"no results\.json"):
        planning.plan_repetition(path, settings)


def test_a_file_that_is_not_there_is_refused(settings, tmp_path):
    with pytest.raises(BadInputError, match="There is no file"):
        planning.plan_repetition(tmp_path / "gone.json", settings)


def test_a_judge_that_is_not_on_the_machine_cannot_choose(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    with pytest.raises(MissingWeightsError, match="choose_by=kid cannot be measured"):
        planning.choose_weights(tiny_config(choose_by="kid"), settings)


def test_maps_that_are_kept_cannot_be_shifted(settings):
    with pytest.raises(BadInputError, match="keep_maps=on needs jitter=0, not 3"):
        planning.plan_study(
            OpenMoji(), "demo", ["perceptual"], 1, {"keep_maps": "on", "jitter": "3"}, settings
        )
