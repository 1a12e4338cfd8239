"""A run waits for the downloads of its weights, or makes them."""

from dataclasses import replace

import pytest

from engine import weights
from engine.errors import MissingWeightsError
from engine.weights.download_state import DownloadFiles
from engine.workers import setup
from engine.workers.recorder import Recorder
from engine.workers.worker_process import StoppedError
from tests.support.runs import NOW, tiny_config
from tests.support.weights import replace_entry
from tests.support.weights_server import running_weights_server

FILE = weights.CATALOG["inception"].file


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server with a stand-in of the Inception file."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    replace_entry("inception", b"inception", monkeypatch)
    with running_weights_server() as running:
        running.files[FILE] = b"inception"
        yield running


@pytest.fixture
def recorder_with(store, settings, server):
    """A function that returns the recorder of a run, with a setting of downloads."""

    def build(fetch, should_stop=lambda: False):
        store.studies.add("key", "a", [tiny_config()], NOW)
        changed = replace(settings, fetch=fetch, weights_url=server.url)
        return Recorder(store, changed, store.jobs.claim(NOW), should_stop)

    return build


def note(store):
    return store.runs.read_attempts([1])[0].note


def test_with_auto_a_run_downloads_its_weights(store, recorder_with):
    recorder = recorder_with("auto")

    setup.fetch_weights(recorder, tiny_config())

    assert weights.find("inception", recorder.settings) is not None
    assert store.runs.read(1).phase == "downloading the Inception weights"


@pytest.mark.parametrize("fetch", ["ask", "never"])
def test_otherwise_a_run_starts_without_the_weights(server, recorder_with, fetch):
    recorder = recorder_with(fetch)

    setup.fetch_weights(recorder, tiny_config())

    assert server.requests == []


def test_a_failed_download_is_noted_and_the_run_starts_without_fid(store, server, recorder_with):
    server.status = 404

    setup.fetch_weights(recorder_with("auto"), tiny_config())

    assert "answered 404 Not Found" in note(store)


def test_a_run_that_is_chosen_by_fid_is_not_trained_without_the_weights(recorder_with):
    with pytest.raises(MissingWeightsError, match="choose_by=fid cannot be measured"):
        setup.fetch_weights(recorder_with("ask"), tiny_config(choose_by="fid"))


def test_a_run_that_waits_for_a_download_can_be_stopped(recorder_with):
    recorder = recorder_with("ask", should_stop=lambda: True)
    files = DownloadFiles(weights.CATALOG["inception"], recorder.settings)
    files.folder.mkdir(parents=True)

    with (
        files.lock(),
        pytest.raises(StoppedError, match="while downloading the Inception weights"),
    ):
        setup.fetch_weights(recorder, tiny_config())
