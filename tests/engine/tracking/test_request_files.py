"""The export requests of earlier versions are moved from files into the database."""

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict

import pytest
from filelock import FileLock

from engine.records.runs import RunState
from engine.store import database_path
from engine.tracking import request_files
from tests.support.exports import ExportInProcess, record_whole_run
from tests.support.runs import NOW, tiny_config

URI = "http://127.0.0.1:5000"
STATE = {
    "mlflow_id": "abc",
    "began": "2026-01-02 03:04:05+00:00",
    "cursor": 12,
    "steps": {"l1": 3},
    "sample_id": 1,
    "values": {"test/psnr@1": 20.5},
    "params": True,
    "state": "done",
    "model": "00",
}


@pytest.fixture
def folder(store, settings):
    """The folder of the request files, of an installation with one ended study."""
    store.studies.add("key", "a", [tiny_config()], NOW)
    store.jobs.finish(store.jobs.claim(NOW), RunState.DONE, None, NOW)
    folder = settings.artifacts / "tracking"
    folder.mkdir(parents=True)
    return folder


def write_request(folder, study_id=1, done="1f", uri=URI, state=STATE):
    name = f"study-{study_id:06d}-0123abcd"
    request = {"study_id": study_id, "uri": uri, "asked": "1f"}
    (folder / f"{name}.json").write_text(json.dumps(request))
    progress = {"runs": {"1": state}, "done": done, "trouble": ""}
    (folder / f"{name}.sent").write_text(json.dumps(progress))


@pytest.mark.parametrize(("done", "is_pending"), [("1f", False), ("", True), ("00", True)])
def test_a_request_and_its_progress_are_taken_over_and_the_files_are_deleted(
    store, settings, folder, done, is_pending
):
    write_request(folder, done=done)
    (settings.artifacts / "tracking.lock").touch()

    request_files.take_over_request_files(store, settings)
    request_files.take_over_request_files(store, settings)

    (export,) = store.exports.read_all()
    (upload,) = store.exports.read_uploads(export.id).values()
    assert (export.study_id, export.uri, export.is_pending) == (1, URI, is_pending)
    assert (upload.mlflow_id, upload.cursor, upload.steps) == ("abc", 12, {"l1": 3})
    assert (upload.has_params, upload.values) == (True, {"test/psnr@1": 20.5})
    assert not folder.exists()
    assert not (settings.artifacts / "tracking.lock").exists()


def test_what_an_earlier_version_uploaded_is_not_uploaded_again(
    store, settings, mlflow_folder, monkeypatch
):
    store.studies.add("key", "a", [tiny_config()], NOW)
    record_whole_run(store)
    earlier = ExportInProcess(store, settings, mlflow_folder)
    earlier.upload()
    state = asdict(earlier.uploads[1])
    state["params"] = state.pop("has_params")
    store.jobs.detach_running(is_copy=False, now=NOW)
    with closing(sqlite3.connect(database_path(settings.database_url))) as database:
        database.executescript("DELETE FROM exports; DELETE FROM run_uploads; DELETE FROM jobs;")
    folder = settings.artifacts / "tracking"
    folder.mkdir(parents=True)
    old_fields = {key: state[key] for key in STATE}
    write_request(folder, done="", uri=mlflow_folder, state=old_fields)

    request_files.take_over_request_files(store, settings)

    export = ExportInProcess(store, settings, mlflow_folder)
    calls = []
    for method in ("log_batch", "log_artifact", "create_run", "set_terminated"):
        monkeypatch.setattr(export.uploader.client, method, lambda *args, **_: calls.append(args))
    assert export.upload().is_study_over
    assert calls == []


def test_the_request_of_a_deleted_study_is_deleted_and_a_damaged_file_is_kept(
    store, settings, folder, caplog
):
    write_request(folder, study_id=9)
    (folder / "study-000001-bad.json").write_text("{")

    request_files.take_over_request_files(store, settings)

    assert store.exports.read_all() == []
    assert [path.name for path in folder.iterdir()] == ["study-000001-bad.json"]
    assert "study-000001-bad.json is no export request" in caplog.text


def test_nothing_is_taken_over_while_an_uploader_of_an_earlier_version_runs(
    store, settings, folder, caplog
):
    write_request(folder)

    with FileLock(settings.artifacts / "tracking.lock").acquire():
        request_files.take_over_request_files(store, settings)

    assert store.exports.read_all() == []
    assert len(list(folder.iterdir())) == 2
    assert "an uploader of an earlier version is running" in caplog.text
