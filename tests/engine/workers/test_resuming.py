"""Runs lose no results: stops, damaged checkpoints, full disks, unavailable databases."""

import errno
import itertools
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest
import torch

from engine.records.runs import CheckpointEvaluation, RunState
from engine.store import Store, database_path
from engine.training import checkpoint, loop
from engine.workers import recorder, train, worker_process
from tests.support.runs import NOW, tiny_config
from tests.support.training_jobs import run_next_job, run_training_job, stop_at_check

ALL_OPTIONS = {"ema": "64", "decay": "0.5", "jitter": "4", "precision": "bf16", "norm": "batch"}
TIMED_METRICS = ("epoch_seconds", "images_per_second", "peak_memory_mb")


@pytest.fixture(autouse=True)
def an_event_at_every_step(monkeypatch):
    monkeypatch.setattr(loop, "FETCH_INTERVAL_S", 0.0)


def recorded_values(store, run_id):
    """(step, name) -> value of every recorded point but timings; each is recorded once."""
    points = [point for point in store.curves.read([run_id]) if point.name not in TIMED_METRICS]
    values = {(point.step, point.name): point.value for point in points}
    assert len(values) == len(points)
    return values


def newest_state(store, settings, run_id):
    record = store.checkpoints.read(run_id)[0]
    return checkpoint.load_from_record(settings.artifacts, record)


def assert_equal(first, second):
    """Two states, or parts of them, are equal bit for bit."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list | tuple):
        for one, other in zip(first, second, strict=True):
            assert_equal(one, other)
    else:
        assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("name", ["regularized", "ganv3"])  # a recipe of each study
def test_a_run_that_was_stopped_twice_equals_an_uninterrupted_run_bit_for_bit(
    store, tiny_settings, name
):
    config = tiny_config(name, epochs=3, **ALL_OPTIONS)
    store.studies.add("one", "whole", [config], NOW)
    whole = run_next_job(store, tiny_settings)
    store.studies.add("two", "stopped", [config], NOW)

    first = run_next_job(store, tiny_settings, stop_at_check(6))
    assert (first.state, first.reason) == (
        RunState.STOPPED,
        "stopped by the user at epoch 1, step 6",
    )
    (saved,) = store.checkpoints.read(2)
    assert (saved.epoch, saved.step, saved.is_whole) == (0, 6, False)
    store.jobs.requeue(2)
    second = run_next_job(store, tiny_settings, stop_at_check(20))
    assert second.state == RunState.STOPPED
    assert 8 < store.checkpoints.read(2)[0].step < 24
    store.jobs.requeue(2)
    third = run_next_job(store, tiny_settings)

    assert (whole.state, third.state, third.attempt) == (RunState.DONE, RunState.DONE, 3)
    assert recorded_values(store, 1) == recorded_values(store, 2)
    assert_equal(*(newest_state(store, tiny_settings, run_id) for run_id in (1, 2)))
    uninterrupted, stopped = (
        {(each.epoch, each.name): each.value for each in store.evaluations.read([run_id], "test")}
        for run_id in (1, 2)
    )
    for epoch, name in uninterrupted:
        if not name.startswith("inference"):
            assert uninterrupted[epoch, name] == stopped[epoch, name], (epoch, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"pretrain": "1"},
        {"generator": "resnet18_unet", "encoder_weights": "none"},
        {"evaluations": "3", "choose_by": "ssim"},
    ],
    ids=str,
)
def test_runs_with_other_settings_are_resumed_bit_for_bit(store, tiny_settings, changes):
    config = tiny_config(epochs=3, n_train=32, **changes)
    store.studies.add("one", "whole", [config], NOW)
    run_next_job(store, tiny_settings)
    store.studies.add("two", "stopped", [config], NOW)
    stopped = run_next_job(store, tiny_settings, stop_at_check(8))
    assert 4 < stopped.step < 12
    store.jobs.requeue(2)

    run_next_job(store, tiny_settings)

    assert recorded_values(store, 1) == recorded_values(store, 2)
    assert_equal(*(newest_state(store, tiny_settings, run_id) for run_id in (1, 2)))
    assert store.runs.read(1).best_epoch == store.runs.read(2).best_epoch


@pytest.mark.slow
def test_a_run_that_is_stopped_during_its_evaluation_is_resumed_there(store, tiny_settings):
    store.studies.add("one", "a", [tiny_config()], NOW)

    def is_evaluating():
        return (store.runs.read(1).phase or "").startswith("evaluating the")

    stopped = run_next_job(store, tiny_settings, is_evaluating)
    assert stopped.reason.startswith("stopped by the user while evaluating")
    assert store.evaluations.read([1], "test") == []
    store.jobs.requeue(1)

    assert run_next_job(store, tiny_settings).state == RunState.DONE
    assert store.evaluations.read([1], "test")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["damaged", "missing"])
def test_a_run_continues_from_the_newest_readable_checkpoint(store, tiny_settings, fault):
    config = tiny_config(epochs=3)
    store.studies.add("one", "whole", [config], NOW)
    run_next_job(store, tiny_settings)
    store.studies.add("two", "a", [config], NOW)
    run_next_job(store, tiny_settings, lambda: len(store.checkpoints.read(2)) == 2)
    newest, *others = (
        tiny_settings.artifacts / record.path for record in store.checkpoints.read(2)
    )
    assert len(others) == 1
    if fault == "missing":
        newest.unlink()
    else:
        flip_a_bit(newest)
    store.jobs.requeue(2)

    run = run_next_job(store, tiny_settings)

    note = store.runs.read_attempts([2])[1].note
    assert fault in note
    assert "continued from step 8, the newest readable checkpoint" in note
    assert run.state == RunState.DONE
    assert recorded_values(store, 1) == recorded_values(store, 2)
    assert_equal(*(newest_state(store, tiny_settings, run_id) for run_id in (1, 2)))


@pytest.mark.slow
def test_records_are_kept_if_no_checkpoint_can_be_read(store, tiny_settings):
    store.studies.add("one", "a", [tiny_config(epochs=3)], NOW)
    run_next_job(store, tiny_settings, lambda: len(store.checkpoints.read(1)) == 2)
    folder = tiny_settings.run_dir(1) / "checkpoints"
    folder.rename(folder.with_name("elsewhere"))  # like a disk that is not mounted
    store.jobs.requeue(1)

    failed = run_next_job(store, tiny_settings)

    assert failed.state == RunState.FAILED
    assert "Bring the files back and resume, or `python -m engine retry 1`" in failed.reason
    assert len(store.checkpoints.read(1)) == 2
    folder.rmdir()
    folder.with_name("elsewhere").rename(folder)
    store.jobs.requeue(1)
    assert run_next_job(store, tiny_settings).state == RunState.DONE
    assert store.runs.read_attempts([1])[2].from_step > 0


@pytest.mark.slow
def test_a_damaged_best_checkpoint_is_replaced_by_the_next_best(store, tiny_settings):
    config = tiny_config(epochs=4, evaluations=4, choose_by="ssim", keep_every="1")
    store.studies.add("one", "a", [config], NOW)

    def is_evaluating():
        return (store.runs.read(1).phase or "").startswith("evaluating")

    run = run_next_job(store, tiny_settings, is_evaluating)
    assert run.state == RunState.STOPPED
    (second,) = (
        each
        for each in store.evaluations.read([1], "val")
        if (each.epoch, each.name) == (2, "ssim")
    )
    store.jobs.requeue(1)
    job = store.jobs.claim(NOW)
    store.evaluations.add(job, CheckpointEvaluation((replace(second, value=0.99),)), NOW)
    store.jobs.finish(job, RunState.STOPPED, None, NOW)
    (path,) = (record.path for record in store.checkpoints.read(1) if record.epoch == 2)
    flip_a_bit(tiny_settings.artifacts / path)
    store.jobs.requeue(1)

    assert run_next_job(store, tiny_settings).state == RunState.DONE

    evaluations = store.evaluations.read([1], "val")
    ssim = {each.epoch: each.value for each in evaluations if each.name == "ssim"}
    ssim.pop(2)
    assert store.runs.read(1).best_epoch == max(ssim, key=ssim.get)
    assert "was chosen in its place" in store.runs.read_attempts([1])[2].note


def raise_full_disk(*_):
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        raise RuntimeError("PytorchStreamWriter failed writing file") from error


def failing_saves(monkeypatch, numbers):
    """Lets the saves of a checkpoint with these numbers, from 1, fail with a full disk."""
    count, save = itertools.count(1), checkpoint.save
    monkeypatch.setattr(
        checkpoint,
        "save",
        lambda *arguments: (raise_full_disk if next(count) in numbers else save)(*arguments),
    )


@pytest.mark.slow
def test_a_full_disk_costs_a_checkpoint_not_the_run(store, tiny_settings, monkeypatch):
    store.studies.add("one", "a", [tiny_config(epochs=4)], NOW)
    failing_saves(monkeypatch, {1, 2})

    run = run_next_job(store, tiny_settings)

    assert run.state == RunState.DONE
    note = store.runs.read_attempts([1])[0].note
    assert "the checkpoint of step 8 could not be written (No space left on device)" in note
    assert [record.epoch for record in store.checkpoints.read(1)] == [4]


@pytest.mark.slow
def test_a_run_fails_if_three_checkpoints_in_a_row_fail(store, tiny_settings, monkeypatch):
    store.studies.add("one", "a", [tiny_config(epochs=6)], NOW)
    failing_saves(monkeypatch, {2, 3, 4})

    run = run_next_job(store, tiny_settings)

    assert run.state == RunState.FAILED
    assert "step 32 could not be written (No space left on device), 3 in a row" in run.reason
    assert [record.epoch for record in store.checkpoints.read(1)] == [1]
    store.jobs.requeue(1)
    assert run_next_job(store, tiny_settings).state == RunState.DONE


def test_a_run_fails_if_its_last_checkpoint_cannot_be_written(store, tiny_settings, monkeypatch):
    store.studies.add("one", "a", [tiny_config()], NOW)
    failing_saves(monkeypatch, {1})

    run = run_next_job(store, tiny_settings)

    assert run.state == RunState.FAILED
    assert "fix the cause and resume" in run.reason


def test_samples_that_cannot_be_written_are_noted(store, tiny_settings, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    store.studies.add("one", "a", [tiny_config()], NOW)
    monkeypatch.setattr(recorder.grids, "save_samples", fail)

    assert run_next_job(store, tiny_settings).state == RunState.DONE
    assert store.runs.read_samples([1]) == []
    assert store.runs.read_attempts([1])[0].note == (
        "the samples of epoch 1 could not be written: No space left on device"
    )


def test_a_run_fails_if_its_fakes_cannot_be_written(store, tiny_settings, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    store.studies.add("one", "a", [tiny_config()], NOW)
    monkeypatch.setattr(train.CheckpointEvaluator, "evaluate", fail)

    run = run_next_job(store, tiny_settings)

    assert run.state == RunState.FAILED
    assert run.reason.endswith("is full; make room, resume")


@pytest.mark.slow
def test_a_run_fails_with_a_reason_if_its_folder_was_moved(store, tiny_settings, monkeypatch):
    store.studies.add("one", "a", [tiny_config(epochs=6)], NOW)

    def move_folder():
        folder = tiny_settings.run_dir(1) / "checkpoints"
        if folder.exists() and store.checkpoints.read(1):
            folder.rename(folder.with_name("elsewhere"))
        return False

    run = run_next_job(store, tiny_settings, move_folder)

    assert run.state == RunState.FAILED
    assert "is gone" in run.reason


def lock_database(path, seconds, is_locked):
    """Locks the database for longer than any program of this project."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        is_locked.set()
        time.sleep(seconds)
        connection.execute("ROLLBACK")


@pytest.mark.slow
def test_no_metric_point_is_lost_while_the_database_is_locked(tiny_settings, monkeypatch):
    monkeypatch.setattr(recorder, "NOTED_DELAY_S", 0.5)
    monkeypatch.setattr(worker_process, "RETRY_EVERY_S", 0.1)
    path = database_path(tiny_settings.database_url)
    config = tiny_config(epochs=3)
    with closing(Store(tiny_settings.database_url, lock_timeout_s=0.05)) as store:
        store.studies.add("one", "whole", [config], NOW)
        run_next_job(store, tiny_settings)
        store.studies.add("two", "locked", [config], NOW)
        is_locked, lockers = threading.Event(), []

        def lock():
            if not lockers and store.runs.read(2).epoch >= 1:
                lockers.append(threading.Thread(target=lock_database, args=(path, 2.5, is_locked)))
                lockers[0].start()
                is_locked.wait()
            return False

        run = run_next_job(store, tiny_settings, lock)
        lockers[0].join()

        assert run.state == RunState.DONE
        assert recorded_values(store, 1) == recorded_values(store, 2)
        assert "metric points waited" in store.runs.read_attempts([2])[0].note


def test_an_attempt_ends_with_a_message_if_its_database_is_deleted(
    store, tiny_settings, monkeypatch, caplog
):
    store.studies.add("one", "a", [tiny_config(epochs=50)], NOW)
    path = database_path(tiny_settings.database_url)
    job = store.jobs.claim(NOW)
    is_deleted = threading.Event()

    def delete_database():
        # The heartbeat, which does not run here, would stop the attempt.
        if store.runs.read(1).epoch >= 1:
            path.unlink(missing_ok=True)
            is_deleted.set()
        return is_deleted.is_set()

    run_training_job(store, tiny_settings, job, delete_database)

    assert "was deleted or replaced while it was in use" in caplog.text


@pytest.mark.slow
def test_the_checkpoint_of_every_nth_epoch_is_kept(store, tiny_settings):
    store.studies.add("one", "a", [tiny_config(epochs=5, keep_every="2")], NOW)

    run_next_job(store, tiny_settings)

    assert [record.epoch for record in store.checkpoints.read(1)] == [5, 4, 2]


@pytest.mark.slow
def test_a_long_epoch_is_saved_before_its_end(store, tiny_settings, monkeypatch):
    monkeypatch.setattr(train, "SAVE_EVERY_S", 0.0)
    store.studies.add("one", "a", [tiny_config(epochs=2)], NOW)
    saved = set()

    def watch_checkpoints():
        records = store.checkpoints.read(1)
        saved.update((record.step, record.is_whole) for record in records)
        assert len(records) <= recorder.KEEP_NEWEST + 1
        return False

    run_next_job(store, tiny_settings, watch_checkpoints)

    assert {(3, False), (8, True), (11, False)} <= saved
    records = store.checkpoints.read(1)
    assert [(record.epoch, record.is_whole) for record in records] == [(2, True)]


def test_half_written_and_unrecorded_files_of_killed_attempts_are_deleted(store, tiny_settings):
    folder = tiny_settings.run_dir(1) / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("epoch-00001-1.pt.abc.partial", "epoch-00009-0.pt"):
        (folder / name).write_bytes(b"half")
    store.studies.add("one", "a", [tiny_config()], NOW)

    run_next_job(store, tiny_settings)

    assert [path.name for path in folder.iterdir()] == ["epoch-00001-1.pt"]


def test_out_of_gpu_memory_names_the_batch_and_a_smaller_one(store, tiny_settings, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    store.studies.add("one", "a", [tiny_config()], NOW)
    monkeypatch.setattr(loop, "training_batches", lambda *_, **__: fail())

    assert run_next_job(store, tiny_settings).reason == "out of GPU memory at batch 8; try 4"
