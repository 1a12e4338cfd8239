"""The section of the Launch page about missing weights."""

import pytest
import streamlit as st

from dashboard import startup
from engine import weights
from engine.records.runs import RunState
from engine.weights import download_state
from engine.weights.download_state import DownloadFiles, DownloadRecord
from tests.support.pages import open_page, texts
from tests.support.runs import kill_processes_of, wait_for
from tests.support.weights import replace_entry, replace_in_processes
from tests.support.weights_server import running_weights_server

MB = 2**20


@pytest.fixture(autouse=True)
def empty_torch_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("CHROMABENCH_FETCH", raising=False)


@pytest.fixture
def inception(app_settings):
    """The files of the download of the Inception weights."""
    files = DownloadFiles(weights.CATALOG["inception"], app_settings)
    files.folder.mkdir(parents=True)
    return files


def labels(app):
    return [button.label for button in app.button]


def test_launch_offers_each_missing_file_with_its_size(empty):
    app = open_page("launch")

    assert "Weights for FID and the perceptual term" in texts(app)
    assert "Download Inception weights (91 MB)" in labels(app)
    assert "Download VGG19 weights (548 MB)" in labels(app)
    assert app.button(key="launch_start").label == "Start study"


def test_a_study_without_a_perceptual_term_needs_only_inception(empty):
    app = open_page("launch")

    app.multiselect(key="launch_configurations").set_value(["standard"]).run()

    assert [label for label in labels(app) if label.startswith("Download")] == [
        "Download Inception weights (91 MB)"
    ]


def test_the_section_disappears_when_the_files_are_here(empty, app_settings):
    app_settings.weights_dir.mkdir()
    for name in ("inception", "vgg19"):
        (app_settings.weights_dir / weights.CATALOG[name].file).touch()

    app = open_page("launch")

    assert "Weights for" not in texts(app)
    assert "FID will be recorded." in texts(app)
    assert "The perceptual term uses **VGG19** features." in texts(app)


def test_a_running_download_shows_its_bytes_and_what_start_does(empty, inception):
    inception.partial.write_bytes(bytes(40 * MB))

    with inception.lock():
        app = open_page("launch")

        assert "Downloading Inception weights: 40 of 91 MB" in str(app.get("progress")[0].proto)
        assert app.button(key="launch_start").label == "Start study after the download"
        assert "If it fails, the runs start without FID." in texts(app)
        app.button(key="cancel_download_inception").click().run()
        assert "Cancelling…" in labels(app)
    assert inception.is_cancelled(inception.load_record().token)


def test_a_partly_downloaded_file_can_be_continued(empty, inception):
    inception.partial.write_bytes(bytes(40 * MB))

    app = open_page("launch")

    assert "Continue Inception download (40 of 91 MB)" in labels(app)


def test_a_failed_download_shows_its_reason_and_can_be_repeated(empty, inception):
    inception.save_record(DownloadRecord(error="x.pth could not be downloaded (no network)."))

    app = open_page("launch")

    assert "could not be downloaded (no network)" in app.error[0].value.replace("\\", "")
    assert "Retry Inception download" in labels(app)


def test_never_shows_the_way_by_hand_and_no_button(empty, monkeypatch):
    monkeypatch.setenv("CHROMABENCH_FETCH", "never")

    app = open_page("launch")

    assert "Downloads are turned off (`CHROMABENCH_FETCH=never`)" in texts(app)
    assert not [label for label in labels(app) if "ownload" in label]
    assert app.button(key="launch_start").label == "Start study"


def test_auto_says_that_start_downloads_first_and_queues_runs_with_vgg19(empty, monkeypatch):
    monkeypatch.setenv("CHROMABENCH_FETCH", "auto")
    app = open_page("launch")
    assert "The Inception weights (91 MB) are downloaded when the study starts." in texts(app)
    assert app.button(key="launch_start").label == "Start study after the download"

    app.button(key="launch_start").click().run()

    run = next(run for run in empty.runs.read_all() if run.configuration == "perceptual")
    assert run.config.execution.perceptual_features == "vgg19"
    assert run.state == RunState.QUEUED


def test_weights_that_a_setting_names_can_be_downloaded_where_they_are_missing(empty):
    app = open_page("launch")

    app.text_input(key="launch_extra_demo").set_value("perceptual_features=vgg19").run()

    assert app.button(key="launch_start").disabled
    assert "Download VGG19 weights (548 MB)" in labels(app)


@pytest.mark.parametrize(("fetch", "has_file"), [("ask", True), ("never", False), ("auto", False)])
def test_the_start_of_the_dashboard_says_nothing_about_fid(
    app_settings, monkeypatch, caplog, fetch, has_file
):
    caplog.set_level("INFO")
    monkeypatch.setenv("CHROMABENCH_FETCH", fetch)
    app_settings.weights_dir.mkdir()
    if has_file:
        (app_settings.weights_dir / weights.CATALOG["inception"].file).touch()

    startup.log_weights_hint()

    assert caplog.messages == []


def test_the_start_of_the_dashboard_says_in_one_line_how_to_get_fid(app_settings, caplog):
    caplog.set_level("INFO")

    startup.log_weights_hint()

    (line,) = caplog.messages
    assert line.startswith("FID is not recorded yet")
    assert "Launch page" in line
    assert "weights fetch inception" in line
    assert "\n" not in line


@pytest.mark.slow
def test_a_press_downloads_in_a_process_of_its_own(empty, app_settings, monkeypatch):
    content = bytes(MB)
    replace_entry("inception", content, monkeypatch)
    replace_in_processes(["inception"], monkeypatch)
    with running_weights_server() as server:
        server.files[weights.CATALOG["inception"].file] = content
        monkeypatch.setenv("CHROMABENCH_WEIGHTS_URL", server.url)
        st.cache_resource.clear()
        app = open_page("launch")

        app.button(key="download_inception").click().run()
        wait_for(lambda: weights.find("inception", app_settings))

        assert "FID will be recorded." in texts(app.run())
        assert download_state.read_state("inception", app_settings).error is None
    kill_processes_of(app_settings)
