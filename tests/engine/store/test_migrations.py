"""Tests of upgrades on SQLite and PostgreSQL: the laws of all revisions, and the upgrade itself."""

import subprocess
import sys
from contextlib import closing

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from engine.errors import DatabaseUnavailableError, StoreError
from engine.records.runs import RunState
from engine.store import Store, database_path
from engine.store.migrations import revisions, upgrade
from tests.support.old_databases import (
    add_revision,
    clear,
    connected,
    describe,
    make_old_database,
    read_rows,
    run_revisions,
)
from tests.support.runs import NOW, tiny_config

# On SQLite the second statement makes a new table, because it changes a column.
REPLACE_RUNS = """
op.create_table("colours", sa.Column("id", sa.Integer(), primary_key=True))
with op.batch_alter_table("runs", table_kwargs={"sqlite_autoincrement": True}) as runs:
    runs.add_column(sa.Column("colour", sa.String()))
    runs.alter_column("seed", existing_type=sa.Integer(), nullable=True)
"""
FAIL = """
op.create_table("colours", sa.Column("id", sa.Integer(), primary_key=True))
op.execute("DELETE FROM metrics")
op.execute("INSERT INTO nowhere VALUES (1)")
"""
MARKERS = ("chromabench_revision", "chromabench_schema")


@pytest.fixture
def url(settings):
    return settings.database_url


@pytest.fixture
def new_revision(tmp_path, monkeypatch):
    """Returns a function that adds a revision after the newest one, for one test."""
    folder = tmp_path / "revisions"
    monkeypatch.setattr(revisions, "FOLDERS", [*revisions.FOLDERS, folder])
    return lambda body: add_revision(folder, body)


def scripts():
    """The revisions from the oldest to the newest, as Alembic loads them."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        directory = ScriptDirectory.from_config(upgrade.make_config(connection))
    engine.dispose()
    return list(directory.walk_revisions())[::-1]


def describe_new_database(url):
    """Describes a new database, and deletes its tables."""
    Store(url).close()
    description = describe(url)
    clear(url)
    return description


def copies_of(settings):
    return sorted(path.name for path in database_path(settings.database_url).parent.glob("*.bak"))


def is_sqlite(url):
    return sa.make_url(url).get_backend_name() == "sqlite"


def read_markers(url):
    """The version in the header or in the table of earlier releases, and Alembic's revision."""
    with connected(url) as connection:
        query = sa.text("SELECT version_num FROM chromabench_revision")
        return revisions.read_version(connection), connection.execute(query).scalar_one()


def test_the_revisions_make_the_tables_of_a_new_database(url):
    expected = describe_new_database(url)

    run_revisions(url, version=None)

    assert describe(url) == expected


def test_an_upgraded_database_of_the_first_release_has_the_tables_of_a_new_one(url):
    expected = describe_new_database(url)
    make_old_database(url)

    run_revisions(url, version=5)

    assert describe(url) == expected


def test_alembic_sees_no_difference_between_the_revisions_and_the_tables_of_the_code(url):
    run_revisions(url, version=None)

    with connected(url) as connection:
        command.check(upgrade.make_config(connection))


def test_the_baseline_makes_the_tables_of_the_first_release(url):
    make_old_database(url)
    expected = describe(url)
    clear(url)

    run_revisions(url, version=None, to="0005")

    tables = describe(url)
    del tables["chromabench_revision"]
    assert tables == expected


def test_each_revision_follows_the_one_before_and_is_named_by_its_number():
    numbers = [script.revision for script in scripts()]

    assert numbers == [f"{version:04d}" for version in range(5, revisions.newest_version() + 1)]
    assert [script.path.rpartition("/")[2][:4] for script in scripts()] == numbers
    assert [script.down_revision for script in scripts()] == [None, *numbers[:-1]]


def test_every_revision_refuses_a_downgrade():
    for script in scripts():
        with pytest.raises(StoreError, match=r"cannot be downgraded.*\.bak"):
            script.module.downgrade()


def test_a_new_database_has_the_version_of_the_newest_revision(url):
    Store(url).close()

    newest = revisions.newest_version()
    assert read_markers(url) == (newest, revisions.revision_id(newest))


def test_an_upgrade_keeps_all_rows_and_raises_the_versions(url, settings, new_revision):
    make_old_database(url)
    before = read_rows(url)
    version = new_revision(REPLACE_RUNS)

    with closing(Store(url)) as store:
        (study,) = store.studies.read_all()
        runs = store.runs.read_all()
        _, (new_run,) = store.studies.add("another", "another", [tiny_config()], NOW)

    after = read_rows(url)
    for table, rows in before.items():
        if table not in MARKERS:
            old = [{name: row[name] for name in rows[0]} for row in after[table]][: len(rows)]
            assert old == rows, table
    assert read_markers(url) == (version, f"{version:04d}")
    assert study.name == "a study; \"quoted\" 'twice'"
    assert [(run.id, run.configuration, run.state) for run in runs] == [
        (1, "standard", RunState.DONE),
        (2, "gan", RunState.RUNNING),
    ]
    assert new_run.id == 4  # 3 was the id of a run that was deleted


def test_ids_of_deleted_rows_are_not_used_again_in_an_empty_table_that_was_replaced(
    url, new_revision
):
    make_old_database(url)
    with connected(url) as connection:
        for table in ("attempts", "jobs", "runs"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
    new_revision(REPLACE_RUNS)

    with closing(Store(url)) as store:
        _, (run,) = store.studies.add("another", "another", [tiny_config()], NOW)

    assert run.id == 4


def test_a_replaced_table_keeps_its_indexes_keys_and_ids(url, new_revision):
    make_old_database(url)
    expected = describe(url)["runs"]
    new_revision(REPLACE_RUNS)

    Store(url).close()

    replaced = describe(url)["runs"]
    del expected["columns"], replaced["columns"]
    assert replaced == expected


def test_an_upgraded_database_is_newer_for_older_releases(url, new_revision, monkeypatch):
    make_old_database(url)
    released = list(revisions.FOLDERS)
    new_revision(REPLACE_RUNS)
    Store(url).close()
    monkeypatch.setattr(revisions, "FOLDERS", released[:1])

    with pytest.raises(StoreError, match="newer Chromabench"):
        Store(url)


def test_an_upgrade_that_fails_changes_nothing(url, settings, new_revision):
    make_old_database(url)
    rows, tables = read_rows(url), describe(url)
    new_revision(FAIL)

    for _ in range(2):
        with pytest.raises(StoreError, match=r"failed.*nowhere.*left as it was") as failure:
            Store(url)

    assert read_rows(url) == rows
    assert describe(url) == tables
    if is_sqlite(url):
        assert copies_of(settings) == ["runs.db.schema-5.bak"]
        assert "runs.db.schema-5.bak" in str(failure.value)


def test_an_upgrade_that_waited_too_long_for_a_lock_can_be_tried_again(url, new_revision):
    make_old_database(url)
    new_revision(REPLACE_RUNS)

    with connected(url) as connection:
        connection.execute(sa.text("DELETE FROM alerts"))  # locks the file, or the table
        if not is_sqlite(url):
            connection.execute(sa.text("LOCK TABLE runs"))
        with pytest.raises(DatabaseUnavailableError, match="lock"):
            Store(url, lock_timeout_s=0.1)

    Store(url).close()


OPEN = """
import sys
from pathlib import Path
from engine.store import Store
from engine.store.migrations import revisions
revisions.FOLDERS += [Path(folder) for folder in sys.argv[2:]]
print(len(Store(sys.argv[1]).runs.read_all()), "alembic" in sys.modules)
"""


@pytest.mark.slow
def test_processes_that_open_an_old_database_at_the_same_time_all_succeed(
    url, settings, new_revision, tmp_path
):
    make_old_database(url)
    version = new_revision(REPLACE_RUNS)
    command = [sys.executable, "-c", OPEN, url, str(tmp_path / "revisions")]

    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [child.communicate(timeout=120)[0].split() for child in children]

    assert [output[0] for output in outputs] == ["2", "2", "2"]
    assert read_markers(url)[0] == version
    if is_sqlite(url):
        assert copies_of(settings) == ["runs.db.schema-5.bak"]


@pytest.mark.slow
def test_a_database_of_the_newest_version_is_opened_without_alembic(url):
    Store(url).close()

    output = subprocess.check_output([sys.executable, "-c", OPEN, url], text=True)

    assert output.split() == ["0", "False"]
