from dataclasses import replace

import pytest

from engine import weights
from engine.data.sources.registry import parse_source
from engine.errors import MissingWeightsError
from engine.jobs import planning
from engine.weights import requirements
from engine.weights.download_state import DownloadFiles
from tests.support.runs import tiny_config

pytestmark = pytest.mark.usefixtures("empty_torch_cache")


@pytest.mark.parametrize(
    ("configuration", "changes", "names"),
    [
        ("standard", {}, ("inception",)),
        ("perceptual", {"perceptual_features": "auto"}, ("inception", "vgg19")),
        ("perceptual", {"perceptual_features": "vgg19"}, ("inception", "vgg19")),
        ("perceptual", {"perceptual_features": "efficientnet_lite0"}, ("inception",)),
        ("standard", {"generator": "resnet18_unet"}, ("inception", "resnet18")),
        ("vivid", {}, ("inception",)),
        ("standard", {"generator": "resnet18_unet", "encoder_weights": "none"}, ("inception",)),
    ],
)
def test_the_files_that_a_run_uses(configuration, changes, names):
    assert requirements.used_downloads(tiny_config(configuration, **changes)) == names


def test_the_files_of_a_study_are_those_of_its_runs_that_are_missing(settings):
    configs = [tiny_config("standard"), tiny_config("perceptual", perceptual_features="auto")]
    settings.weights_dir.mkdir(parents=True)
    assert weights.missing_downloads(configs, settings) == ("inception", "vgg19")

    (settings.weights_dir / weights.CATALOG["inception"].file).touch()

    assert weights.missing_downloads(configs, settings) == ("vgg19",)


def plan(settings, **changes):
    source = parse_source("openmoji", settings)
    (config,) = planning.plan_study(source, "smoke", ["perceptual"], 1, changes, settings)
    return config.execution.perceptual_features


def test_a_study_waits_for_a_download_and_then_uses_its_network(settings):
    files = DownloadFiles(weights.CATALOG["vgg19"], settings)
    assert plan(settings) == "efficientnet_lite0"
    files.folder.mkdir(parents=True)

    with files.lock():
        assert plan(settings) == "vgg19"

    assert plan(settings) == "efficientnet_lite0"


@pytest.mark.parametrize("key", ["choose_by", "perceptual_features"])
def test_weights_that_are_named_are_required_unless_they_will_be_downloaded(settings, key):
    changes = {key: "fid" if key == "choose_by" else "vgg19"}
    for fetch in ("ask", "never"):
        with pytest.raises(MissingWeightsError, match="weights fetch"):
            plan(replace(settings, fetch=fetch), **changes)

    assert plan(replace(settings, fetch="auto"), **changes) == "vgg19"
