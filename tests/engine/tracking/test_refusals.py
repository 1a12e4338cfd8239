"""Runs that cannot be uploaded, and servers that refuse or do not answer."""

import logging
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR

from engine import weights
from engine.records.runs import CheckpointEvaluation, Evaluation, RunState, Sample
from engine.store import database_path
from engine.tracking import mlflow_format
from engine.tracking.uploader import MAX_RUN_FAILURES, UploadStoppedError
from tests.support.exports import ExportInProcess, record_steps, record_whole_run, start_attempt
from tests.support.runs import NOW, tiny_config


@pytest.fixture
def two(store):
    """A study of two runs with curves."""
    store.studies.add("key", "two", [tiny_config(), tiny_config("gan")], NOW)
    record_whole_run(store)
    record_whole_run(store)
    return store


@pytest.fixture
def export(two, settings, mlflow_folder):
    """The export of this study, before its first upload."""
    return ExportInProcess(two, settings, mlflow_folder)


def change_database(settings, statement):
    with closing(sqlite3.connect(database_path(settings.database_url))) as database:
        database.execute(statement)
        database.commit()


def last_steps(export, run_id):
    """Curve -> last step in MLflow."""
    mlflow_id = export.uploads[run_id].mlflow_id
    history = export.uploader.client.get_metric_history(mlflow_id, "l1")
    return [metric.step for metric in history][-1]


def test_a_started_run_without_attempts_is_uploaded(two, settings, export):
    change_database(settings, "DELETE FROM attempts")

    result = export.upload()

    assert (result.is_study_over, result.error) == (True, None)
    assert export.uploads[1].began == str(two.runs.read(1).started_at)
    assert last_steps(export, 1) == 16


def test_a_value_is_uploaded_although_the_tag_of_its_missing_value_does_not_exist(
    store, settings, mlflow_folder
):
    store.studies.add("key", "a", [tiny_config()], NOW)
    job = start_attempt(store)
    missing = Evaluation(1, "test", "fid", None, 8, 1, missing="no weights")
    store.evaluations.add(job, CheckpointEvaluation((missing,)), NOW)
    store.jobs.finish(job, RunState.DONE, None, NOW)
    export = ExportInProcess(store, settings, mlflow_folder)
    export.upload()  # epoch 1 is not the best epoch: no tag is uploaded
    protocol = {"weights_sha256": weights.CATALOG["inception"].sha256}
    measured = replace(missing, value=88.0, missing=None, protocol=protocol)
    store.evaluations.replace(1, CheckpointEvaluation((measured,)))

    assert export.upload().error is None

    mlflow_run = export.uploader.client.get_run(export.uploads[1].mlflow_id)
    assert mlflow_run.data.metrics["test_last/fid"] == 88.0


def test_a_run_that_was_deleted_in_mlflow_does_not_prevent_other_uploads(two, export, caplog):
    export.upload()
    export.uploader.client.delete_run(export.uploads[1].mlflow_id)
    for run_id, upload in export.uploads.items():
        export.uploader.uploads[run_id] = replace(upload, state="", cursor=0, steps={})

    with caplog.at_level(logging.WARNING):
        results = [export.upload(), export.upload()]

    for result in results:
        assert (result.is_study_over, list(result.refusals)) == (True, [1])
        assert result.error.startswith("run 1 could not be uploaded: ")
    assert export.uploads[1].error == results[0].refusals[1]
    assert export.uploads[2].state == "done"
    assert caplog.text.count("run 1 could not be uploaded") == 1


def test_a_refused_run_is_uploaded_after_the_next_request(two, export):
    export.upload()
    client, mlflow_id = export.uploader.client, export.uploads[1].mlflow_id
    client.delete_run(mlflow_id)
    export.uploader.uploads[1] = replace(export.uploads[1], state="")
    assert list(export.upload().refusals) == [1]
    client.restore_run(mlflow_id)
    assert list(export.upload().refusals) == [1]

    two.exports.renew(1, NOW)

    assert export.upload().error is None
    assert export.uploads[1].error is None


def test_a_run_with_an_unexpected_error_does_not_prevent_other_uploads(
    store, settings, mlflow_folder, caplog
):
    store.studies.add("key", "two", [tiny_config(), tiny_config("gan")], NOW)
    settings.artifacts.mkdir()
    (settings.artifacts / "grid.png").touch()
    job = start_attempt(store)
    export = ExportInProcess(store, settings, mlflow_folder)
    export.upload()
    # The samples cannot be written, because a file has the name of their folder.
    artifacts = export.uploader.client.get_run(export.uploads[1].mlflow_id).info.artifact_uri
    (Path(urlsplit(artifacts).path) / "samples").touch()
    store.runs.add_sample(job, Sample(1, 1, 8, *["grid.png"] * 5), NOW)
    store.jobs.finish(job, RunState.DONE, None, NOW)
    record_whole_run(store)

    result = export.upload()

    assert result.refusals[1].startswith("NotADirectoryError: ")
    assert "Traceback" in caplog.text
    assert last_steps(export, 2) == 16


@pytest.mark.parametrize(
    ("failures", "is_refused"), [(MAX_RUN_FAILURES, False), (MAX_RUN_FAILURES + 1, True)]
)
def test_a_run_that_a_reachable_server_never_accepts_is_refused_after_some_failures(
    two, export, monkeypatch, failures, is_refused
):
    client = export.uploader.client
    log_batch = client.log_batch

    def refuse_first(mlflow_id, *args, **kwargs):
        if mlflow_id == export.uploads[1].mlflow_id:
            raise MlflowException("too large", INTERNAL_ERROR)
        log_batch(mlflow_id, *args, **kwargs)

    monkeypatch.setattr(client, "log_batch", refuse_first)
    stored = replace(two.exports.read(1), failures=failures)

    if is_refused:
        assert export.uploader.upload(stored).refusals == {1: "too large"}
    else:
        with pytest.raises(MlflowException, match="too large"):
            export.uploader.upload(stored)
    assert export.uploads[2].state == "done"


def test_an_unreachable_server_is_asked_only_once(two, settings):
    export = ExportInProcess(two, settings, "http://127.0.0.1:9")
    export.uploader.export = replace(export.export, failures=MAX_RUN_FAILURES + 1)

    with pytest.raises(MlflowException) as failure:
        export.upload()

    assert export.uploads == {}
    reason = mlflow_format.reason_of(failure.value)
    assert reason == "the server could not be reached: Connection refused"


def test_a_stop_request_ends_an_upload_between_two_parts(store, settings, mlflow_folder):
    store.studies.add("key", "a", [tiny_config()], NOW)
    record_steps(store, start_attempt(store), 1, 16)
    export = ExportInProcess(store, settings, mlflow_folder)
    export.uploader.should_stop = lambda: bool(export.uploads)

    with pytest.raises(UploadStoppedError):
        export.upload()

    assert export.uploads[1].mlflow_id
    assert export.uploads[1].cursor == 0


def test_a_run_that_is_deleted_during_the_upload_is_skipped(two, export, monkeypatch):
    save = export.uploader.save

    def delete_and_save(upload):
        if upload.run_id == 1:
            two.runs.delete([1])
        return save(upload)

    monkeypatch.setattr(export.uploader, "save", delete_and_save)

    assert export.upload().error is None
    assert list(export.uploads) == [2]
