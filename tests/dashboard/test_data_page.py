"""The Data page, and choosing data on the Launch page."""

import pytest

from engine.data.sources.registry import read_source
from engine.data.survey.survey import load_survey
from engine.records.runs import RunState
from engine.workers import survey, worker_process
from tests.conftest import NOW
from tests.dashboard.test_pages import open_page, texts
from tests.support.image_files import write_photographs


@pytest.fixture
def photographs(tmp_path):
    folder = write_photographs(tmp_path / "my *photos*", 24)
    (folder / "empty.jpg").write_bytes(b"")
    return folder


def look_at(store, settings):
    """Does the queued look, as its process would."""
    job = store.claim_job(NOW, "check")
    worker_process.do(store, settings, job, lambda: False, survey.look)
    return store.read_job(job.id)


def press(app, label):
    return next(it for it in app.button if it.label == label).click().run()


def metrics_of(app):
    return {it.label: it.value for it in app.metric}


def test_a_folder_that_nobody_looked_at_offers_a_look_and_shows_it(
    empty, app_settings, photographs
):
    app = open_page("data", source=f"photos:{photographs}")
    assert "25 pairs were found by their names" in texts(app)

    press(app, "Look at them")
    assert empty.read_newest_job("check", f"photos:{photographs}").state == RunState.QUEUED
    assert look_at(empty, app_settings).state == RunState.DONE
    app = open_page("data", source=f"photos:{photographs}")

    assert not app.exception
    assert metrics_of(app)["Pairs"] == "24"
    assert metrics_of(app)["Errors"] == "1"
    assert [tab.label for tab in app.tabs] == ["Pictures", "Figures", "Faults (1)"]
    assert "the file has 0 bytes" in str(app.dataframe[-1].value)


def test_pressed_twice_a_look_is_queued_once(empty, photographs):
    for _ in range(2):
        app = open_page("data", source=f"photos:{photographs}")
        if any(it.label == "Look at them" for it in app.button):
            press(app, "Look at them")

    assert len(empty.read_jobs(RunState.QUEUED)) == 1


def test_files_are_left_out_and_taken_back(empty, app_settings, photographs):
    text = f"photos:{photographs}"
    press(open_page("data", source=text), "Look at them")
    look_at(empty, app_settings)

    press(open_page("data", source=text), "Leave them out")
    assert read_source(text, app_settings).left_out == {"empty.jpg": "empty: the file has 0 bytes"}
    look_at(empty, app_settings)
    app = open_page("data", source=text)
    assert "1 files are left out by your list" in texts(app)
    press(app, "Take them back")

    assert read_source(text, app_settings).left_out == {}
    assert (photographs / "empty.jpg").exists()


def test_a_changed_folder_is_said(empty, app_settings, photographs):
    text = f"photos:{photographs}"
    press(open_page("data", source=text), "Look at them")
    look_at(empty, app_settings)
    (photographs / "photo0000.jpg").unlink()

    app = open_page("data", source=text)

    assert "has changed since it was looked at (1 gone)" in texts(app).replace("\\", "")


def test_a_look_that_is_stopped_leaves_nothing_and_says_so(empty, app_settings, photographs):
    text = f"photos:{photographs}"
    press(open_page("data", source=text), "Look at them")
    job = empty.claim_job(NOW, "check")

    empty.request_job_stop(job.id, NOW)
    worker_process.do(empty, app_settings, job, lambda: True, survey.look)
    app = open_page("data", source=text)

    assert empty.read_job(job.id).state == RunState.STOPPED
    assert load_survey(read_source(text, app_settings), app_settings) is None
    assert "The last look ended: stopped by the user" in texts(app)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("photos:/no/such/place", "There is no folder /no/such/place"),
        ("bogus", "There is no data source 'bogus'"),
    ],
)
def test_a_source_that_cannot_be_is_said_in_a_sentence(empty, source, said):
    app = open_page("data", source=source)

    assert not app.exception
    assert said in "\n".join(it.value for it in app.error)


def test_a_new_folder_is_launched_from_the_form(empty, photographs):
    app = open_page("launch")
    app.selectbox(key="launch_source").select("photos").run()
    assert "Say which folder the pictures are in" in app.error[0].value

    app.text_input(key="launch_photos").input(str(photographs)).run()
    assert not app.exception
    assert not app.error
    app.selectbox(key="launch_budget").select("smoke").run()
    app.selectbox(key="launch_output").select("lab_ab").run()
    app.number_input(key="launch_photos_limit").set_value(20).run()
    press(app, "Start")

    (first, *_) = empty.read_runs()
    assert first.config.data == f"photos:{photographs}?limit=20"
    assert first.config.budget.output == "lab_ab"
    assert empty.read_studies()[0].name == "photos my *photos* smoke"


def test_a_published_study_is_one_choice(empty):
    app = open_page("launch")

    next(it for it in app.button_group if it.label == "As published").select(
        "Photograph study"
    ).run()

    assert app.selectbox(key="launch_budget").value == "study2"
    assert app.multiselect(key="launch_configurations").value == ["gan", "ganv2", "ganv3"]
