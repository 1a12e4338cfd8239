"""Tests of PostgreSQL alone: foreign tables, schema versions, concurrent stop requests."""

from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing

import pytest
import sqlalchemy as sa

from engine.errors import StoreError
from engine.records.runs import RunState
from engine.store import Store
from tests.support.runs import NOW, tiny_config


@pytest.fixture
def url(postgresql_url):
    return postgresql_url


def execute(url, statement):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_another_programs_tables_are_left_alone(url):
    execute(url, "CREATE TABLE runs (id INTEGER)")

    with pytest.raises(StoreError, match="another program's table 'runs'"):
        Store(url)


def test_foreign_tables_with_other_names_are_accepted(url):
    execute(url, "CREATE TABLE cakes (id INTEGER)")

    with closing(Store(url)) as store:
        assert store.studies.read_all() == []


@pytest.mark.parametrize(
    ("version", "message"), [(99, "newer Chromabench"), (4, "before the first release")]
)
def test_another_schema_version_is_refused(url, version, message):
    Store(url).close()
    execute(url, f"UPDATE chromabench_schema SET version = {version}")

    with pytest.raises(StoreError, match=message):
        Store(url)


def test_a_stop_request_is_not_lost_during_a_concurrent_claim(url):
    """Whichever of claim and stop request comes first, the run does not continue."""
    with closing(Store(url)) as store, closing(Store(url)) as other, ThreadPoolExecutor(2) as pool:
        for number in range(60):
            _, (run,) = store.studies.add(f"key {number}", "a", [tiny_config()], NOW)
            claim = pool.submit(other.jobs.claim, NOW)
            wait([claim, pool.submit(store.jobs.request_run_stop, run.id, NOW)])
            job = claim.result()
            stored = store.runs.read(run.id)
            if job is None or stored.state == RunState.STOPPED:
                assert stored.state == RunState.STOPPED
                continue
            assert stored.state == RunState.STOPPING
            assert store.jobs.read(job.id).stop_requested_at is not None
            store.jobs.finish(job, RunState.STOPPED, None, NOW)


def test_an_unreachable_server_is_reported_in_one_sentence(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(f"postgresql+psycopg://nobody@/none?host={tmp_path}")
