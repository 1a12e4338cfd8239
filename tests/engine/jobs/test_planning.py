import json
from dataclasses import replace

import pytest
from PIL import Image

from engine import weights
from engine.annotations import check_name
from engine.data.sources.openmoji import OpenMoji
from engine.data.sources.registry import parse_source
from engine.errors import BadInputError, MissingWeightsError
from engine.jobs import planning
from engine.presets import SKETCH_STUDY_CONFIGURATIONS
from engine.report.comparison import compare
from engine.report.export.csv_files import results_json
from tests.support.runs import NOW, tiny_config


def plan(settings, **changes):
    """Plans a smoke study; `changes` replace arguments of `plan_study`."""
    arguments = {
        "data": "openmoji",
        "budget": "smoke",
        "configurations": SKETCH_STUDY_CONFIGURATIONS,
        "seeds": 1,
        "changes": {},
        **changes,
    }
    source = parse_source(arguments.pop("data"), settings)
    return planning.plan_study(source, **arguments, settings=settings)


def test_a_plan_has_a_run_for_each_configuration_and_seed(settings):
    configs = plan(settings, seeds=2)

    assert [config.label for config in configs] == [
        f"{name}, seed {seed}" for name in SKETCH_STUDY_CONFIGURATIONS for seed in (0, 1)
    ]


def test_the_perceptual_network_is_resolved_before_the_start(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    configs = plan(settings, configurations=["perceptual"])

    assert configs[0].execution.perceptual_features == "efficientnet_lite0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "nowhere"}, "no data source 'nowhere'"),
        ({"budget": "huge"}, "no budget 'huge'"),
        ({"configurations": []}, "at least one configuration"),
        ({"configurations": ["best"]}, "no configuration 'best'"),
        ({"seeds": 0}, "seeds must be from 1 to 100, not 0"),
        ({"changes": {"batch": "65"}}, "batch must be at most 64"),
        ({"changes": {"jitter": "32"}}, r"jitter must be less than px \(32\)"),
        ({"changes": {"lr_g": "nan"}}, "lr_g cannot be 'nan'"),
        ({"changes": {"regions": "true"}}, "^standard: regions=true needs output=palette"),
        (
            {"changes": {"decoding": "best"}},
            "decoding must be one of mean, sharp, median, medoid, sample",
        ),
    ],
)
def test_an_invalid_plan_is_refused_with_a_message(settings, changes, message):
    with pytest.raises(BadInputError, match=message):
        plan(settings, **changes)

    assert not settings.artifacts.exists()


def test_compiling_without_a_compiler_is_refused_with_a_hint(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BadInputError, match="needs a C compiler and there is none"):
        plan(settings, changes={"compile": "on"})


@pytest.mark.parametrize("name", ["", "   ", "a" * 121, "two\nlines", "bell\a"])
def test_an_invalid_study_name_is_refused(name):
    with pytest.raises(BadInputError, match="printable"):
        check_name(name)


@pytest.fixture
def exported(store, settings, tmp_path):
    """A results.json of two configurations and two seeds."""
    configs = [tiny_config(name, seed) for name in ("standard", "gan") for seed in (0, 1)]
    configs = [planning.resolve_weights(config, settings) for config in configs]
    study, runs = store.studies.add("key", "mine", configs, NOW)
    path = tmp_path / "results.json"
    path.write_text(results_json(study, runs, compare(store, study.id), []))
    return path, configs


def test_an_exported_study_is_planned_again_with_equal_configs(exported, settings):
    path, configs = exported

    repeated, name = planning.plan_repetition(path, settings)

    assert repeated == configs
    assert name == "mine (again)"


@pytest.mark.parametrize(
    ("change", "message"),
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
def test_a_results_file_with_invalid_values_is_refused_with_a_message(
    exported, settings, change, message
):
    path, _ = exported
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))

    with pytest.raises(BadInputError, match=message):
        planning.plan_repetition(path, settings)


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", "[" * 100_000])
def test_a_file_that_is_no_results_file_is_refused(settings, tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)

    with pytest.raises(BadInputError, match=r"no results\.json"):
        planning.plan_repetition(path, settings)


def test_a_missing_results_file_is_refused(settings, tmp_path):
    with pytest.raises(BadInputError, match="There is no file"):
        planning.plan_repetition(tmp_path / "gone.json", settings)


def test_a_metric_without_its_weights_cannot_choose_the_checkpoint(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    with pytest.raises(MissingWeightsError, match="choose_by=kid cannot be measured"):
        planning.resolve_weights(tiny_config(choose_by="kid"), settings)


def test_regions_can_be_switched_off_in_a_study_with_and_without_a_palette(settings):
    configs = plan(settings, configurations=["standard", "vivid"], changes={"regions": "false"})

    assert [config.configuration.regions for config in configs] == [False, False]


def test_vivid_is_refused_for_photographs(settings):
    folder = settings.artifacts.parent / "photographs"
    folder.mkdir()
    for number in range(200):
        colour = (number, 255 - number, 128)
        Image.new("RGB", (64, 64), colour).save(folder / f"{number}.png")

    with pytest.raises(
        BadInputError, match=r"vivid: output=palette .* is a grey\. Use a source of line"
    ):
        plan(settings, data=f"photos:{folder}", configurations=["vivid"])


def test_pretrained_features_of_the_source_need_their_weights(settings, monkeypatch):
    entry = replace(weights.CATALOG["efficientnet_lite0"], package="missing_package")
    monkeypatch.setitem(weights.CATALOG, "efficientnet_lite0", entry)

    with pytest.raises(
        MissingWeightsError, match=r"source_features=efficientnet_lite0 cannot be computed: .*pip"
    ):
        plan(settings, configurations=["vivid"])


def test_feature_maps_cannot_be_kept_for_shifted_images(settings):
    with pytest.raises(BadInputError, match="keep_maps=on needs jitter=0, not 3"):
        planning.plan_study(
            OpenMoji(), "demo", ["perceptual"], 1, {"keep_maps": "on", "jitter": "3"}, settings
        )
