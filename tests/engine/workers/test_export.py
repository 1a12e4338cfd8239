"""The job that uploads a study, in this process and to a folder instead of a server."""

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from engine.records.runs import RunState
from engine.store import database_path, utc_now
from engine.workers import export as worker
from engine.workers import worker_process
from tests.support.exports import record_steps, record_whole_run, start_attempt
from tests.support.runs import NOW, tiny_config


@pytest.fixture
def study(store):
    """A study of two queued runs."""
    store.studies.add("key", "a", [tiny_config(), tiny_config("gan")], NOW)
    return store


def run_job(store, settings, uri, should_stop=lambda: False):
    """Runs the job of an export in this process; returns the ended job and the export."""
    export = store.exports.request(1, uri, utc_now())
    store.jobs.add("export", str(export.id), NOW)
    job = store.jobs.claim(NOW, "export")
    worker_process.run_job(store, settings, job, should_stop, worker.export_study)
    return store.jobs.read(job.id), store.exports.read(export.id)


def test_the_export_of_an_ended_study_is_complete(study, settings, mlflow_folder):
    record_whole_run(study)
    record_whole_run(study)

    job, export = run_job(study, settings, mlflow_folder)

    assert (job.state, job.reason) == (RunState.DONE, None)
    assert (export.is_pending, export.error, export.phase) == (False, None, None)
    assert [upload.state for upload in study.exports.read_uploads(1).values()] == ["done", "done"]


def test_the_export_of_an_unfinished_study_ends_when_no_run_is_active(
    study, settings, mlflow_folder
):
    record_whole_run(study)

    job, export = run_job(study, settings, mlflow_folder)

    assert job.state == RunState.DONE
    assert (export.uploaded_request, export.completed_request) == (1, 0)
    assert export.next_at is None
    assert not study.exports.has_due(NOW + timedelta(days=1))


def test_new_results_of_an_active_run_are_uploaded_until_the_study_ends(
    study, settings, mlflow_folder, monkeypatch
):
    record_whole_run(study)
    run_job_of_second = start_attempt(study)
    waits = []

    def finish_run(_worker):
        waits.append(study.exports.read(1).uploaded_request)
        record_steps(study, run_job_of_second, 1, 16)
        study.jobs.finish(run_job_of_second, RunState.DONE, None, NOW)

    monkeypatch.setattr(worker._ExportWorker, "_wait", finish_run)
    _, export = run_job(study, settings, mlflow_folder)

    assert waits == [1]
    assert not export.is_pending
    assert study.exports.read_uploads(1)[2].cursor == 128


def test_a_server_that_does_not_answer_fails_the_job_and_delays_the_next_upload(study, settings):
    record_whole_run(study)
    begun_at = utc_now()

    job, export = run_job(study, settings, "http://127.0.0.1:9")

    assert job.state == RunState.FAILED
    assert job.reason.startswith("http://127.0.0.1:9 did not accept the upload: ")
    assert export.is_pending
    assert export.error in job.reason
    assert export.next_at > begun_at


def test_a_run_that_cannot_be_uploaded_does_not_keep_the_export_pending(
    study, settings, mlflow_folder
):
    record_whole_run(study)
    record_whole_run(study)
    with closing(sqlite3.connect(database_path(settings.database_url))) as database:
        # MLflow accepts no metric name that contains "..".
        database.execute("UPDATE metrics SET name = '../l1' WHERE run_id = 1 AND name = 'l1'")
        database.commit()

    job, export = run_job(study, settings, mlflow_folder)

    assert job.state == RunState.FAILED
    assert job.reason == export.error
    assert export.error.startswith("run 1 could not be uploaded: ")
    assert not export.is_pending
    assert study.exports.read_uploads(1)[2].state == "done"


def test_a_job_with_an_active_run_gives_its_slot_to_a_queued_export(study, settings, mlflow_folder):
    start_attempt(study)
    export = study.exports.request(1, mlflow_folder, NOW)
    study.jobs.add("export", str(export.id), NOW)
    study.jobs.add("export", "other", NOW)
    job = study.jobs.claim(NOW, "export")

    worker_process.run_job(study, settings, job, lambda: False, worker.export_study)

    assert study.jobs.read(job.id).state == RunState.DONE
    assert study.exports.read(1).next_at > utc_now()


def test_a_cancelled_export_stops_and_keeps_what_was_uploaded(
    study, settings, mlflow_folder, monkeypatch
):
    record_steps(study, start_attempt(study), 1, 16)
    wait = worker._ExportWorker._wait

    def cancel_and_wait(self):
        study.exports.cancel(1, NOW)
        wait(self)

    monkeypatch.setattr(worker._ExportWorker, "_wait", cancel_and_wait)
    job, export = run_job(
        study, settings, mlflow_folder, lambda: study.exports.read(1).is_cancelled
    )

    assert (job.state, job.reason) == (RunState.STOPPED, "stopped by the user")
    assert export.is_cancelled
    assert study.exports.read_uploads(1)[1].cursor == 64


def test_the_job_of_a_deleted_study_is_done(study, settings, mlflow_folder):
    study.jobs.add("export", "7", NOW)
    job = study.jobs.claim(NOW, "export")

    worker_process.run_job(study, settings, job, lambda: False, worker.export_study)

    assert study.jobs.read(job.id).state == RunState.DONE
