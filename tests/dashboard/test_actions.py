"""What a person does with runs and studies that are there."""

import shutil

import pytest
from streamlit.testing.v1 import AppTest

from engine.records.runs import RunState
from engine.report.comparison import compare
from engine.store import Store, database_path
from tests.conftest import NOW, tiny_config
from tests.dashboard.test_pages import APP, open_page, texts


def choose(app, menu, label):
    """Chooses from a menu by what stands there, whatever its icon."""
    button = app.menu_button(key=f"menu_{menu}")
    (option,) = [it for it in button.options if it.endswith(label)]
    return button.click(option).run()


def offered(app, menu):
    return [it.rpartition(": ")[2] for it in app.menu_button(key=f"menu_{menu}").options]


def test_a_run_that_failed_is_resumed(failed):
    app = open_page("live")

    app.button(key="resume_1").click().run()

    assert failed.read_run(1).state == RunState.QUEUED
    assert not app.exception


def test_a_run_that_is_stopping_can_be_killed(running):
    running.request_stop(1, NOW)
    app = open_page("live")

    app.button(key="kill_1").click().run()

    (job,) = running.read_jobs(RunState.STOPPING)
    assert job.kill_requested_at is not None


def test_the_queue_tells_who_is_before_whom_and_can_be_changed(queued):
    app = open_page("live")
    assert "queued, the next in turn" in texts(app)
    assert "queued, 2 before it" in texts(app)

    choose(app, "run_3", "Move to front")

    assert [job.run_id for job in queued.read_jobs(RunState.QUEUED)] == [3, 1, 2]


def test_beginning_again_asks_first(failed):
    app = choose(open_page("live"), "run_1", "Begin again")
    assert failed.read_run(1).state == RunState.FAILED
    assert "What this run has recorded is removed" in texts(app)

    app.button(key="yes_run_1").click().run()

    assert (failed.read_run(1).state, failed.read_run(1).epoch) == (RunState.QUEUED, 0)


def test_deleting_asks_first_and_no_means_no(failed, app_settings):
    app = choose(open_page("live"), "run_1", "Delete")

    app.button(key="no_run_1").click().run()
    assert len(failed.read_runs()) == 3
    app = choose(app, "run_1", "Delete")
    app.button(key="yes_run_1").click().run()

    assert [run.id for run in failed.read_runs()] == [2, 3]
    assert not app_settings.run_dir(1).exists()
    assert not app.exception


def test_a_study_is_deleted_with_all_its_runs(finished, app_settings):
    app = choose(open_page("overview"), "study_1", "Delete")
    assert "with its 3 runs" in texts(app)

    app.button(key="yes_study_1").click().run()

    assert finished.read_studies() == []
    assert not any(app_settings.run_dir(run).exists() for run in (1, 2, 3))
    assert "Nothing has been trained yet" in texts(app)


def test_a_study_at_work_cannot_be_deleted_but_stopped(running):
    app = open_page("overview")
    assert offered(app, "study_1") == [
        *("Rename, tags, note…", "Add seeds, epochs…", "Stop all runs", "Archive")
    ]

    choose(app, "study_1", "Stop all runs")

    assert [run.state for run in running.read_runs()] == [
        *(RunState.STOPPING, RunState.STOPPED, RunState.STOPPED)
    ]


def test_an_archived_study_is_out_of_the_lists_until_it_is_asked_for(finished):
    app = choose(open_page("overview"), "study_1", "Archive")
    assert "All studies are archived." in texts(app)
    assert not app.menu_button

    app.toggle(key="archived").set_value(True).run()
    choose(app, "study_1", "List again")

    assert finished.read_study(1).archived_at is None


def test_an_archived_run_is_out_of_the_cards_but_not_of_the_comparison(finished):
    app = choose(open_page("live"), "run_1", "Archive")

    assert "<b>standard</b>, seed 0" not in texts(app)
    assert "standard" in [row.configuration for row in compare(finished, 1).rows]
    assert not open_page("compare").exception


def test_seeds_are_added_to_a_study(finished):
    app = choose(open_page("overview"), "study_1", "Add seeds, epochs…")

    app.number_input(key="extend_seeds_1").set_value(2)
    app.button(key="extend_add_1").click().run()

    runs = finished.read_runs()
    assert [(run.seed, run.state) for run in runs[3:]] == [(1, RunState.QUEUED)] * 3
    assert not app.exception


def test_adding_nothing_is_said(finished):
    app = choose(open_page("overview"), "study_1", "Add seeds, epochs…")

    app.button(key="extend_add_1").click().run()

    assert "has all of that" in texts(app)
    assert len(finished.read_runs()) == 3


def test_a_clone_fills_the_form(finished):
    app = AppTest.from_file(APP, default_timeout=30)
    app.query_params["clone"] = "1"
    app.run()
    app = app.switch_page("app_pages/launch.py").run()

    assert "As study 1 was" in texts(app)
    assert app.selectbox(key="launch_budget").value == "smoke"
    assert app.number_input(key="launch_epochs_smoke").value == 3
    assert app.text_input(key="launch_name").value == "a study (again)"
    app.button(key="launch_start").click().run()
    assert not app.exception
    first, second = (finished.read_runs(study)[0].config for study in (1, 2))
    assert (first.budget, first.configuration) == (second.budget, second.configuration)


def test_a_clone_of_nothing_is_said(finished):
    app = AppTest.from_file(APP, default_timeout=30)
    app.query_params["clone"] = "9"
    app.run()

    assert "There is no study 9" in texts(app.switch_page("app_pages/launch.py").run())


def test_what_a_person_should_know_of_an_attempt_stands_on_its_card(running):
    (job,) = running.read_jobs(RunState.RUNNING)
    running.add_note(job, "The checkpoint x is damaged", NOW)

    assert "The checkpoint x is damaged" in texts(open_page("live"))


@pytest.mark.parametrize("page", ["overview", "live"])
def test_a_database_that_was_replaced_is_opened_anew(finished, app_settings, tmp_path, page):
    open_page(page)
    other = Store(f"sqlite:///{tmp_path}/other.db")
    other.close()
    database = database_path(app_settings.database_url)
    for part in ("-wal", "-shm"):
        database.with_name(database.name + part).unlink(missing_ok=True)
    shutil.move(tmp_path / "other.db", database)

    assert "Nothing has been trained yet" in texts(open_page(page))


def test_an_archived_study_is_opened_by_its_address(finished):
    finished.add_study("other", "another", [tiny_config()], NOW)
    finished.archive_study(1, NOW)

    assert "<b>standard</b>, seed 0" in texts(open_page("live", study=1))
    assert not any("study 1" in str(it) for it in open_page("live").selectbox[0].options)
