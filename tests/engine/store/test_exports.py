"""Exports: requests, when they are due, and what was uploaded."""

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from engine.records.exports import RunUpload
from engine.records.runs import RunState
from engine.store import LostJobError
from engine.store.exports import MAX_RETRY_DELAY_S
from tests.support.runs import NOW, tiny_config

URI = "http://127.0.0.1:5000"
LATER = NOW + timedelta(seconds=1)


@pytest.fixture
def study(store):
    """A study of two queued runs."""
    return store.studies.add("key", "a", [tiny_config(), tiny_config("gan")], NOW)[0]


@pytest.fixture
def ended(store, study):
    """A study whose two runs are done."""
    while (job := store.jobs.claim(NOW)) is not None:
        store.jobs.finish(job, RunState.DONE, None, NOW)
    return study


def claim(store, now=NOW):
    """Queues the exports that are due, and claims the first job."""
    store.exports.queue_due(now)
    return store.jobs.claim(now, "export")


def take_step(store, job):
    """Ends the start of a run: its first step is stored."""
    store.curves.add_points(job, 0, 1, [], NOW)


def test_an_export_is_stored_once_per_server_and_each_request_is_counted(store, study):
    first = store.exports.request(1, URI, NOW)
    second = store.exports.request(1, URI, LATER)
    other = store.exports.request(1, "http://other", NOW)

    assert (first.id, first.request, first.is_pending) == (1, 1, True)
    assert second == replace(first, request=2, requested_at=LATER, next_at=LATER)
    assert store.exports.read_all([1]) == [second, other]
    assert store.exports.read_all([2]) == []
    assert store.exports.read(99) is None


def test_an_export_that_is_due_gets_one_job(store, ended):
    export = store.exports.request(1, URI, NOW)
    assert store.exports.has_due(NOW)

    assert store.exports.queue_due(NOW) == 1
    assert store.exports.queue_due(NOW + timedelta(days=1)) == 0

    (job,) = store.jobs.read_all(RunState.QUEUED)
    assert (job.kind, job.subject) == ("export", str(export.id))
    assert not store.exports.has_due(NOW + timedelta(days=1))


def test_a_complete_export_is_due_again_after_the_next_request(store, ended):
    export = store.exports.request(1, URI, NOW)
    job = claim(store)
    store.exports.record_upload(job, export, None, NOW)
    store.exports.end_upload(job, export, True, None, NOW)
    store.jobs.finish(job, RunState.DONE, None, NOW)
    assert not store.exports.read(1).is_pending
    assert store.exports.queue_due(NOW + timedelta(days=1)) == 0

    assert store.exports.renew(1, LATER) == 1

    assert claim(store, LATER).id == job.id  # the job of the first request is queued again


def test_a_request_during_an_upload_is_completed_by_the_next_upload(store, ended):
    export = store.exports.request(1, URI, NOW)
    job = claim(store)

    store.exports.renew(1, LATER)
    store.exports.record_upload(job, export, None, LATER)
    store.exports.end_upload(job, export, True, None, LATER)
    store.jobs.finish(job, RunState.DONE, None, LATER)

    stored = store.exports.read(1)
    assert (stored.uploaded_request, stored.completed_request) == (1, 1)
    assert stored.is_pending
    assert store.exports.has_due(LATER)


def test_a_failed_upload_is_repeated_after_a_growing_delay(store, ended):
    store.exports.request(1, URI, NOW)
    now, delays = NOW, []
    for _ in range(9):
        job = claim(store, now)
        store.exports.record_failure(job, 1, "no route to host", now)
        store.jobs.finish(job, RunState.FAILED, "no route to host", now)
        export = store.exports.read(1)
        delays.append((export.next_at - now).total_seconds())
        assert not store.exports.has_due(export.next_at - timedelta(seconds=1))
        now = export.next_at

    assert delays[:4] == [5, 10, 20, 40]
    assert delays[-1] == MAX_RETRY_DELAY_S
    assert (export.error, export.is_pending) == ("no route to host", True)


def test_a_successful_upload_resets_the_delay_and_the_error(store, ended):
    store.exports.request(1, URI, NOW)
    job = claim(store)
    store.exports.record_failure(job, 1, "no route to host", NOW)

    export = store.exports.read(1)
    store.exports.record_upload(job, export, None, NOW)
    store.exports.end_upload(job, export, True, None, NOW)

    export = store.exports.read(1)
    assert (export.failures, export.error, export.next_at) == (0, None, None)


def test_an_upload_that_always_crashes_is_delayed_too_and_shows_the_reason(store, ended):
    store.exports.request(1, URI, NOW)
    job = claim(store)
    store.jobs.finish(job, RunState.CRASHED, "killed", NOW)
    assert not store.exports.has_due(NOW)

    claim(store, NOW + timedelta(seconds=5))

    export = store.exports.read(1)
    assert (export.failures, export.error) == (2, "killed")
    assert export.next_at == NOW + timedelta(seconds=15)


def test_an_export_is_not_due_while_a_run_starts(store, study):
    store.exports.request(1, URI, NOW)
    run_job = store.jobs.claim(NOW)
    assert not store.exports.has_due(NOW)

    take_step(store, run_job)

    assert store.exports.has_due(NOW)


def test_an_uploaded_export_waits_for_the_next_run_or_the_end_of_the_study(store, study):
    export = store.exports.request(1, URI, NOW)
    job = claim(store)
    store.exports.record_upload(job, export, None, NOW)
    store.exports.end_upload(job, export, False, None, NOW)
    store.jobs.finish(job, RunState.DONE, None, NOW)
    due = [store.exports.has_due(NOW)]

    for _ in range(2):
        run_job = store.jobs.claim(NOW)
        take_step(store, run_job)
        due.append(store.exports.has_due(NOW))
        store.jobs.finish(run_job, RunState.DONE, None, NOW)
        due.append(store.exports.has_due(NOW))

    assert due == [False, True, False, True, True]


def test_a_cancelled_export_is_not_due_and_is_not_renewed_but_can_be_requested(store, ended):
    store.exports.request(1, URI, NOW)
    store.exports.queue_due(NOW)

    (cancelled,) = store.exports.cancel(1, NOW)

    assert cancelled.is_cancelled
    assert store.jobs.read_newest("export", "1").state == RunState.STOPPED
    assert store.exports.cancel(1, NOW) == []
    assert store.exports.renew(1, NOW) == 0
    assert not store.exports.has_due(NOW)
    store.exports.request(1, URI, NOW)
    assert store.exports.has_due(NOW)


def test_cancelling_a_running_export_requests_that_its_job_stops(store, ended):
    store.exports.request(1, URI, NOW)
    job = claim(store)

    store.exports.cancel(1, NOW)

    assert store.jobs.read(job.id).state == RunState.STOPPING


def test_the_uploaded_parts_of_a_run_come_back_as_they_were_stored(store, ended):
    store.exports.request(1, URI, NOW)
    job = claim(store)
    upload = RunUpload(2, "abc", "2026", 7, {"l1": 3}, 1, {"test/psnr@1": 2.5, "x": "no"}, True)

    assert store.exports.save_upload(job, 1, replace(upload, cursor=1), NOW)
    assert store.exports.save_upload(job, 1, upload, NOW)

    assert store.exports.read_uploads(1) == {2: upload}


def test_an_upload_without_a_valid_token_is_not_stored(store, ended):
    export = store.exports.request(1, URI, NOW)
    job = claim(store)
    store.jobs.finish(job, RunState.DONE, None, NOW)

    with pytest.raises(LostJobError):
        store.exports.save_upload(job, 1, RunUpload(1), NOW)
    with pytest.raises(LostJobError):
        store.exports.record_upload(job, export, None, NOW)


def test_deleting_a_study_deletes_its_exports_also_during_an_upload(store, ended):
    store.exports.request(1, URI, NOW)
    job = claim(store)
    store.exports.save_upload(job, 1, RunUpload(1), NOW)

    store.runs.delete([1])
    assert not store.exports.save_upload(job, 1, RunUpload(1), NOW)
    assert store.exports.read_uploads(1) == {}
    store.runs.delete([2])

    assert store.exports.read_all() == []
    assert not store.exports.save_upload(job, 1, RunUpload(2), NOW)


def test_a_copy_of_a_database_exports_nothing(store, ended):
    store.exports.request(1, URI, NOW)
    store.exports.queue_due(NOW)

    store.jobs.detach_running(is_copy=False, now=NOW)
    assert len(store.exports.read_all()) == 1
    store.jobs.detach_running(is_copy=True, now=NOW)

    assert store.exports.read_all() == []
    assert store.jobs.read_newest("export", "1") is None


def test_requests_of_earlier_versions_are_taken_over_once(store, ended):
    uploads = [RunUpload(1, "abc", cursor=5), RunUpload(99, "deleted")]
    assert store.exports.take_over(1, URI, True, uploads, NOW)
    assert store.exports.take_over(1, URI, False, [RunUpload(1, "other")], NOW)
    assert not store.exports.take_over(99, URI, False, [], NOW)

    (export,) = store.exports.read_all()
    assert not export.is_pending
    assert store.exports.read_uploads(export.id) == {1: uploads[0]}


def test_looking_for_exports_reads_no_run_if_nothing_is_exported(store, ended):
    export = store.exports.request(1, URI, NOW)
    job = claim(store)
    store.exports.record_upload(job, export, None, NOW)
    store.exports.end_upload(job, export, True, None, NOW)
    store.jobs.finish(job, RunState.DONE, None, NOW)
    statements = []

    def record(_connection, _cursor, statement, *_):
        statements.append(statement)

    sa.event.listen(store._database._engine, "before_cursor_execute", record)
    store.exports.queue_due(NOW)

    (query,) = [statement for statement in statements if statement.startswith("SELECT")]
    assert "FROM exports" in query
    assert "runs" not in query
