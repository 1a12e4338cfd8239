"""Commands on existing runs and studies: extend, clone, delete, prune, back up, restore."""

import errno
import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.cli import inputs
from engine.cli.main import main
from engine.config import Budget
from engine.errors import EngineError
from engine.jobs import lifecycle, spawn
from engine.jobs.installation import claim_artifacts
from engine.maintenance import backup, pruning
from engine.records.runs import RunState
from engine.store import Store, database_path, run_files
from engine.store.migrations import revisions
from engine.system import disk
from engine.system.files import replacing_array
from engine.system.processes import ProcessId
from engine.training import checkpoint
from tests.support.old_databases import add_revision
from tests.support.runs import NOW, share_prepared_data, tiny_config
from tests.support.training_jobs import run_training_job


@pytest.fixture
def installation(tiny_settings, monkeypatch):
    """Settings that commands read from the environment."""
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", tiny_settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tiny_settings.artifacts))
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    return tiny_settings


@pytest.fixture
def copied(installation, trained_copy):
    """A writable copy of the study of two done runs, which commands change."""
    return trained_copy


def train_all(store, settings):
    while (job := store.jobs.claim(NOW)) is not None:
        run_training_job(store, settings, job, lambda: False)


def run(capsys, *arguments):
    capsys.readouterr()  # drop the output of workers
    status = main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def values_of_last_epoch(store):
    """Metric -> value of the last epoch of run 1 on the test split."""
    evaluations = store.evaluations.read([1], "test")
    return {each.name: each.value for each in evaluations if each.epoch == 3}


def find_old_database(folder):
    """The database that a restore has moved aside, without its -wal and -shm files."""
    paths = folder.glob("runs.db.before-*")
    (database,) = (path for path in paths if not path.name.endswith(("-wal", "-shm")))
    return database


def test_a_stopped_run_is_resumed_and_a_done_one_is_not(installation, store, capsys):
    store.studies.add("key", "a", [tiny_config(), tiny_config("gan")], NOW)
    assert run(capsys, "cancel", "1", "2")[1] == "run 1 is stopped\nrun 2 is stopped\n"

    assert run(capsys, "resume", "--study", "1")[1].splitlines() == [
        "run 1 is queued, from the beginning",
        "run 2 is queued, from the beginning",
    ]
    assert run(capsys, "resume", "1") == (
        2,
        "",
        "error: Run 1 is queued; there is nothing to resume.\n",
    )


def test_the_error_for_a_done_run_names_the_command_for_more_epochs(copied, capsys):
    status, _, error = run(capsys, "resume", "1")

    assert status == 2
    assert "study --extend 1 --set epochs=N" in error


def test_cancel_stops_the_runs_that_can_be_stopped(installation, store, capsys):
    store.studies.add("key", "a", [tiny_config(), tiny_config("gan")], NOW)
    store.jobs.request_run_stop(1, NOW)

    status, out, error = run(capsys, "cancel", "1", "2")

    assert (status, out) == (1, "run 2 is stopped\n")
    assert "Run 1 is stopped already" in error


def test_front_moves_runs_to_the_front_of_the_queue(installation, store, capsys):
    configs = [tiny_config(name) for name in ("standard", "gan", "ganv2")]
    store.studies.add("key", "a", configs, NOW)

    assert run(capsys, "front", "2", "3")[0] == 0

    assert [job.run_id for job in store.jobs.read_all(RunState.QUEUED)] == [2, 3, 1]


@pytest.mark.slow
def test_a_run_with_added_epochs_equals_a_run_of_a_longer_study(
    installation, store, capsys, trained
):
    config = tiny_config(epochs=2, evaluations=1, n_test=8)
    store.studies.add("key", "short", [config], NOW)
    train_all(store, installation)
    assert store.runs.read(1).state == RunState.DONE

    status, out, _ = run(capsys, "study", "--extend", "1", "--set", "epochs=3", "--json")
    assert (status, json.loads(out)) == (0, {"study": 1, "runs": [1]})
    train_all(store, installation)

    extended = store.runs.read(1)
    assert (extended.state, extended.epoch, extended.epochs) == (RunState.DONE, 3, 3)
    points = trained.store.curves.read([1])
    longer = {(point.step, point.name): point.value for point in points}
    for point in store.curves.read([1]):
        if point.name in ("l1", "d_loss", "val_psnr"):
            assert point.value == longer[point.step, point.name]
    assert extended.best_epoch == 3
    assert {each.epoch for each in store.evaluations.read([1], "test")} == {2, 3}


def test_seeds_and_configurations_are_added(copied, capsys):
    arguments = ("--extend", "1", "--seeds", "2", "--configurations", "ganv2")

    status, out, _ = run(capsys, "study", *arguments, "--json")

    assert (status, len(json.loads(out)["runs"])) == (0, 4)
    queued = [each for each in copied.runs.read_all(1) if each.state == RunState.QUEUED]
    assert [(each.configuration, each.seed) for each in queued] == [
        *(("standard", 1), ("gan", 1), ("ganv2", 0), ("ganv2", 1)),
    ]
    assert {each.config.budget for each in queued} == {copied.studies.read(1).budget}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--extend", "9"], "There is no study 9"),
        (["--extend", "1"], "Nothing to add"),
        (["--extend", "1", "--seeds", "1"], "has all of that"),
        (["--extend", "1", "--configurations", ""], "no configuration"),
        (["--extend", "1", "--seeds", "0"], "seeds must be from 1"),
        (["--extend", "1", "--set", "epochs=3"], "must be more than the 3"),
        (["--extend", "1", "--set", "epochs=x"], "epochs cannot be 'x'"),
        (["--extend", "1", "--set", "px=64"], "can set epochs, not px"),
        (["--extend", "1", "--data", "openmoji"], "--data cannot change"),
        (["--extend", "1", "--from", "x.json"], "--from cannot change"),
        (["--extend", "1", "--configurations", "best"], "no configuration 'best'"),
    ],
)
def test_an_invalid_extension_is_refused(copied, capsys, arguments, message):
    status, out, error = run(capsys, "study", *arguments)

    assert (status, out) == (2, "")
    assert message in error
    assert len(copied.runs.read_all()) == 2


def test_a_study_whose_learning_rates_end_at_zero_gets_no_more_epochs(installation, store, capsys):
    store.studies.add("key", "a", [tiny_config(epochs=2, decay="0.5")], NOW)
    store.jobs.request_run_stop(1, NOW)

    status, _, error = run(capsys, "study", "--extend", "1", "--set", "epochs=4")

    assert status == 2
    assert "clone 1 --set epochs=4" in error


def test_a_study_with_a_cosine_schedule_gets_more_epochs(installation, store, capsys):
    config = tiny_config(epochs=2, decay="0.5", schedule="cosine")
    store.studies.add("key", "a", [config], NOW)
    store.jobs.request_run_stop(1, NOW)

    status, _, _ = run(capsys, "study", "--extend", "1", "--set", "epochs=4")

    assert status == 0
    assert store.runs.read(1).config.budget.epochs == 4


def test_a_study_is_cloned_with_a_change(copied, capsys):
    status, out, _ = run(capsys, "clone", "1", "--set", "l1=50", "--json")

    assert status == 0
    clone = copied.studies.read(json.loads(out)["study"])
    assert clone.name.endswith("(again)")
    for before, after in zip(copied.runs.read_all(1), copied.runs.read_all(clone.id), strict=True):
        assert after.config.budget == before.config.budget
        assert "50 l1" in str(after.config.configuration.recipe)


def test_delete_asks_first_and_deletes_rows_and_files(copied, installation, capsys, monkeypatch):
    status, _, error = run(capsys, "delete", "--study", "1")
    assert (status, len(copied.runs.read_all())) == (2, 2)
    assert "Add --yes" in error

    monkeypatch.setattr(inputs.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(inputs.sys.stdin, "readline", lambda: "n\n", raising=False)
    assert run(capsys, "delete", "--study", "1")[0] == 1
    assert len(copied.runs.read_all()) == 2
    assert run(capsys, "delete", "--study", "1", "--yes")[0] == 0

    assert copied.studies.read_all() == []
    assert disk.usage_of(installation.artifacts / "runs") == 0


def test_a_running_run_is_not_deleted(installation, store, capsys):
    store.studies.add("key", "a", [tiny_config()], NOW)
    store.jobs.claim(NOW)

    status, _, error = run(capsys, "delete", "1", "--yes")

    assert status == 2
    assert "Run 1 is running: stop it first" in error


def test_archived_runs_are_not_listed(copied, capsys):
    run(capsys, "archive", "1")
    listed = json.loads(run(capsys, "runs", "--json")[1])
    listed_with_archived = json.loads(run(capsys, "runs", "--all", "--json")[1])
    run(capsys, "archive", "1", "--undo")

    assert [each["id"] for each in listed] == [2]
    assert [(each["id"], each["archived"]) for each in listed_with_archived] == [
        (1, True),
        (2, False),
    ]
    assert len(json.loads(run(capsys, "runs", "--json")[1])) == 2


def test_disk_measures_the_files_of_studies(copied, installation, capsys):
    usage = json.loads(run(capsys, "disk", "--json")[1])

    (study,) = usage["studies"]
    n_bytes = sum(record.n_bytes for run_id in (1, 2) for record in copied.checkpoints.read(run_id))
    assert study["checkpoints"] == n_bytes
    assert study["total"] == disk.usage_of(installation.artifacts / "runs")
    assert usage["free"] > 0
    assert "standard" not in run(capsys, "disk")[1]


def test_prune_reports_and_then_deletes_the_named_parts(copied, installation, capsys):
    orphan = installation.artifacts / "runs" / "000099"
    orphan.mkdir()
    (orphan / "run.log").write_text("x" * 1000)
    (installation.run_dir(1) / "a.pt.1234.partial").write_bytes(b"x" * 500)
    parts = ("--parts", "leftovers,checkpoints,samples,optimisers")

    report = json.loads(run(capsys, "prune", *parts, "--dry-run", "--json")[1])
    assert report["leftovers"] == 1500
    assert report["optimisers"] > 100_000
    before = disk.usage_of(installation.artifacts / "runs")
    assert before == disk.usage_of(installation.artifacts / "runs")
    assert run(capsys, "prune", *parts, "--yes")[0] == 0

    freed = before - disk.usage_of(installation.artifacts / "runs")
    assert freed == pytest.approx(report["total"], rel=0.1)
    assert not orphan.exists()
    for run_id in (1, 2):
        best = copied.runs.read(run_id).best_epoch
        assert {sample.epoch for sample in copied.runs.read_samples([run_id])} == {best, 3}
        for saved in copied.checkpoints.read(run_id):
            checkpoint.load_from_record(installation.artifacts, saved)


def test_a_pruned_run_can_be_evaluated_but_not_trained_further(copied, installation, capsys):
    main(["evaluate", "1", "--features", "none"])
    before = values_of_last_epoch(copied)
    run(capsys, "prune", "--parts", "optimisers", "--yes")

    assert main(["evaluate", "1", "--checkpoint", "last", "--features", "none"]) == 0
    after = values_of_last_epoch(copied)
    assert after["psnr"] == before["psnr"]

    status, _, error = run(capsys, "study", "--extend", "1", "--set", "epochs=4")

    assert status == 2
    assert "The optimisers of run 1 were pruned" in error
    assert copied.runs.read(1).state == RunState.DONE


def test_files_of_a_run_that_was_queued_after_the_search_are_not_pruned(copied, installation):
    prunable = pruning.find_prunable(
        copied, installation, ("checkpoints", "samples", "optimisers"), 1
    )
    copied.studies.extend_epochs(1, 9)

    pruning.prune(copied, installation, prunable)

    for run_id in (1, 2):
        for saved in copied.checkpoints.read(run_id):
            state = checkpoint.load_from_record(installation.artifacts, saved)
            assert set(pruning.OPTIMISERS) <= state.keys()


def test_a_file_that_a_command_is_writing_is_not_pruned(copied, installation):
    path = installation.run_dir(1) / "predictions" / "test-00002.npy"

    with replacing_array(path, (2, 3), np.uint8) as array:
        (partial,) = path.parent.glob("*.partial")
        at_search = pruning.find_prunable(copied, installation, ("leftovers",), None)
        old_search = [pruning.Prunable("leftovers", partial, 6)]
        assert pruning.prune(copied, installation, old_search) == 0
        array[:] = 7

    assert partial not in [item.path for item in at_search]
    assert np.load(path).tolist() == [[7, 7, 7]] * 2


def test_two_databases_do_not_share_an_artifacts_folder(
    copied, installation, capsys, monkeypatch, tmp_path
):
    assert run(capsys, "prune", "--yes")[0] == 0
    other = f"sqlite:///{tmp_path}/other.db"
    Store(other).close()
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", other)

    for command in (["prune", "--yes"], ["study", "--data", "openmoji", "--budget", "smoke"]):
        status, _, error = run(capsys, *command)
        assert status == 1
        assert "belongs to another database" in error

    assert installation.run_dir(1).exists()


def test_packed_pairs_of_an_old_version_are_pruned(copied, installation, capsys):
    installation.data_dir.unlink()  # a link to the folder of all tests
    stale = installation.data_dir / "openmoji-32px-3-16.0.0"
    unknown = installation.data_dir / "photos-mine-0123abcd-64px-3-ffff"
    for folder in (stale, unknown):
        folder.mkdir(parents=True)
        (folder / "pixels.npy").write_bytes(b"x" * 1000)

    run(capsys, "prune", "--yes")

    assert not stale.exists()
    assert unknown.exists()  # it may be current: no study names its source


def test_a_backup_is_restored_in_another_place_and_its_runs_continue(
    copied, installation, capsys, tmp_path, monkeypatch, packed_settings
):
    config = tiny_config(epochs=2, seed=5, n_val=8, n_test=8)
    copied.studies.add("more", "half done", [config], NOW)
    job = copied.jobs.claim(NOW)

    run_training_job(copied, installation, job, lambda: len(copied.checkpoints.read(3)) == 1)
    status, out, _ = run(capsys, "backup", str(tmp_path / "safe"))
    assert (status, out.split()[:2]) == (0, ["3", "runs"])
    other = replace(
        installation,
        database_url=f"sqlite:///{tmp_path}/new/runs.db",
        artifacts=tmp_path / "new" / "artifacts",
    )
    share_prepared_data(packed_settings, other)
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", other.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(other.artifacts))

    assert run(capsys, "restore", str(tmp_path / "safe"))[0] == 0

    store = Store(other.database_url)
    for run_id in (1, 2, 3):
        for saved in store.checkpoints.read(run_id):
            checkpoint.load_from_record(other.artifacts, saved)
    for sample in store.runs.read_samples([1, 2, 3]):
        assert (other.artifacts / sample.grid).is_file()
    assert store.jobs.requeue(3)
    train_all(store, other)
    assert store.runs.read(3).state == RunState.DONE
    assert store.runs.read_attempts([3])[1].from_step == 8
    store.close()


def test_a_restore_moves_the_present_files_aside(copied, installation, capsys, tmp_path):
    run(capsys, "backup", str(tmp_path / "safe"))
    run(capsys, "delete", "1", "--yes")
    assert run(capsys, "restore", str(tmp_path / "safe"))[0] == 2  # no terminal to ask
    status, out, _ = run(capsys, "restore", str(tmp_path / "safe"), "--yes")

    assert status == 0
    assert out.startswith("restored 2 runs; the previous database and runs are in ")
    restored = Store(installation.database_url)
    assert [each.id for each in restored.runs.read_all()] == [1, 2]
    restored.close()
    old_database = find_old_database(tmp_path)
    before = Store(f"sqlite:///{old_database}")
    assert [each.id for each in before.runs.read_all()] == [2]
    before.close()
    assert installation.run_dir(1).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["backup", "{tmp}"], "exists already"),
        (["restore", "{tmp}/nowhere"], "is not a backup"),
        (["prune", "--parts", "everything"], "no part 'everything'"),
        (["prune", "--study", "9"], "There is no study 9"),
        (["delete"], "Give run IDs or --study ID"),
        (["delete", "1", "--study", "1"], "Give run IDs or --study ID"),
        (["delete", "77", "--yes"], "There is no run 77"),
        (["archive"], "Give run IDs or --study ID"),
        (["archive", "--study", "8"], "There is no study 8"),
        (["front", "1"], "only queued runs"),
        (["retry", "1", "--yes"], "is done"),
        (["clone", "1", "--set", "px=100"], "px must be a multiple of 32"),
        (["clone", "4"], "There is no study 4"),
    ],
)
def test_a_wrong_command_changes_nothing(copied, capsys, tmp_path, arguments, message):
    status, out, error = run(capsys, *(word.format(tmp=tmp_path) for word in arguments))

    assert (status, out) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert len(copied.runs.read_all()) == 2


def test_a_backup_of_a_newer_release_changes_nothing(copied, installation, capsys, tmp_path):
    run(capsys, "backup", str(tmp_path / "safe"))
    with closing(sqlite3.connect(tmp_path / "safe" / "runs.db")) as database:
        database.execute("PRAGMA user_version=99")

    status, _, error = run(capsys, "restore", str(tmp_path / "safe"), "--yes")

    assert status == 1
    assert "newer Chromabench" in error
    assert len(copied.runs.read_all()) == 2
    assert installation.run_dir(1).exists()
    assert not list(tmp_path.glob("*arriving*"))


@pytest.fixture
def revision_folder(tmp_path, monkeypatch):
    """A folder of revisions after the newest one; the databases of the tests are older then."""
    monkeypatch.setattr(revisions, "FOLDERS", [*revisions.FOLDERS, tmp_path / "revisions"])
    return tmp_path / "revisions"


def version_of(path):
    with closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA user_version").fetchone()[0]


def test_a_backup_of_an_older_release_is_upgraded_by_its_restore(
    copied, installation, capsys, tmp_path, revision_folder
):
    run(capsys, "backup", str(tmp_path / "safe"))
    copied.close()
    content = (tmp_path / "safe" / "runs.db").read_bytes()
    version = add_revision(
        revision_folder, 'op.add_column("runs", sa.Column("colour", sa.String()))'
    )

    status, _, error = run(capsys, "restore", str(tmp_path / "safe"), "--yes")

    assert (status, error) == (0, "")
    assert version_of(database_path(installation.database_url)) == version
    with closing(Store(installation.database_url)) as restored:
        assert [each.state for each in restored.runs.read_all()] == [RunState.DONE] * 2
    assert (tmp_path / "safe" / "runs.db").read_bytes() == content
    assert not list(tmp_path.rglob("*arriving*"))


def test_a_backup_that_cannot_be_upgraded_replaces_nothing(
    copied, installation, capsys, tmp_path, revision_folder
):
    run(capsys, "backup", str(tmp_path / "safe"))
    copied.close()
    version = version_of(database_path(installation.database_url))
    add_revision(revision_folder, 'op.execute("INSERT INTO nowhere VALUES (1)")')

    status, _, error = run(capsys, "restore", str(tmp_path / "safe"), "--yes")

    assert status == 1
    assert f"upgrade of {tmp_path / 'safe' / 'runs.db'} from" in error
    assert "no such table: nowhere" in error
    assert ".bak" not in error
    assert version_of(database_path(installation.database_url)) == version
    assert installation.run_dir(1).exists()
    assert not list(tmp_path.rglob("*arriving*"))


def test_a_restore_that_fails_undoes_its_renames(
    copied, installation, capsys, tmp_path, monkeypatch
):
    run(capsys, "backup", str(tmp_path / "safe"))
    rename = Path.rename

    def fail(self, to):
        if "arriving" in self.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail)
    status, _, error = run(capsys, "restore", str(tmp_path / "safe"), "--yes")
    monkeypatch.undo()

    assert status == 1
    assert "could not be put in place" in error
    reopened = Store(installation.database_url)
    assert len(reopened.runs.read_all()) == 2
    reopened.close()
    assert installation.run_dir(1).exists()


def test_a_damaged_database_is_moved_aside_by_a_restore(copied, installation, capsys, tmp_path):
    run(capsys, "backup", str(tmp_path / "safe"))
    copied.close()
    path = database_path(installation.database_url)
    path.write_bytes(b"damaged " * 1000)

    assert run(capsys, "restore", str(tmp_path / "safe"), "--yes")[0] == 0

    old_database = find_old_database(tmp_path)
    assert old_database.read_bytes().startswith(b"damaged")
    restored = Store(installation.database_url)
    assert len(restored.runs.read_all()) == 2
    restored.close()


def test_an_old_write_ahead_log_is_not_replayed_onto_the_restored_database(
    copied, installation, capsys, tmp_path
):
    run(capsys, "backup", str(tmp_path / "safe"))
    copied.runs.delete([1])  # only the write-ahead log holds this change
    database_path(installation.database_url).unlink()

    assert run(capsys, "restore", str(tmp_path / "safe"))[0] == 0

    restored = Store(installation.database_url)
    assert [each.id for each in restored.runs.read_all()] == [1, 2]
    restored.close()


def test_nothing_is_restored_while_a_supervisor_is_running(copied, installation, capsys, tmp_path):
    run(capsys, "backup", str(tmp_path / "safe"))

    with spawn.supervisor_lock(installation).acquire():
        status, _, error = run(capsys, "restore", str(tmp_path / "safe"), "--yes")

    assert status == 1
    assert "A supervisor is running" in error


def test_a_checkpoint_that_is_deleted_during_a_backup_leads_to_another_snapshot(
    copied, installation, tmp_path
):
    copied.studies.add("more", "running", [tiny_config(epochs=3, seed=7)], NOW)
    job = copied.jobs.claim(NOW)
    copied.jobs.request_run_stop(3, NOW)
    run_training_job(copied, installation, job, lambda: len(copied.checkpoints.read(3)) == 2)
    deleted = []

    def delete_checkpoint(name):
        if name.endswith(".pt") and "000003" in name and not deleted:
            deleted.append(name)
            record = next(each for each in copied.checkpoints.read(3) if each.path == name)
            (installation.artifacts / name).unlink()
            copied.checkpoints.delete_of_ended_run(record)

    content = backup.back_up(copied, installation, tmp_path / "safe", NOW, delete_checkpoint)

    assert content.absent == ()
    snapshot = Store(f"sqlite:///{tmp_path}/safe/runs.db")
    for saved in snapshot.checkpoints.read(3):
        checkpoint.load_from_record(tmp_path / "safe" / "artifacts", saved)
    assert len(snapshot.checkpoints.read(3)) == 1
    snapshot.close()


def test_a_study_that_does_not_fit_on_the_disk_is_refused(installation, store, monkeypatch):
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 250 * 2**20)
    big = tiny_config()
    budget = Budget.model_validate({**big.budget.model_dump(), "base_channels": 64})

    configs = [big.model_copy(update={"budget": budget, "seed": seed}) for seed in range(9)]
    with pytest.raises(EngineError, match="frees room"):
        lifecycle.submit(store, installation, configs, "a", "key", NOW)

    assert store.studies.read_all() == []


def test_pruning_samples_keeps_the_files_that_other_samples_share(copied, installation, capsys):
    run(capsys, "prune", "--parts", "samples", "--yes")

    for sample in copied.runs.read_samples([1, 2]):
        for name in run_files.sample_paths(sample):
            assert (installation.artifacts / name).is_file()


@pytest.mark.parametrize("where", ["artifacts/inner", "artifacts/runs/000001/inner"])
def test_a_backup_inside_the_artifacts_folder_is_refused(copied, capsys, tmp_path, where):
    status, _, error = run(capsys, "backup", str(tmp_path / where))

    assert status == 2
    assert "inside the artifacts folder" in error


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("files", "is not complete"),
        ("format", "format 99"),
        ("manifest", "does not describe a backup"),
    ],
)
def test_a_damaged_backup_is_refused(copied, installation, capsys, tmp_path, fault, message):
    safe = tmp_path / "safe"
    run(capsys, "backup", str(safe))
    if fault == "files":
        shutil.rmtree(safe / "artifacts")
    else:
        content = {"format": '{"format": 99, "absent": []}', "manifest": "nothing"}[fault]
        (safe / "backup.json").write_text(content)

    status, _, error = run(capsys, "restore", str(safe), "--yes")

    assert status == 2
    assert message in error
    assert installation.run_dir(1).exists()


def test_a_restored_copy_of_running_jobs_is_detached_from_their_processes(
    installation, store, capsys, tmp_path, monkeypatch
):
    store.studies.add("key", "a", [tiny_config(), tiny_config("gan")], NOW)
    for _ in range(2):
        job = store.jobs.claim(NOW)
        store.jobs.set_process(job, str(ProcessId.of(os.getpid())), NOW)
    store.jobs.request_run_stop(2, NOW)
    run(capsys, "backup", str(tmp_path / "safe"))
    url = f"sqlite:///{tmp_path}/copy/runs.db"
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tmp_path / "copy" / "artifacts"))

    assert run(capsys, "restore", str(tmp_path / "safe"))[0] == 0

    with closing(Store(url)) as copy:
        assert [each.state for each in copy.runs.read_all()] == [RunState.QUEUED, RunState.STOPPED]
        assert [each.process for each in copy.jobs.read_all(*RunState)] == [None, None]
        assert copy.machines.read_installation_id() != store.machines.read_installation_id()
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(installation.artifacts))
    claim_artifacts(store, installation)
    assert "belongs to another database" in run(capsys, "prune", "--dry-run")[2]


def test_an_archived_study_hides_its_runs(copied, capsys):
    run(capsys, "archive", "--study", "1")

    assert json.loads(run(capsys, "runs", "--json")[1]) == []
    assert len(json.loads(run(capsys, "runs", "--study", "1", "--json")[1])) == 2
