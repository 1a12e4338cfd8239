"""Actions on existing runs and studies."""

import shutil

import pytest
from streamlit.testing.v1 import AppTest

from engine.records.runs import RunState
from engine.report.comparison import compare
from engine.store import Store, database_path
from tests.support.pages import APP, open_page, texts
from tests.support.runs import NOW, tiny_config


def choose(app, menu, label):
    """Selects an entry of a menu by its label without the icon."""
    button = app.menu_button(key=f"menu_{menu}")
    (option,) = [option for option in button.options if option.endswith(label)]
    return button.click(option).run()


def menu_labels(app, menu):
    options = app.menu_button(key=f"menu_{menu}").options
    return [option.rpartition(": ")[2] for option in options]


def test_a_failed_run_can_be_resumed(failed):
    app = open_page("live")

    app.button(key="resume_1").click().run()

    assert failed.runs.read(1).state == RunState.QUEUED
    assert not app.exception


def test_a_run_that_is_stopping_can_be_killed(running):
    running.jobs.request_run_stop(1, NOW)
    app = open_page("live")

    app.button(key="kill_1").click().run()

    (job,) = running.jobs.read_all(RunState.STOPPING)
    assert job.kill_requested_at is not None


def test_cards_show_the_position_in_the_queue_and_a_run_can_move_to_the_front(queued):
    app = open_page("live")
    assert "queued, next" in texts(app)
    assert "queued, 2 runs ahead" in texts(app)

    choose(app, "run_3", "Move to front")

    assert [job.run_id for job in queued.jobs.read_all(RunState.QUEUED)] == [3, 1, 2]


def test_a_retry_from_scratch_needs_confirmation(failed):
    app = choose(open_page("live"), "run_1", "Retry from scratch")
    assert failed.runs.read(1).state == RunState.FAILED
    assert "This deletes everything that the run has recorded" in texts(app)

    app.button(key="yes_run_1").click().run()

    assert (failed.runs.read(1).state, failed.runs.read(1).epoch) == (RunState.QUEUED, 0)


def test_deleting_a_run_needs_confirmation_and_can_be_cancelled(failed, app_settings):
    app = choose(open_page("live"), "run_1", "Delete")

    app.button(key="no_run_1").click().run()
    assert len(failed.runs.read_all()) == 3
    app = choose(app, "run_1", "Delete")
    app.button(key="yes_run_1").click().run()

    assert [run.id for run in failed.runs.read_all()] == [2, 3]
    assert not app_settings.run_dir(1).exists()
    assert not app.exception


def test_a_study_is_deleted_with_all_its_runs(finished, app_settings):
    app = choose(open_page("overview"), "study_1", "Delete")
    assert "with its 3 runs" in texts(app)

    app.button(key="yes_study_1").click().run()

    assert finished.studies.read_all() == []
    assert not any(app_settings.run_dir(run).exists() for run in (1, 2, 3))
    assert "No studies yet" in texts(app)


def test_a_running_study_can_be_stopped_but_not_deleted(running):
    app = open_page("overview")
    assert menu_labels(app, "study_1") == [
        *("Edit name, tags and note", "Add seeds, configurations or epochs"),
        *("Stop all runs", "Archive"),
    ]

    choose(app, "study_1", "Stop all runs")

    assert [run.state for run in running.runs.read_all()] == [
        *(RunState.STOPPING, RunState.STOPPED, RunState.STOPPED)
    ]


def test_an_archived_study_is_listed_only_on_request(finished):
    app = choose(open_page("overview"), "study_1", "Archive")
    assert "All studies are archived." in texts(app)
    assert not app.menu_button

    app.toggle(key="archived").set_value(True).run()
    choose(app, "study_1", "Unarchive")

    assert finished.studies.read(1).archived_at is None


def test_an_archived_run_has_no_card_but_stays_in_the_comparison(finished):
    app = choose(open_page("live"), "run_1", "Archive")

    assert "<b>standard</b>, seed 0" not in texts(app)
    assert "standard" in [row.configuration for row in compare(finished, 1).rows]
    assert not open_page("compare").exception


def test_seeds_are_added_to_a_study(finished):
    app = choose(open_page("overview"), "study_1", "Add seeds, configurations or epochs")

    app.number_input(key="extend_seeds_1").set_value(2)
    app.button(key="extend_add_1").click().run()

    runs = finished.runs.read_all()
    assert [(run.seed, run.state) for run in runs[3:]] == [(1, RunState.QUEUED)] * 3
    assert not app.exception


def test_adding_nothing_shows_an_error(finished):
    app = choose(open_page("overview"), "study_1", "Add seeds, configurations or epochs")

    app.button(key="extend_add_1").click().run()

    assert "has all of that" in texts(app)
    assert len(finished.runs.read_all()) == 3


def test_a_clone_fills_the_form(finished):
    app = AppTest.from_file(APP, default_timeout=30)
    app.query_params["clone"] = "1"
    app.run()
    app = app.switch_page("app_pages/launch.py").run()

    assert "Copied from study 1" in texts(app)
    assert app.selectbox(key="launch_budget").value == "smoke"
    assert app.number_input(key="launch_epochs_smoke").value == 3
    assert app.text_input(key="launch_name").value == "a study (again)"
    app.button(key="launch_start").click().run()
    assert not app.exception
    first, second = (finished.runs.read_all(study)[0].config for study in (1, 2))
    assert (first.budget, first.configuration) == (second.budget, second.configuration)


def test_cloning_a_study_that_does_not_exist_shows_a_warning(finished):
    app = AppTest.from_file(APP, default_timeout=30)
    app.query_params["clone"] = "9"
    app.run()

    assert "There is no study 9" in texts(app.switch_page("app_pages/launch.py").run())


def test_notes_of_an_attempt_are_shown_on_the_card(running):
    (job,) = running.jobs.read_all(RunState.RUNNING)
    running.runs.add_note(job, "The checkpoint x is damaged", NOW)

    assert "The checkpoint x is damaged" in texts(open_page("live"))


@pytest.mark.parametrize("page", ["overview", "live"])
def test_a_replaced_database_is_opened_without_a_restart(finished, app_settings, tmp_path, page):
    open_page(page)
    other = Store(f"sqlite:///{tmp_path}/other.db")
    other.close()
    database = database_path(app_settings.database_url)
    for part in ("-wal", "-shm"):
        database.with_name(database.name + part).unlink(missing_ok=True)
    shutil.move(tmp_path / "other.db", database)

    assert "No studies yet" in texts(open_page(page))


def test_an_archived_study_can_be_opened_by_its_url(finished):
    finished.studies.add("other", "another", [tiny_config()], NOW)
    finished.studies.archive(1, NOW)

    assert "<b>standard</b>, seed 0" in texts(open_page("live", study=1))
    assert not any("study 1" in str(option) for option in open_page("live").selectbox[0].options)
