"""The Data page, and the choice of a data source on the Launch page."""

import shutil

import pytest

from dashboard.components.escape import escape_markdown
from engine.data.sources.registry import parse_source
from engine.data.survey.survey import load_survey, survey_dir
from engine.presets import default_configurations
from engine.records.runs import RunState
from engine.workers import survey, worker_process
from tests.support.image_files import write_photographs
from tests.support.pages import open_page, texts
from tests.support.runs import NOW


@pytest.fixture
def photographs(tmp_path):
    folder = write_photographs(tmp_path / "my *photos*", 24)
    (folder / "empty.jpg").write_bytes(b"")
    return folder


def run_scan(store, settings):
    """Runs the queued scan, as a worker does."""
    job = store.jobs.claim(NOW, "check")
    worker_process.run_job(store, settings, job, lambda: False, survey.scan_source)
    return store.jobs.read(job.id)


def press(app, label):
    return next(button for button in app.button if button.label == label).click().run()


def metrics_of(app):
    return {metric.label: metric.value for metric in app.metric}


def test_a_new_folder_offers_a_scan_and_then_shows_its_results(empty, app_settings, photographs):
    app = open_page("data", source=f"photos:{photographs}")
    assert "Found 25 pairs by their file names" in texts(app)

    press(app, "Scan")
    assert empty.jobs.read_newest("check", f"photos:{photographs}").state == RunState.QUEUED
    assert run_scan(empty, app_settings).state == RunState.DONE
    app = open_page("data", source=f"photos:{photographs}")

    assert not app.exception
    assert metrics_of(app)["Pairs"] == "24"
    assert metrics_of(app)["Errors"] == "1"
    assert [tab.label for tab in app.tabs] == ["Pictures", "Statistics", "Faults (1)"]
    assert "the file has 0 bytes" in str(app.dataframe[-1].value)


def test_examples_are_shown_although_they_cannot_be_stored(empty, app_settings, photographs):
    text = f"photos:{photographs}"
    press(open_page("data", source=text), "Scan")
    run_scan(empty, app_settings)
    examples = survey_dir(parse_source(text, app_settings), app_settings) / "examples"
    shutil.rmtree(examples)
    examples.write_bytes(b"")  # a file, so that no folder can be made

    app = open_page("data", source=text)

    assert not app.exception
    assert len(app.get("image")) > 3


def test_a_scan_is_queued_only_once(empty, photographs):
    for _ in range(2):
        app = open_page("data", source=f"photos:{photographs}")
        if any(button.label == "Scan" for button in app.button):
            press(app, "Scan")

    assert len(empty.jobs.read_all(RunState.QUEUED)) == 1


def test_faulty_files_are_excluded_and_restored(empty, app_settings, photographs):
    text = f"photos:{photographs}"
    press(open_page("data", source=text), "Scan")
    run_scan(empty, app_settings)

    press(open_page("data", source=text), "Exclude 1 file")
    assert parse_source(text, app_settings).excluded == {"empty.jpg": "empty: the file has 0 bytes"}
    run_scan(empty, app_settings)
    app = open_page("data", source=text)
    assert "Excluded files: 1" in texts(app)
    press(app, "Restore excluded files")

    assert parse_source(text, app_settings).excluded == {}
    assert (photographs / "empty.jpg").exists()


def test_a_changed_folder_shows_a_warning(empty, app_settings, photographs):
    text = f"photos:{photographs}"
    press(open_page("data", source=text), "Scan")
    run_scan(empty, app_settings)
    (photographs / "photo0000.jpg").unlink()

    app = open_page("data", source=text)

    assert "has changed since it was scanned (1 gone)" in texts(app).replace("\\", "")


def test_a_cancelled_scan_stores_nothing_and_shows_why_it_ended(empty, app_settings, photographs):
    text = f"photos:{photographs}"
    press(open_page("data", source=text), "Scan")
    job = empty.jobs.claim(NOW, "check")

    empty.jobs.request_stop(job.id, NOW)
    worker_process.run_job(empty, app_settings, job, lambda: True, survey.scan_source)
    app = open_page("data", source=text)

    assert empty.jobs.read(job.id).state == RunState.STOPPED
    assert load_survey(parse_source(text, app_settings), app_settings) is None
    assert "The last scan ended: stopped by the user" in texts(app)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("photos:/no/such/place", "There is no folder /no/such/place"),
        ("bogus", "There is no data source 'bogus'"),
    ],
)
def test_an_unusable_source_shows_an_error(empty, source, message):
    app = open_page("data", source=source)

    assert not app.exception
    assert message in "\n".join(error.value for error in app.error)


def test_a_new_folder_is_launched_from_the_form(empty, photographs):
    app = open_page("launch")
    app.selectbox(key="launch_source").select("photos").run()
    assert "Enter the folder of the pictures" in app.error[0].value

    app.text_input(key="launch_photos").input(str(photographs)).run()
    assert not app.exception
    assert not app.error
    app.selectbox(key="launch_budget").select("smoke").run()
    app.selectbox(key="launch_output").select("lab_ab").run()
    app.number_input(key="launch_photos_limit").set_value(20).run()
    press(app, "Start study")

    (first, *_) = empty.runs.read_all()
    assert first.config.data == f"photos:{photographs}?limit=20"
    assert first.config.budget.output == "lab_ab"
    names = tuple(run.configuration for run in empty.runs.read_all())
    assert names == default_configurations("grey")
    assert empty.studies.read_all()[0].name == "photos my *photos* smoke"


def test_vivid_is_refused_for_photographs_in_one_sentence(empty, photographs):
    app = open_page("launch", source=f"photos:{photographs}")
    selected = app.multiselect(key="launch_configurations")
    assert "vivid" in selected.options
    assert "vivid" not in selected.value

    selected.set_value(["vivid"]).run()

    (error,) = app.error
    sentence = escape_markdown("vivid: output=palette multiplies the colours of a palette")
    assert error.value.startswith(sentence)
    assert app.button(key="launch_start").disabled


def test_selected_configurations_are_kept_when_the_source_changes(empty, photographs):
    app = open_page("launch")
    assert tuple(app.multiselect(key="launch_configurations").value)[-1] == "vivid"
    app.multiselect(key="launch_configurations").set_value(["gan"]).run()

    app.selectbox(key="launch_source").select("photos").run()
    app.text_input(key="launch_photos").input(str(photographs)).run()

    assert app.multiselect(key="launch_configurations").value == ["gan"]


def test_a_published_study_fills_budget_and_configurations(empty):
    app = open_page("launch")

    (published,) = [group for group in app.button_group if group.label == "Published studies"]
    published.select("Photograph study").run()

    assert app.selectbox(key="launch_budget").value == "study2"
    assert app.multiselect(key="launch_configurations").value == ["gan", "ganv2", "ganv3"]
