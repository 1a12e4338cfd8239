"""Nothing lost: stops between two steps, damaged checkpoints, full disks, busy databases."""

import errno
import itertools
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest
import torch

from engine.presets import CONFIGURATIONS
from engine.records.runs import Judgement, RunState
from engine.store import Store, database_path
from engine.training import checkpoint, loop
from engine.workers import recorder, train, worker_process
from tests.conftest import NOW, tiny_config

EVERYTHING_ON = {"ema": "64", "decay": "0.5", "jitter": "4", "precision": "bf16", "norm": "batch"}
TIMED = ("epoch_seconds", "images_per_second", "peak_memory_mb")


@pytest.fixture(autouse=True)
def an_event_at_every_step(monkeypatch):
    monkeypatch.setattr(loop, "READ_EVERY_S", 0.0)


def never():
    return False


def at_check(number):
    """A wish to stop that is noticed the so-manyth time somebody asks, and from then on."""
    count = itertools.count(1)
    return lambda: next(count) >= number


def do(store, settings, should_stop=never):
    """One attempt at the next job; a person said so if it stops."""
    job = store.claim_job(NOW)

    def asked():
        stop = should_stop()
        if stop:
            store.request_stop(job.run_id, NOW)
        return stop

    train.run_job(store, settings, job, asked)
    return store.read_run(job.run_id)


def recorded(store, run_id):
    points = store.read_metrics([run_id])
    found = {(it.step, it.name): it.value for it in points if it.name not in TIMED}
    assert len(found) == sum(it.name not in TIMED for it in points)
    return found


def weights_of(store, settings, run_id):
    saved = store.read_checkpoints(run_id)[0]
    return checkpoint.load_saved(settings.artifacts, saved)


def assert_same(first, second):
    """Two states, or parts of them, are equal bit for bit."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list | tuple):
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_run_that_was_stopped_twice_is_the_same_bit_for_bit(store, tiny_settings, name):
    config = tiny_config(name, epochs=3, **EVERYTHING_ON)
    store.add_study("one", "whole", [config], NOW)
    whole = do(store, tiny_settings)
    store.add_study("two", "stopped", [config], NOW)

    first = do(store, tiny_settings, at_check(6))
    assert (first.state, first.reason) == (
        RunState.STOPPED,
        "stopped by the user at epoch 1, step 6",
    )
    (saved,) = store.read_checkpoints(2)
    assert (saved.epoch, saved.step, saved.is_whole) == (0, 6, False)
    store.requeue(2, NOW)
    second = do(store, tiny_settings, at_check(20))
    assert second.state == RunState.STOPPED
    assert 8 < store.read_checkpoints(2)[0].step < 24
    store.requeue(2, NOW)
    third = do(store, tiny_settings)

    assert (whole.state, third.state, third.attempt) == (RunState.DONE, RunState.DONE, 3)
    assert recorded(store, 1) == recorded(store, 2)
    assert_same(*(weights_of(store, tiny_settings, it) for it in (1, 2)))
    judged = [
        {(it.epoch, it.name): it.value for it in store.read_evaluations([run], "test")}
        for run in (1, 2)
    ]
    for key in judged[0]:
        if not key[1].startswith("inference"):
            assert judged[0][key] == judged[1][key], key


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
def test_other_kinds_of_runs_continue_bit_for_bit_too(store, tiny_settings, changes):
    config = tiny_config(epochs=3, **changes)
    store.add_study("one", "whole", [config], NOW)
    do(store, tiny_settings)
    store.add_study("two", "stopped", [config], NOW)
    do(store, tiny_settings, at_check(15))
    store.requeue(2, NOW)

    do(store, tiny_settings)

    assert recorded(store, 1) == recorded(store, 2)
    assert_same(*(weights_of(store, tiny_settings, it) for it in (1, 2)))
    assert store.read_run(1).best_epoch == store.read_run(2).best_epoch


@pytest.mark.slow
def test_a_run_can_be_stopped_while_it_is_evaluated_and_goes_on_there(store, tiny_settings):
    store.add_study("one", "a", [tiny_config()], NOW)

    def evaluating():
        return (store.read_run(1).phase or "").startswith("evaluating the")

    stopped = do(store, tiny_settings, evaluating)
    assert stopped.reason.startswith("stopped by the user while evaluating")
    assert store.read_evaluations([1], "test") == []
    store.requeue(1, NOW)

    assert do(store, tiny_settings).state == RunState.DONE
    assert store.read_evaluations([1], "test")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("deed", ["damaged", "missing"])
def test_a_checkpoint_that_is_not_whole_gives_way_to_the_one_before(store, tiny_settings, deed):
    config = tiny_config(epochs=3)
    store.add_study("one", "whole", [config], NOW)
    do(store, tiny_settings)
    store.add_study("two", "a", [config], NOW)
    do(store, tiny_settings, lambda: len(store.read_checkpoints(2)) == 2)
    newest, *others = (tiny_settings.artifacts / it.path for it in store.read_checkpoints(2))
    assert len(others) == 1
    if deed == "missing":
        newest.unlink()
    else:
        flip(newest)
    store.requeue(2, NOW)

    run = do(store, tiny_settings)

    note = store.read_attempts([2])[1].note
    assert deed in note
    assert "continued from step 8, the newest checkpoint that is whole" in note
    assert run.state == RunState.DONE
    assert recorded(store, 1) == recorded(store, 2)
    assert_same(*(weights_of(store, tiny_settings, it) for it in (1, 2)))


@pytest.mark.slow
def test_where_no_checkpoint_can_be_read_nothing_is_forgotten(store, tiny_settings):
    store.add_study("one", "a", [tiny_config(epochs=3)], NOW)
    do(store, tiny_settings, lambda: len(store.read_checkpoints(1)) == 2)
    folder = tiny_settings.run_dir(1) / "checkpoints"
    folder.rename(folder.with_name("elsewhere"))  # as a disk that is not mounted
    store.requeue(1, NOW)

    failed = do(store, tiny_settings)

    assert failed.state == RunState.FAILED
    assert "Bring the files back and resume, or `python -m engine retry 1`" in failed.reason
    assert len(store.read_checkpoints(1)) == 2
    folder.rmdir()
    folder.with_name("elsewhere").rename(folder)
    store.requeue(1, NOW)
    assert do(store, tiny_settings).state == RunState.DONE
    assert store.read_attempts([1])[2].from_step > 0


@pytest.mark.slow
def test_a_chosen_checkpoint_that_is_damaged_gives_way_to_the_next_best(store, tiny_settings):
    config = tiny_config(epochs=4, evaluations=4, choose_by="ssim", keep_every="1")
    store.add_study("one", "a", [config], NOW)
    run = do(store, tiny_settings, lambda: (store.read_run(1).phase or "").startswith("evaluating"))
    assert run.state == RunState.STOPPED
    (second,) = (
        it for it in store.read_evaluations([1], "val") if (it.epoch, it.name) == (2, "ssim")
    )
    store.requeue(1, NOW)
    job = store.claim_job(NOW)
    store.add_judgement(job, Judgement((replace(second, value=0.99),)), NOW)
    store.finish_job(job, RunState.STOPPED, None, NOW)
    (path,) = (it.path for it in store.read_checkpoints(1) if it.epoch == 2)
    flip(tiny_settings.artifacts / path)
    store.requeue(1, NOW)

    assert do(store, tiny_settings).state == RunState.DONE

    judged = {it.epoch: it.value for it in store.read_evaluations([1], "val") if it.name == "ssim"}
    judged.pop(2)
    assert store.read_run(1).best_epoch == max(judged, key=judged.get)
    assert "was chosen in its place" in store.read_attempts([1])[2].note


def full_disk(*_):
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        raise RuntimeError("PytorchStreamWriter failed writing file") from error


def failing_saves(monkeypatch, numbers):
    """Lets the so-manyth saves of a checkpoint find a full disk."""
    count, save = itertools.count(1), checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda *them: (full_disk if next(count) in numbers else save)(*them)
    )


@pytest.mark.slow
def test_a_full_disk_costs_a_checkpoint_not_the_run(store, tiny_settings, monkeypatch):
    store.add_study("one", "a", [tiny_config(epochs=4)], NOW)
    failing_saves(monkeypatch, {1, 2})

    run = do(store, tiny_settings)

    assert run.state == RunState.DONE
    note = store.read_attempts([1])[0].note
    assert "the checkpoint of step 8 could not be written (No space left on device)" in note
    assert [it.epoch for it in store.read_checkpoints(1)] == [4]


@pytest.mark.slow
def test_the_third_checkpoint_in_a_row_that_fails_ends_the_run(store, tiny_settings, monkeypatch):
    store.add_study("one", "a", [tiny_config(epochs=6)], NOW)
    failing_saves(monkeypatch, {2, 3, 4})

    run = do(store, tiny_settings)

    assert run.state == RunState.FAILED
    assert "step 32 could not be written (No space left on device), 3 in a row" in run.reason
    assert [it.epoch for it in store.read_checkpoints(1)] == [1]
    store.requeue(1, NOW)
    assert do(store, tiny_settings).state == RunState.DONE


def test_the_last_checkpoint_must_not_fail(store, tiny_settings, monkeypatch):
    store.add_study("one", "a", [tiny_config()], NOW)
    failing_saves(monkeypatch, {1})

    run = do(store, tiny_settings)

    assert run.state == RunState.FAILED
    assert "mend that and resume" in run.reason


def test_samples_that_cannot_be_written_are_noted(store, tiny_settings, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    store.add_study("one", "a", [tiny_config()], NOW)
    monkeypatch.setattr(recorder.grids, "save_samples", fail)

    assert do(store, tiny_settings).state == RunState.DONE
    assert store.read_samples([1]) == []
    assert store.read_attempts([1])[0].note == (
        "the samples of epoch 1 could not be written: No space left on device"
    )


def test_a_disk_that_is_full_of_fakes_is_the_runs_reason(store, tiny_settings, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    store.add_study("one", "a", [tiny_config()], NOW)
    monkeypatch.setattr(train.Court, "judge", fail)

    run = do(store, tiny_settings)

    assert run.state == RunState.FAILED
    assert run.reason.endswith("is full; make room, resume")


@pytest.mark.slow
def test_an_artifacts_folder_that_is_gone_is_said(store, tiny_settings, monkeypatch):
    store.add_study("one", "a", [tiny_config(epochs=6)], NOW)

    def lose():
        folder = tiny_settings.run_dir(1) / "checkpoints"
        if folder.exists() and store.read_checkpoints(1):
            folder.rename(folder.with_name("elsewhere"))
        return False

    run = do(store, tiny_settings, lose)

    assert run.state == RunState.FAILED
    assert "is gone" in run.reason


def locked_for(path, seconds, begun):
    """Holds the database as no program of ours would."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as rude:
        rude.execute("BEGIN EXCLUSIVE")
        begun.set()
        time.sleep(seconds)
        rude.execute("ROLLBACK")


@pytest.mark.slow
def test_a_locked_database_costs_no_figure(tiny_settings, monkeypatch):
    monkeypatch.setattr(recorder, "NOTED_WAIT_S", 0.5)
    monkeypatch.setattr(worker_process, "TRY_AGAIN_S", 0.1)
    path = database_path(tiny_settings.database_url)
    config = tiny_config(epochs=3)
    with closing(Store(tiny_settings.database_url, patience_s=0.05)) as store:
        store.add_study("one", "whole", [config], NOW)
        do(store, tiny_settings)
        store.add_study("two", "locked", [config], NOW)
        begun, rude = threading.Event(), []

        def lock():
            if not rude and store.read_run(2).epoch >= 1:
                rude.append(threading.Thread(target=locked_for, args=(path, 2.5, begun)))
                rude[0].start()
                begun.wait()
            return False

        run = do(store, tiny_settings, lock)
        rude[0].join()

        assert run.state == RunState.DONE
        assert recorded(store, 1) == recorded(store, 2)
        assert "figures waited" in store.read_attempts([2])[0].note


def test_a_database_that_was_deleted_ends_the_attempt_with_a_word(
    store, tiny_settings, monkeypatch, capsys
):
    store.add_study("one", "a", [tiny_config(epochs=50)], NOW)
    path = database_path(tiny_settings.database_url)
    job = store.claim_job(NOW)
    gone = threading.Event()

    def lose():
        # What the heartbeat does, which does not run here.
        if store.read_run(1).epoch >= 1:
            path.unlink(missing_ok=True)
            gone.set()
        return gone.is_set()

    train.run_job(store, tiny_settings, job, lose)

    assert "was deleted or replaced while it was in use" in capsys.readouterr().out


@pytest.mark.slow
def test_every_so_manyth_checkpoint_is_kept(store, tiny_settings):
    store.add_study("one", "a", [tiny_config(epochs=5, keep_every="2")], NOW)

    do(store, tiny_settings)

    assert [it.epoch for it in store.read_checkpoints(1)] == [5, 4, 2]


@pytest.mark.slow
def test_a_long_epoch_is_saved_in_its_midst(store, tiny_settings, monkeypatch):
    monkeypatch.setattr(train, "SAVE_EVERY_S", 0.0)
    store.add_study("one", "a", [tiny_config(epochs=2)], NOW)
    seen = set()

    def look():
        seen.update((it.step, it.is_whole) for it in store.read_checkpoints(1))
        assert len(store.read_checkpoints(1)) <= recorder.NEWEST + 1
        return False

    do(store, tiny_settings, look)

    assert {(3, False), (8, True), (11, False)} <= seen
    assert [(it.epoch, it.is_whole) for it in store.read_checkpoints(1)] == [(2, True)]


def test_what_a_killed_attempt_left_half_written_is_swept(store, tiny_settings):
    folder = tiny_settings.run_dir(1) / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("epoch-00001-1.pt.abc.partial", "epoch-00009-0.pt"):
        (folder / name).write_bytes(b"half")
    store.add_study("one", "a", [tiny_config()], NOW)

    do(store, tiny_settings)

    assert [it.name for it in folder.iterdir()] == ["epoch-00001-1.pt"]


def test_out_of_gpu_memory_names_the_batch_and_a_smaller_one(store, tiny_settings, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    store.add_study("one", "a", [tiny_config()], NOW)
    monkeypatch.setattr(loop, "training_batches", lambda *_, **__: fail())

    assert do(store, tiny_settings).reason == "out of GPU memory at batch 8; try 4"
