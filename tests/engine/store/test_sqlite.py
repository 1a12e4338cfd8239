"""Tests of SQLite alone: files, pragmas, query plans."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
import sqlalchemy as sa

from engine.errors import BadInputError, EngineError, StoreError
from engine.records.curves import MetricPoint
from engine.records.runs import RunState
from engine.settings import Settings
from engine.store import DatabaseReplacedError, Store, connection, database_path, identify
from engine.store.migrations import revisions
from engine.store.schema import APPLICATION_ID, metadata
from tests.support.old_databases import add_revision, describe, make_old_database, read_rows
from tests.support.runs import NOW, tiny_config


@pytest.fixture
def settings(tmp_path):
    return Settings(f"sqlite:///{tmp_path}/runs.db", tmp_path / "artifacts", slots=1)


def execute(url, statement):
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(statement).all()
    engine.dispose()
    return rows


def test_lists_and_polls_never_scan_the_metrics(store, settings):
    engine = sa.create_engine(settings.database_url)
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT * FROM metrics"
            " WHERE run_id IN (1, 2) AND id > 5 AND name IN ('l1') ORDER BY id"
        ).all()
    engine.dispose()

    assert not [row for row in plan if "SCAN" in row[-1]]
    assert "metrics_by_curve (run_id=? AND name=? AND id>?)" in plan[0][-1]


def test_another_programs_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "theirs.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE cakes (id INTEGER)")
    engine.dispose()

    content = path.read_bytes()

    with pytest.raises(StoreError, match="another program's database"):
        Store(f"sqlite:///{path}")

    assert path.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.db"]


def test_a_newer_database_is_refused_and_left_alone(store, settings):
    store.close()
    path = database_path(settings.database_url)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")
    content = path.read_bytes()

    with pytest.raises(StoreError, match="newer Chromabench"):
        Store(settings.database_url)

    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "url",
    [
        *("mysql://host/db", "not an address", "sqlite://", "sqlite:///:memory:"),
        *("sqlite:////tmp/x.db?mode=ro", "postgresql://host:notaport/x", "sqlite+nope:////x.db"),
    ],
)
def test_an_unsupported_database_address_is_refused(url):
    with pytest.raises(BadInputError):
        Store(url)


def test_a_database_in_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(f"sqlite:///{tmp_path}/no/such/folder/runs.db")


def test_a_database_of_an_older_schema_is_refused_and_left_alone(store, settings, tmp_path):
    store.close()
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection:
        connection.execute(f"PRAGMA user_version={revisions.oldest_version() - 1}")
    content = (tmp_path / "runs.db").read_bytes()

    with pytest.raises(StoreError, match="before the first release"):
        Store(settings.database_url)

    assert (tmp_path / "runs.db").read_bytes() == content


@pytest.fixture
def old_path(settings, tmp_path, monkeypatch):
    """The file of a database of release 0.9.0, for which there is a newer revision."""
    make_old_database(settings.database_url)
    monkeypatch.setattr(revisions, "FOLDERS", [*revisions.FOLDERS, tmp_path / "revisions"])
    add_revision(
        tmp_path / "revisions", 'op.create_table("colours", sa.Column("id", sa.Integer()))'
    )
    return tmp_path / "runs.db"


def test_the_copy_from_before_an_upgrade_is_the_database_of_the_older_release(old_path, settings):
    old_path.chmod(0o640)
    rows, tables = read_rows(settings.database_url), describe(settings.database_url)

    Store(settings.database_url).close()

    copy = old_path.with_name("runs.db.schema-5.bak")
    assert read_rows(f"sqlite:///{copy}") == rows
    assert describe(f"sqlite:///{copy}") == tables
    assert execute(f"sqlite:///{copy}", "PRAGMA user_version") == [(5,)]
    assert execute(f"sqlite:///{copy}", "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert copy.stat().st_mode & 0o777 == 0o640
    assert not list(old_path.parent.glob("*.partial"))


def test_the_copy_from_before_an_upgrade_never_replaces_a_file(old_path, settings):
    first = old_path.with_name("runs.db.schema-5.bak")
    first.write_text("another file")

    Store(settings.database_url).close()

    assert first.read_text() == "another file"
    copy = old_path.with_name("runs.db.schema-5-2.bak")
    assert execute(f"sqlite:///{copy}", "PRAGMA user_version") == [(5,)]


def test_an_upgrade_without_room_for_the_copy_changes_nothing(old_path, settings, monkeypatch):
    rows = read_rows(settings.database_url)
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    with pytest.raises(
        EngineError, match=r"copy of .*runs\.db before its upgrade.*Free some space"
    ):
        Store(settings.database_url)

    assert read_rows(settings.database_url) == rows
    assert execute(settings.database_url, "PRAGMA user_version") == [(5,)]
    assert not list(old_path.parent.glob("*.bak"))


def test_the_refusal_of_an_upgraded_database_names_its_copy(old_path, settings, monkeypatch):
    Store(settings.database_url).close()
    content = old_path.read_bytes()
    monkeypatch.setattr(revisions, "FOLDERS", revisions.FOLDERS[:1])

    with pytest.raises(StoreError, match=r"newer Chromabench.*runs\.db\.schema-5\.bak"):
        Store(settings.database_url)

    assert old_path.read_bytes() == content


def test_an_upgrade_that_would_leave_rows_without_their_parents_is_undone(settings, old_path):
    rows = read_rows(settings.database_url)
    add_revision(old_path.parent / "revisions", 'op.execute("DELETE FROM studies")')

    with pytest.raises(StoreError, match="rows that do not exist"):
        Store(settings.database_url)

    assert read_rows(settings.database_url) == rows


@pytest.mark.slow
def test_processes_that_open_a_new_database_at_the_same_time_all_succeed(settings):
    program = (
        "import sys; from engine.store import Store; print(Store(sys.argv[1]).runs.read_all())"
    )
    command = [sys.executable, "-c", program, settings.database_url]

    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]

    assert [child.communicate(timeout=120)[0] for child in children] == [b"[]\n"] * 4


@pytest.mark.parametrize("action", ["deleted", "replaced"])
def test_deleting_or_replacing_an_open_database_is_detected(settings, tmp_path, action):
    Store(f"sqlite:///{tmp_path}/other.db").close()
    store = Store(settings.database_url)
    store.require_same_file()
    (tmp_path / "runs.db").unlink()
    if action == "replaced":
        shutil.copy(tmp_path / "other.db", tmp_path / "runs.db")

    with pytest.raises(DatabaseReplacedError, match="deleted or replaced"):
        store.require_same_file()
    store.close()


def test_a_database_on_a_network_file_system_is_refused(settings, tmp_path, monkeypatch):
    class Disk:
        mountpoint, fstype = str(tmp_path), "nfs4"

    monkeypatch.setattr(connection.psutil, "disk_partitions", lambda **_: [Disk])

    with pytest.raises(StoreError, match="network file system"):
        Store(settings.database_url)
    assert identify(settings.database_url) is None


def test_the_tables_are_those_of_the_schema(settings):
    Store(settings.database_url).close()

    names = {name for (name,) in execute(settings.database_url, "SELECT name FROM sqlite_schema")}
    assert set(metadata.tables) <= names


QUERIES = {
    "runs": lambda store: store.runs.read_all(),
    "runs of a study": lambda store: store.runs.read_all(1),
    "newest samples": lambda store: store.runs.read_newest_samples([1, 2]),
    "samples": lambda store: store.runs.read_samples([1, 2]),
    "summaries": lambda store: store.curves.read_summaries([1, 2]),
    "costs of runs": lambda store: store.machines.read_costs(200),
    "one curve": lambda store: store.curves.read([1, 2], names=["val_psnr"]),
    "new points": lambda store: store.curves.read_new_points({1: 4, 2: 9}, "l1"),
    "buckets": lambda store: store.curves.read_buckets([1, 2], "l1", 4),
    "first and last point": lambda store: store.curves.read_first_and_last(1, 3),
    "curves": lambda store: store.curves.read_thinned([1, 2], ["l1", "d_loss"], 60),
    "alerts": lambda store: store.curves.read_alerts([1, 2]),
    "attempts": lambda store: store.runs.read_attempts([1, 2]),
    "evaluations": lambda store: store.evaluations.read([1, 2], "test"),
    "queue": lambda store: store.jobs.read_all(RunState.QUEUED),
    "retrying runs": lambda store: store.runs.read_retrying(),
}


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_of_a_page_scans_a_large_table(settings, store, query):
    store.studies.add("key", "a study", [tiny_config(), tiny_config("gan")], NOW)
    job = store.jobs.claim(NOW)
    points = [MetricPoint(1, step, 1, name, 1.0) for step in range(1, 99) for name in ("l1", "x")]
    store.curves.add_points(job, 1, 98, points, NOW)
    statements = []

    def record(connection, cursor, statement, parameters, *_):
        statements.append((statement, parameters))

    sa.event.listen(store._database._engine, "before_cursor_execute", record)

    QUERIES[query](store)

    selects = [(text, values) for text, values in statements if text.lstrip().startswith("SELECT")]
    assert selects
    with closing(sqlite3.connect(settings.database_url.removeprefix("sqlite:///"))) as connection:
        for statement, values in selects:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            for table in ("metrics", "image_scores", "evaluations"):
                assert f"SCAN {table}" not in plan, (statement, plan)
            assert not any(step.startswith("SCAN") and " metrics" in step for step in plan), plan
