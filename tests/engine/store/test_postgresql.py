"""What is PostgreSQL's alone: whose the tables are, and the clock."""

from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing

import pytest
import sqlalchemy as sa

from engine.errors import StoreError
from engine.records.curves import MetricPoint
from engine.records.runs import RunState
from engine.store import Store
from tests.conftest import NOW, tiny_config


@pytest.fixture
def url(postgresql_url):
    return postgresql_url


def do(url, statement):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_another_programs_tables_are_left_alone(url):
    do(url, "CREATE TABLE runs (id INTEGER)")

    with pytest.raises(StoreError, match="another program's table 'runs'"):
        Store(url)


def test_tables_of_other_names_do_not_matter(url):
    do(url, "CREATE TABLE cakes (id INTEGER)")

    with closing(Store(url)) as store:
        assert store.read_studies() == []


def test_a_newer_schema_is_refused(url):
    Store(url).close()
    do(url, "UPDATE chromabench_schema SET version = 99")

    with pytest.raises(StoreError, match="newer Chromabench"):
        Store(url)


def test_a_wish_to_stop_is_not_lost_between_a_claim_and_a_retry(url):
    """Many times over: whichever comes first, a run that was to be stopped does not go on."""
    with closing(Store(url)) as store, closing(Store(url)) as other, ThreadPoolExecutor(2) as pool:
        for number in range(60):
            _, (run,) = store.add_study(f"key {number}", "a", [tiny_config()], NOW)
            claim = pool.submit(other.claim_job, NOW)
            wait([claim, pool.submit(store.request_stop, run.id, NOW)])
            job = claim.result()
            now = store.read_run(run.id)
            if job is None or now.state == RunState.STOPPED:
                assert now.state == RunState.STOPPED
                continue
            assert now.state == RunState.STOPPING
            assert store.read_job(job.id).stop_requested_at is not None
            store.finish_job(job, RunState.STOPPED, None, NOW)


def test_a_server_that_cannot_be_reached_is_said_in_a_sentence(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(f"postgresql+psycopg://nobody@/none?host={tmp_path}")


def test_a_database_of_schema_4_is_brought_up_to_date(url):
    with closing(Store(url)) as store:
        store.add_study("key", "old", [tiny_config()], NOW)
    for statement in (
        "ALTER TABLE studies DROP COLUMN note, DROP COLUMN tags, DROP COLUMN announced_at",
        "ALTER TABLE runs DROP COLUMN note, DROP COLUMN tags",
        "ALTER TABLE metrics DROP COLUMN at",
        "DROP TABLE alerts, probes",
        "UPDATE chromabench_schema SET version = 4",
    ):
        do(url, statement)

    with closing(Store(url)) as store:
        assert (store.read_study(1).name, store.read_study(1).tags) == ("old", ())
        store.edit_study(1, "new", "why", ("paper",))
        assert store.read_study(1).tags == ("paper",)
        assert store.read_alerts([1]) == []
        job = store.claim_job(NOW)
        store.add_metrics(job, 1, 1, [MetricPoint(1, 1, 1, "l1", 0.5)], NOW)
        assert store.read_stretches([1], "l1", 1)[0].at == NOW.timestamp()
