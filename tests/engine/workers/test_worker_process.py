"""Tests of the retries of a worker: which failures of the database it waits for."""

import sqlite3
from contextlib import closing

import pytest

from engine.errors import DatabaseUnavailableError
from engine.records.curves import Alert
from engine.records.runs import RunState
from engine.store import database_path
from engine.workers import worker_process
from tests.support.runs import NOW, tiny_config


@pytest.mark.timeout(30)  # a worker that waits for the database waits for ever
def test_a_run_whose_rows_the_database_rejects_fails_at_once_with_the_reason(store, settings):
    _, (run,) = store.studies.add("key", "a study", [tiny_config()], NOW)
    job = store.jobs.claim(NOW)
    with closing(sqlite3.connect(database_path(settings.database_url))) as connection:
        connection.execute("DROP TABLE alerts")

    def work(store, _settings, job, _should_stop):
        alerts = [Alert(run.id, 1, "plateau", "the loss stopped falling")]
        worker_process.retry_until_written(lambda: store.curves.add_alerts(job, alerts, NOW))
        return RunState.DONE, None

    worker_process.run_job(store, settings, job, lambda: False, work)

    failed = store.runs.read(run.id)
    assert failed.state == RunState.FAILED
    assert "no such table: alerts" in failed.reason


def test_a_write_is_repeated_while_the_database_is_unavailable(monkeypatch):
    monkeypatch.setattr(worker_process, "RETRY_EVERY_S", 0.0)
    failures = [DatabaseUnavailableError("locked"), DatabaseUnavailableError("locked")]

    def write():
        if failures:
            raise failures.pop()
        return "written"

    assert worker_process.retry_until_written(write) == "written"
