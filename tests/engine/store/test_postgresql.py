"""What is PostgreSQL's alone: whose the tables are, and the clock."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from engine.errors import StoreError
from engine.store import Store
from tests.conftest import NOW


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


def test_heartbeats_are_judged_by_the_servers_clock(url):
    with closing(Store(url)) as store:
        clock = store.read_clock(NOW)

        assert abs(clock - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_server_that_cannot_be_reached_is_said_in_a_sentence(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(f"postgresql+psycopg://nobody@/none?host={tmp_path}")
