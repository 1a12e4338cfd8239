"""Commands on runs and studies that are there: extend, clone, delete, prune, back up, restore."""

import errno
import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.cli import inputs, parser
from engine.config import Budget
from engine.errors import EngineError
from engine.jobs import lifecycle, spawn
from engine.maintenance import pruning
from engine.records.runs import RunState
from engine.store import Store, database_path
from engine.system import disk, processes
from engine.training import checkpoint
from engine.workers import train
from tests.conftest import NOW, share_what_is_drawn, tiny_config


@pytest.fixture
def places(tiny_settings, monkeypatch):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", tiny_settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tiny_settings.artifacts))
    monkeypatch.setattr(lifecycle, "ensure_supervisor", lambda settings: None)
    return tiny_settings


@pytest.fixture
def copied(places, trained):
    """The study of two done runs, in places of its own."""
    shutil.copytree(trained.pristine / "runs", places.artifacts / "runs")
    shutil.copy(trained.pristine / "runs.db", database_path(places.database_url))
    opened = Store(places.database_url)
    yield opened
    opened.close()


def train_all(store, settings):
    while (job := store.claim_job(NOW)) is not None:
        train.run_job(store, settings, job, lambda: False)


def run(capsys, *arguments):
    capsys.readouterr()  # what workers printed
    status = parser.main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_stopped_run_is_resumed_and_a_done_one_is_not(places, store, capsys):
    store.add_study("key", "a", [tiny_config(), tiny_config("gan")], NOW)
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


def test_a_done_run_says_how_it_is_trained_further(copied, capsys):
    status, _, error = run(capsys, "resume", "1")

    assert status == 2
    assert "study --extend 1 --set epochs=N" in error


def test_of_several_runs_the_ones_that_can_be_are_stopped(places, store, capsys):
    store.add_study("key", "a", [tiny_config(), tiny_config("gan")], NOW)
    store.request_stop(1, NOW)

    status, out, error = run(capsys, "cancel", "1", "2")

    assert (status, out) == (1, "run 2 is stopped\n")
    assert "Run 1 is stopped already" in error


def test_the_queue_is_changed(places, store, capsys):
    configs = [tiny_config(name) for name in ("standard", "gan", "ganv2")]
    store.add_study("key", "a", configs, NOW)

    assert run(capsys, "front", "2", "3")[0] == 0

    assert [job.run_id for job in store.read_jobs(RunState.QUEUED)] == [2, 3, 1]


@pytest.mark.slow
def test_more_epochs_go_on_from_the_last_and_are_those_of_a_longer_study(
    places, store, capsys, trained
):
    config = tiny_config(epochs=2, evaluations=1)
    store.add_study("key", "short", [config], NOW)
    train_all(store, places)
    assert store.read_run(1).state == RunState.DONE

    status, out, _ = run(capsys, "study", "--extend", "1", "--set", "epochs=3", "--json")
    assert (status, json.loads(out)) == (0, {"study": 1, "runs": [1]})
    train_all(store, places)

    extended = store.read_run(1)
    assert (extended.state, extended.epoch, extended.epochs) == (RunState.DONE, 3, 3)
    longer = {(it.step, it.name): it.value for it in trained.store.read_metrics([1])}
    for point in store.read_metrics([1]):
        if point.name in ("l1", "d_loss", "val_psnr"):
            assert point.value == longer[point.step, point.name]
    assert extended.best_epoch == 3
    assert {it.epoch for it in store.read_evaluations([1], "test")} == {2, 3}


def test_seeds_and_configurations_are_added(copied, capsys):
    arguments = ("--extend", "1", "--seeds", "2", "--configurations", "ganv2")

    status, out, _ = run(capsys, "study", *arguments, "--json")

    assert (status, len(json.loads(out)["runs"])) == (0, 4)
    queued = [it for it in copied.read_runs(1) if it.state == RunState.QUEUED]
    assert [(it.configuration, it.seed) for it in queued] == [
        *(("standard", 1), ("gan", 1), ("ganv2", 0), ("ganv2", 1)),
    ]
    assert {it.config.budget for it in queued} == {copied.read_study(1).budget}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--extend", "9"], "There is no study 9"),
        (["--extend", "1"], "Say what to add"),
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
def test_an_extension_that_makes_no_sense_is_refused(copied, capsys, arguments, sentence):
    status, out, error = run(capsys, "study", *arguments)

    assert (status, out) == (2, "")
    assert sentence in error
    assert len(copied.read_runs()) == 2


def test_a_study_whose_rates_end_at_zero_is_not_lengthened(places, store, capsys):
    store.add_study("key", "a", [tiny_config(epochs=2, decay="0.5")], NOW)
    store.request_stop(1, NOW)

    status, _, error = run(capsys, "study", "--extend", "1", "--set", "epochs=4")

    assert status == 2
    assert "clone 1 --set epochs=4" in error


def test_a_study_is_cloned_with_a_change(copied, capsys):
    status, out, _ = run(capsys, "clone", "1", "--set", "l1=50", "--json")

    assert status == 0
    clone = copied.read_study(json.loads(out)["study"])
    assert clone.name.endswith("(again)")
    for before, after in zip(copied.read_runs(1), copied.read_runs(clone.id), strict=True):
        assert after.config.budget == before.config.budget
        assert "50 l1" in str(after.config.configuration.recipe)


def test_deleting_asks_and_takes_rows_and_files(copied, places, capsys, monkeypatch):
    status, _, error = run(capsys, "delete", "--study", "1")
    assert (status, len(copied.read_runs())) == (2, 2)
    assert "Add --yes" in error

    monkeypatch.setattr(inputs.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(inputs.sys.stdin, "readline", lambda: "n\n", raising=False)
    assert run(capsys, "delete", "--study", "1")[0] == 1
    assert len(copied.read_runs()) == 2
    assert run(capsys, "delete", "--study", "1", "--yes")[0] == 0

    assert copied.read_studies() == []
    assert disk.usage_of(places.artifacts / "runs") == 0


def test_a_run_at_work_is_not_deleted(places, store, capsys):
    store.add_study("key", "a", [tiny_config()], NOW)
    store.claim_job(NOW)

    status, _, error = run(capsys, "delete", "1", "--yes")

    assert status == 2
    assert "Run 1 is running: stop it first" in error


def test_what_is_archived_is_not_listed(copied, capsys):
    run(capsys, "archive", "1")
    listed = json.loads(run(capsys, "runs", "--json")[1])
    everything = json.loads(run(capsys, "runs", "--all", "--json")[1])
    run(capsys, "archive", "1", "--undo")

    assert [it["id"] for it in listed] == [2]
    assert [(it["id"], it["archived"]) for it in everything] == [(1, True), (2, False)]
    assert len(json.loads(run(capsys, "runs", "--json")[1])) == 2


def test_disk_tells_what_studies_take(copied, places, capsys):
    found = json.loads(run(capsys, "disk", "--json")[1])

    (study,) = found["studies"]
    saved = sum(it.n_bytes for run_id in (1, 2) for it in copied.read_checkpoints(run_id))
    assert study["checkpoints"] == saved
    assert study["total"] == disk.usage_of(places.artifacts / "runs")
    assert found["free"] > 0
    assert "standard" not in run(capsys, "disk")[1]


def test_prune_says_first_and_takes_what_is_named(copied, places, capsys):
    orphan = places.artifacts / "runs" / "000099"
    orphan.mkdir()
    (orphan / "run.log").write_text("x" * 1000)
    (places.run_dir(1) / "a.pt.1234.partial").write_bytes(b"x" * 500)
    parts = ("--parts", "leftovers,checkpoints,samples,optimisers")

    told = json.loads(run(capsys, "prune", *parts, "--dry-run", "--json")[1])
    assert told["leftovers"] == 1500
    assert told["optimisers"] > 100_000
    before = disk.usage_of(places.artifacts / "runs")
    assert before == disk.usage_of(places.artifacts / "runs")
    assert run(capsys, "prune", *parts, "--yes")[0] == 0

    freed = before - disk.usage_of(places.artifacts / "runs")
    assert freed == pytest.approx(told["total"], rel=0.1)
    assert not orphan.exists()
    for run_id in (1, 2):
        best = copied.read_run(run_id).best_epoch
        assert {it.epoch for it in copied.read_samples([run_id])} == {best, 3}
        for saved in copied.read_checkpoints(run_id):
            checkpoint.load_saved(places.artifacts, saved)


def test_a_pruned_run_is_evaluated_to_the_same_numbers_and_not_trained_further(
    copied, places, capsys
):
    parser.main(["evaluate", "1", "--features", "none"])
    before = {it.name: it.value for it in copied.read_evaluations([1], "test") if it.epoch == 3}
    run(capsys, "prune", "--parts", "optimisers", "--yes")

    assert parser.main(["evaluate", "1", "--checkpoint", "last", "--features", "none"]) == 0
    after = {it.name: it.value for it in copied.read_evaluations([1], "test") if it.epoch == 3}
    assert after["psnr"] == before["psnr"]

    status, _, error = run(capsys, "study", "--extend", "1", "--set", "epochs=4")

    assert status == 2
    assert "The optimisers of run 1 were pruned" in error
    assert copied.read_run(1).state == RunState.DONE


def test_what_has_begun_again_since_it_was_found_is_not_pruned(copied, places):
    found = pruning.find(copied, places, ("checkpoints", "samples", "optimisers"), 1)
    copied.lengthen_study(1, 9)

    pruning.prune(copied, places, found)

    for run_id in (1, 2):
        for saved in copied.read_checkpoints(run_id):
            state = checkpoint.load_saved(places.artifacts, saved)
            assert set(pruning.OPTIMISERS) <= state.keys()


def test_two_databases_do_not_share_an_artifacts_folder(
    copied, places, capsys, monkeypatch, tmp_path
):
    assert run(capsys, "prune", "--yes")[0] == 0
    other = f"sqlite:///{tmp_path}/other.db"
    Store(other).close()
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", other)

    for command in (["prune", "--yes"], ["study", "--data", "openmoji", "--budget", "smoke"]):
        status, _, error = run(capsys, *command)
        assert status == 1
        assert "belongs to another database" in error

    assert places.run_dir(1).exists()


def test_packed_pairs_of_a_folder_that_changed_may_go(copied, places, capsys):
    places.data_dir.unlink()  # it was shared with other tests
    stale = places.data_dir / "openmoji-32px-3-16.0.0"
    unknown = places.data_dir / "photos-mine-0123abcd-64px-3-ffff"
    for folder in (stale, unknown):
        folder.mkdir(parents=True)
        (folder / "pixels.npy").write_bytes(b"x" * 1000)

    run(capsys, "prune", "--yes")

    assert not stale.exists()
    assert unknown.exists()  # nobody knows whether its folder has changed


def test_a_backup_is_restored_elsewhere_and_its_runs_go_on(
    copied, places, capsys, tmp_path, monkeypatch, packed_settings
):
    copied.add_study("more", "half done", [tiny_config(epochs=3, seed=5)], NOW)
    job = copied.claim_job(NOW)

    def stop():
        return len(copied.read_checkpoints(3)) == 1

    train.run_job(copied, places, job, stop)
    status, out, _ = run(capsys, "backup", str(tmp_path / "safe"))
    assert (status, out.split()[:2]) == (0, ["3", "runs"])
    elsewhere = replace(
        places,
        database_url=f"sqlite:///{tmp_path}/new/runs.db",
        artifacts=tmp_path / "new" / "artifacts",
    )
    share_what_is_drawn(packed_settings, elsewhere)
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", elsewhere.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(elsewhere.artifacts))

    assert run(capsys, "restore", str(tmp_path / "safe"))[0] == 0

    store = Store(elsewhere.database_url)
    for run_id in (1, 2, 3):
        for saved in store.read_checkpoints(run_id):
            checkpoint.load_saved(elsewhere.artifacts, saved)
    for name in [it.grid for it in store.read_samples([1, 2, 3])]:
        assert (elsewhere.artifacts / name).is_file()
    assert store.requeue(3, NOW)
    train_all(store, elsewhere)
    assert store.read_run(3).state == RunState.DONE
    assert store.read_attempts([3])[1].from_step == 8
    store.close()


def test_restoring_moves_what_is_there_aside(copied, places, capsys, tmp_path):
    run(capsys, "backup", str(tmp_path / "safe"))
    run(capsys, "delete", "1", "--yes")
    assert run(capsys, "restore", str(tmp_path / "safe"))[0] == 2  # nobody to ask
    status, out, _ = run(capsys, "restore", str(tmp_path / "safe"), "--yes")

    assert status == 0
    assert out.startswith("2 runs are restored; what was there before is ")
    restored = Store(places.database_url)
    assert [it.id for it in restored.read_runs()] == [1, 2]
    restored.close()
    (aside,) = (it for it in tmp_path.glob("runs.db.before-*") if it.suffix[-1] not in "lm")
    before = Store(f"sqlite:///{aside}")
    assert [it.id for it in before.read_runs()] == [2]
    before.close()
    assert places.run_dir(1).exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["backup", "{tmp}"], "exists already"),
        (["restore", "{tmp}/nowhere"], "is no backup"),
        (["prune", "--parts", "everything"], "no part 'everything'"),
        (["prune", "--study", "9"], "There is no study 9"),
        (["delete"], "RUN numbers, or --study"),
        (["delete", "1", "--study", "1"], "RUN numbers, or --study"),
        (["delete", "77", "--yes"], "There is no run 77"),
        (["archive"], "RUN numbers, or --study"),
        (["archive", "--study", "8"], "There is no study 8"),
        (["front", "1"], "only queued runs"),
        (["retry", "1", "--yes"], "is done"),
        (["clone", "1", "--set", "px=100"], "px must be a multiple of 32"),
        (["clone", "4"], "There is no study 4"),
    ],
)
def test_bad_use_is_one_sentence_and_changes_nothing(copied, capsys, tmp_path, arguments, sentence):
    status, out, error = run(capsys, *(it.format(tmp=tmp_path) for it in arguments))

    assert (status, out) == (2, "")
    assert sentence in error
    assert error.count("\n") == 1
    assert len(copied.read_runs()) == 2


def test_a_backup_of_a_newer_release_changes_nothing(copied, places, capsys, tmp_path):
    run(capsys, "backup", str(tmp_path / "safe"))
    with closing(sqlite3.connect(tmp_path / "safe" / "runs.db")) as database:
        database.execute("PRAGMA user_version=99")

    status, _, error = run(capsys, "restore", str(tmp_path / "safe"), "--yes")

    assert status == 1
    assert "newer Chromabench" in error
    assert len(copied.read_runs()) == 2
    assert places.run_dir(1).exists()
    assert not list(tmp_path.glob("*arriving*"))


def test_a_restore_that_fails_in_its_midst_takes_back_what_it_did(
    copied, places, capsys, tmp_path, monkeypatch
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
    again = Store(places.database_url)
    assert len(again.read_runs()) == 2
    again.close()
    assert places.run_dir(1).exists()


def test_a_damaged_database_is_replaced_by_the_backup_and_kept_aside(
    copied, places, capsys, tmp_path
):
    run(capsys, "backup", str(tmp_path / "safe"))
    copied.close()
    path = database_path(places.database_url)
    path.write_bytes(b"damaged " * 1000)

    assert run(capsys, "restore", str(tmp_path / "safe"), "--yes")[0] == 0

    (aside,) = (it for it in tmp_path.glob("runs.db.before-*") if it.suffix[-1] not in "lm")
    assert aside.read_bytes().startswith(b"damaged")
    restored = Store(places.database_url)
    assert len(restored.read_runs()) == 2
    restored.close()


def test_a_log_that_outlived_its_database_is_not_replayed_onto_the_backup(
    copied, places, capsys, tmp_path
):
    run(capsys, "backup", str(tmp_path / "safe"))
    copied.delete_runs([1])  # in the write-ahead log alone
    database_path(places.database_url).unlink()

    assert run(capsys, "restore", str(tmp_path / "safe"))[0] == 0

    restored = Store(places.database_url)
    assert [it.id for it in restored.read_runs()] == [1, 2]
    restored.close()


def test_nothing_is_restored_under_a_supervisor(copied, places, capsys, tmp_path):
    run(capsys, "backup", str(tmp_path / "safe"))

    with spawn.supervisor_lock(places).acquire():
        status, _, error = run(capsys, "restore", str(tmp_path / "safe"), "--yes")

    assert status == 1
    assert "A supervisor is at work" in error


def test_a_backup_under_a_running_writer_is_whole(copied, places, tmp_path):
    """Checkpoints vanish while they are copied: another snapshot is taken."""
    from engine.maintenance import backup

    copied.add_study("more", "at work", [tiny_config(epochs=30, seed=7)], NOW)
    job = copied.claim_job(NOW)
    copied.request_stop(3, NOW)
    train.run_job(copied, places, job, lambda: len(copied.read_checkpoints(3)) == 2)
    vanished = []

    def lose(name):
        if name.endswith(".pt") and "000003" in name and not vanished:
            vanished.append(name)
            gone = next(it for it in copied.read_checkpoints(3) if it.path == name)
            (places.artifacts / name).unlink()
            copied.forget_checkpoint(gone)

    made = backup.back_up(copied, places, tmp_path / "safe", NOW, lose)

    assert made.absent == ()
    snapshot = Store(f"sqlite:///{tmp_path}/safe/runs.db")
    for saved in snapshot.read_checkpoints(3):
        checkpoint.load_saved(tmp_path / "safe" / "artifacts", saved)
    assert len(snapshot.read_checkpoints(3)) == 1
    snapshot.close()


def test_a_start_that_would_not_fit_on_the_disk_is_refused(places, store, monkeypatch):
    monkeypatch.setattr(disk, "free_bytes", lambda settings: 250 * 2**20)
    big = tiny_config()
    budget = Budget.model_validate({**big.budget.model_dump(), "base_channels": 64})

    configs = [big.model_copy(update={"budget": budget, "seed": it}) for it in range(9)]
    with pytest.raises(EngineError, match="makes room"):
        lifecycle.submit(store, places, configs, "a", "key", NOW)

    assert store.read_studies() == []


def test_pruned_samples_leave_what_the_kept_ones_need(copied, places, capsys):
    run(capsys, "prune", "--parts", "samples", "--yes")

    for sample in copied.read_samples([1, 2]):
        for name in (sample.grid, sample.source, sample.target, sample.fake, sample.thumbnail):
            assert (places.artifacts / name).is_file()


@pytest.mark.parametrize("where", ["artifacts/inner", "artifacts/runs/000001/inner"])
def test_a_backup_does_not_go_where_it_would_be_pruned(copied, capsys, tmp_path, where):
    status, _, error = run(capsys, "backup", str(tmp_path / where))

    assert status == 2
    assert "inside the artifacts folder" in error


@pytest.mark.parametrize(
    ("deed", "sentence"),
    [("files", "is not whole"), ("format", "format 99"), ("about", "not that")],
)
def test_a_backup_that_is_not_whole_is_refused(copied, places, capsys, tmp_path, deed, sentence):
    safe = tmp_path / "safe"
    run(capsys, "backup", str(safe))
    if deed == "files":
        shutil.rmtree(safe / "artifacts")
    else:
        content = {"format": '{"format": 99, "absent": []}', "about": "nothing"}[deed]
        (safe / "backup.json").write_text(content)

    status, _, error = run(capsys, "restore", str(safe), "--yes")

    assert status == 2
    assert sentence in error
    assert places.run_dir(1).exists()


def test_a_copy_of_a_run_at_work_has_no_hold_on_the_original(
    places, store, capsys, tmp_path, monkeypatch
):
    store.add_study("key", "a", [tiny_config(), tiny_config("gan")], NOW)
    for _ in range(2):
        job = store.claim_job(NOW)
        store.set_process(job, processes.identify(os.getpid()), NOW)
    store.request_stop(2, NOW)
    run(capsys, "backup", str(tmp_path / "safe"))
    url = f"sqlite:///{tmp_path}/copy/runs.db"
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tmp_path / "copy" / "artifacts"))

    assert run(capsys, "restore", str(tmp_path / "safe"))[0] == 0

    with closing(Store(url)) as copy:
        assert [it.state for it in copy.read_runs()] == [RunState.QUEUED, RunState.STOPPED]
        assert [it.process for it in copy.read_jobs(*RunState)] == [None, None]
        assert copy.read_installation() != store.read_installation()
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(places.artifacts))
    lifecycle.claim_artifacts(store, places)
    assert "belongs to another database" in run(capsys, "prune", "--dry-run")[2]


def test_an_archived_study_hides_its_runs(copied, capsys):
    run(capsys, "archive", "--study", "1")

    assert json.loads(run(capsys, "runs", "--json")[1]) == []
    assert len(json.loads(run(capsys, "runs", "--study", "1", "--json")[1])) == 2
