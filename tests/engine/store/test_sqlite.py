"""What is SQLite's alone: files, pragmas, and the schemas of older releases."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from engine.errors import BadInputError, StoreError
from engine.records.curves import MetricPoint
from engine.records.runs import RunState
from engine.settings import Settings
from engine.store import GoneDatabaseError, Store, connection, identify
from engine.store.schema import SCHEMA_VERSION, metadata
from engine.system import processes
from tests.conftest import NOW, tiny_config

RELEASED = sorted((Path(__file__).parents[2] / "data").glob("schema-*.db"))


@pytest.fixture
def settings(tmp_path):
    return Settings(f"sqlite:///{tmp_path}/runs.db", tmp_path / "artifacts", slots=1)


def ask(url, question):
    engine = sa.create_engine(url)
    with engine.connect() as opened:
        found = opened.exec_driver_sql(question).all()
    engine.dispose()
    return found


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
    assert [it.name for it in tmp_path.iterdir()] == ["theirs.db"]


def test_a_newer_database_is_refused(store, settings):
    engine = sa.create_engine(settings.database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA user_version=99")
    engine.dispose()

    with pytest.raises(StoreError, match="newer Chromabench"):
        Store(settings.database_url)


@pytest.mark.parametrize(
    "url",
    [
        *("mysql://host/db", "not an address", "sqlite://", "sqlite:///:memory:"),
        *("sqlite:////tmp/x.db?mode=ro", "postgresql://host:notaport/x", "sqlite+nope:////x.db"),
    ],
)
def test_a_database_of_no_supported_kind_is_refused(url):
    with pytest.raises(BadInputError):
        Store(url)


def test_a_database_where_none_can_be_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(f"sqlite:///{tmp_path}/no/such/folder/runs.db")


def described(url):
    """Everything that makes a schema what it is."""
    engine = sa.create_engine(url)
    found = sa.inspect(engine)
    tables = {
        name: (
            [(it["name"], str(it["type"]), it["nullable"]) for it in found.get_columns(name)],
            sorted(
                str(sorted(it.items()))
                for it in found.get_indexes(name)
                if not it.get("dialect_options")
            ),
            sorted(map(str, found.get_unique_constraints(name))),
            sorted(map(str, found.get_foreign_keys(name))),
        )
        for name in found.get_table_names()
    }
    engine.dispose()
    return tables


def test_a_file_of_every_released_schema_is_kept():
    assert [it.stem for it in RELEASED] == [f"schema-{it}" for it in range(2, SCHEMA_VERSION)]


@pytest.mark.parametrize("released", RELEASED, ids=lambda it: it.stem)
def test_a_database_of_an_older_release_is_brought_up_to_date(settings, tmp_path, released):
    shutil.copy(released, tmp_path / "runs.db")
    before = {
        name: ask(settings.database_url, f"SELECT count(*) FROM {name}")
        for (name,) in ask(
            settings.database_url,
            "SELECT name FROM sqlite_schema WHERE type='table' AND name != 'sqlite_sequence'",
        )
    }

    with closing(Store(settings.database_url)) as store:
        done, _, stopped = store.read_runs()
        assert (done.state, done.epoch, done.will_retry) == (RunState.DONE, 3, False)
        assert {it.name for it in store.read_evaluations([1], "test")} >= {"psnr", "kd_lite2"}
        newest = store.read_checkpoints(1)[0]
        assert (newest.epoch, newest.step, newest.is_whole) == (3, done.steps, True)
        assert store.requeue(stopped.id, NOW)
        assert store.claim_job(NOW).run_id == stopped.id
        assert store.add_study("new", "a", [tiny_config()], NOW)[1][0].id == 4

    for name in before:
        added = {"studies": 1, "runs": 1, "jobs": 1, "attempts": 1}.get(name, 0)
        ((count,),) = before[name]
        assert ask(settings.database_url, f"SELECT count(*) FROM {name}") == [(count + added,)]
    with closing(Store(f"sqlite:///{tmp_path}/fresh.db")):
        assert described(settings.database_url) == described(f"sqlite:///{tmp_path}/fresh.db")
    (backup,) = tmp_path.glob("runs.db.schema-*-backup")
    assert ask(f"sqlite:///{backup}", "SELECT count(*) FROM runs") == [(3,)]


def test_a_migration_that_fails_leaves_the_database_as_it_was(settings, tmp_path, monkeypatch):
    shutil.copy(RELEASED[-1], tmp_path / "runs.db")
    before = described(settings.database_url)

    def fail(*_):
        raise sa.exc.OperationalError("x", {}, Exception("disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(connection.migration, "_fill", fail)
        with pytest.raises(StoreError, match="disk is full"):
            Store(settings.database_url)

    assert described(settings.database_url) == before
    Store(settings.database_url).close()


def test_a_database_that_an_older_release_still_works_on_is_left_alone(settings, tmp_path):
    shutil.copy(RELEASED[-1], tmp_path / "runs.db")
    engine = sa.create_engine(settings.database_url)
    with engine.begin() as opened:
        mine = processes.identify(os.getpid())
        opened.exec_driver_sql("UPDATE jobs SET state='running', process=? WHERE id=1", (mine,))
    engine.dispose()

    with pytest.raises(StoreError, match="still works on 1 of its jobs"):
        Store(settings.database_url)


def test_a_database_from_before_the_first_release_is_refused(settings, tmp_path):
    shutil.copy(RELEASED[0], tmp_path / "runs.db")
    with closing(sqlite3.connect(tmp_path / "runs.db")) as opened:
        opened.execute("PRAGMA user_version=1")

    with pytest.raises(StoreError, match="before the first release"):
        Store(settings.database_url)


@pytest.mark.slow
def test_of_processes_that_migrate_at_once_one_does_and_all_go_on(settings, tmp_path):
    shutil.copy(RELEASED[-1], tmp_path / "runs.db")
    command = [
        *(sys.executable, "-c"),
        "import sys; from engine.store import Store; print(len(Store(sys.argv[1]).read_runs()))",
        settings.database_url,
    ]

    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]

    assert [child.communicate(timeout=120)[0] for child in children] == [b"3\n"] * 4


@pytest.mark.parametrize("deed", ["deleted", "replaced"])
def test_a_database_that_is_deleted_or_replaced_under_its_user_is_noticed(settings, tmp_path, deed):
    store = Store(settings.database_url)
    store.require_same_file()
    (tmp_path / "runs.db").unlink()
    if deed == "replaced":
        shutil.copy(RELEASED[-1], tmp_path / "runs.db")

    with pytest.raises(GoneDatabaseError, match="deleted or replaced"):
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

    names = {name for (name,) in ask(settings.database_url, "SELECT name FROM sqlite_schema")}
    assert set(metadata.tables) <= names


QUESTIONS = {
    "runs": lambda store: store.read_runs(),
    "runs of a study": lambda store: store.read_runs(1),
    "newest samples": lambda store: store.read_newest_samples([1, 2]),
    "samples": lambda store: store.read_samples([1, 2]),
    "summaries": lambda store: store.read_metric_summaries([1, 2]),
    "what runs cost": lambda store: store.read_costs(200),
    "one curve": lambda store: store.read_metrics([1, 2], names=["val_psnr"]),
    "new points": lambda store: store.read_points({1: 4, 2: 9}, "l1"),
    "stretches": lambda store: store.read_stretches([1, 2], "l1", 4),
    "span": lambda store: store.read_span(1, 3),
    "curves": lambda store: store.read_curves([1, 2], ["l1", "d_loss"], 60),
    "alerts": lambda store: store.read_alerts([1, 2]),
    "attempts": lambda store: store.read_attempts([1, 2]),
    "evaluations": lambda store: store.read_evaluations([1, 2], "test"),
    "queue": lambda store: store.read_jobs(RunState.QUEUED),
    "retries": lambda store: store.read_retries(),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_of_a_page_scans_the_metrics(settings, store, question):
    store.add_study("key", "a study", [tiny_config(), tiny_config("gan")], NOW)
    job = store.claim_job(NOW)
    points = [MetricPoint(1, step, 1, name, 1.0) for step in range(1, 99) for name in ("l1", "x")]
    store.add_metrics(job, 1, 98, points, NOW)
    asked = []
    sa.event.listen(
        store._engine, "before_cursor_execute", lambda *it: asked.append((it[2], it[3]))
    )

    QUESTIONS[question](store)

    selects = [it for it in asked if it[0].lstrip().startswith("SELECT")]
    assert selects
    with closing(sqlite3.connect(settings.database_url.removeprefix("sqlite:///"))) as opened:
        for statement, values in selects:
            plan = [row[3] for row in opened.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            for table in ("metrics", "image_scores", "evaluations"):
                assert f"SCAN {table}" not in plan, (statement, plan)
            assert not any(step.startswith("SCAN") and " metrics" in step for step in plan), plan
