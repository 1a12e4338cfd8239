"""Commands that download feature weights, from a stand-in server."""

import json
import os

import pytest

from engine import weights
from engine.cli.main import main
from engine.jobs import spawn
from tests.support.weights import replace_entry
from tests.support.weights_server import running_weights_server

STUDY = ["study", "--data", "openmoji", "--budget", "smoke", "--configurations", "perceptual"]
DOWNLOADS = ("inception", "vgg19", "resnet18")
HINT = "FID, KID and the Inception Score will be missing: they need the Inception weights (0 MB)."


@pytest.fixture
def server(settings, monkeypatch, tmp_path):
    """A server with all files; the commands use it and an installation in a temporary folder."""
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(settings.artifacts))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("CHROMABENCH_FETCH", raising=False)
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    with running_weights_server() as running:
        for name in DOWNLOADS:
            running.files[weights.CATALOG[name].file] = name.encode()
            replace_entry(name, name.encode(), monkeypatch)
        monkeypatch.setenv("CHROMABENCH_WEIGHTS_URL", running.url)
        yield running


def test_fetch_downloads_each_named_file_once_and_prints_its_path(server, settings, capsys):
    assert main(["weights", "fetch", "vgg19", "inception", "vgg19"]) == 0

    paths = capsys.readouterr().out.split()
    assert paths == [str(weights.find(name, settings)) for name in ("vgg19", "inception")]
    assert len(server.requests) == 2


def test_fetch_all_downloads_every_file_that_is_not_in_a_package(server, settings, capsys):
    assert main(["weights", "fetch", "all"]) == 0

    assert len(capsys.readouterr().out.split()) == 3
    assert all(weights.find(name, settings) for name in DOWNLOADS)


def test_list_and_doctor_state_a_part_and_the_reason_of_a_failure(server, capsys):
    server.status = 404
    assert main(["weights", "fetch", "inception"]) == 1
    capsys.readouterr()

    main(["weights", "list", "--json"])
    states = {entry["name"]: entry["state"] for entry in json.loads(capsys.readouterr().out)}
    main(["doctor", "--json"])
    checks = {check["about"]: check for check in json.loads(capsys.readouterr().out)}

    assert states["inception"] == "missing"
    assert states["efficientnet_lite2"] == "here"
    assert "answered 404 Not Found" in checks["Weights inception"]["found"]
    assert checks["Weights inception"]["way_out"] == "python -m engine weights fetch inception"


def test_a_study_says_once_which_metrics_will_be_missing(server, capsys):
    assert main(STUDY) == 0

    assert capsys.readouterr().err.count(HINT) == 1
    assert server.requests == []


@pytest.mark.parametrize("arguments", [["--json"], []])
def test_a_study_is_silent_about_weights_with_json_or_never(server, capsys, monkeypatch, arguments):
    monkeypatch.setenv("CHROMABENCH_FETCH", "ask" if arguments else "never")

    assert main([*STUDY, *arguments]) == 0

    assert HINT not in capsys.readouterr().err


def test_fetch_weights_downloads_before_the_runs_are_queued(server, store, settings, capsys):
    assert main([*STUDY, "--fetch-weights"]) == 0

    (run,) = store.runs.read_all()
    assert run.config.execution.perceptual_features == "vgg19"
    assert weights.find("inception", settings) is not None
    assert weights.find("resnet18", settings) is None
    assert HINT not in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["offline", "never"])
def test_fetch_weights_queues_nothing_if_a_download_is_not_possible(
    server, store, capsys, monkeypatch, fault
):
    server.status = 404
    monkeypatch.setenv("CHROMABENCH_FETCH", "never" if fault == "never" else "ask")

    status = main([*STUDY, "--fetch-weights"])

    message = capsys.readouterr().err
    assert status == (2 if fault == "never" else 1)
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert f"into {os.environ['CHROMABENCH_ARTIFACTS']}/weights." in message
    assert store.runs.read_all() == []


def test_with_auto_a_study_is_queued_and_its_runs_wait_for_the_weights(
    server, store, capsys, monkeypatch
):
    monkeypatch.setenv("CHROMABENCH_FETCH", "auto")

    assert main(STUDY) == 0

    (run,) = store.runs.read_all()
    assert run.config.execution.perceptual_features == "vgg19"
    assert "The runs wait for the download of weights: Inception (0 MB), VGG19 (0 MB)." in (
        capsys.readouterr().err
    )
    assert server.requests == []


def test_a_clone_and_an_extension_can_download_too(server, store, settings):
    assert main(STUDY) == 0

    assert main(["clone", "1", "--fetch-weights"]) == 0

    # The clone repeats the network of its study, so that VGG19 is not needed.
    assert weights.find("vgg19", settings) is None
    assert weights.find("inception", settings) is not None
    extension = ["study", "--extend", "1", "--seeds", "2", "--fetch-weights"]
    assert main(extension) == 0
    assert {run.config.execution.perceptual_features for run in store.runs.read_all()} == {
        "efficientnet_lite0"
    }
