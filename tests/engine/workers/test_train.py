"""Whole jobs in the process of the test: from a claimed row to the table and its CSV."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest

from engine.evaluation import checkpoint_evaluator
from engine.records.runs import RunState
from engine.report.comparison import compare
from engine.report.tables import to_csv
from engine.store import run_files
from engine.store.checkpoints import Checkpoints
from engine.system.disk import iterate_files
from engine.training import losses
from engine.workers import setup, train
from tests.support.runs import NOW, tiny_config
from tests.support.training_jobs import run_training_job
from tests.support.weights import install_weights, random_inception

FIRST_CONFIG = tiny_config(epochs=3, evaluations=2)  # of the first run of `trained`


def never():
    return False


def train_config(store, settings, config, should_stop=never):
    store.studies.add("key", "a", [config], NOW)
    run_training_job(store, settings, store.jobs.claim(NOW), should_stop)
    return store.runs.read(1)


def recorded_values(store, run_id=1):
    """(step, name, value) of every recorded point but timings."""
    timed = ("epoch_seconds", "images_per_second", "peak_memory_mb")
    points = store.curves.read([run_id])
    return [(point.step, point.name, point.value) for point in points if point.name not in timed]


@pytest.fixture(autouse=True)
def no_inception(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def test_a_run_ends_done_with_everything_recorded(trained):
    done = trained.store.runs.read(1)

    assert (done.state, done.reason, done.phase) == (RunState.DONE, None, None)
    assert (done.epoch, done.step, done.steps) == (3, 24, 24)
    assert done.environment["torch"]
    names = {point.name for point in trained.store.curves.read([1])}
    assert {"g_loss", "d_loss", "adversarial", "l1", "val_g_loss", "val_psnr", "lr_g"} <= names
    assert {"d_train_accuracy", "g_grad_norm", "d_grad_norm"} <= names
    assert [sample.epoch for sample in trained.store.runs.read_samples([1])] == [1, 2, 3]
    for path in vars(trained.store.runs.read_samples([1])[0]).values():
        if isinstance(path, str):
            assert (trained.settings.artifacts / path).is_file()


def test_paths_in_the_database_are_relative(trained):
    paths = [file.path for file in run_files.recorded_files(trained.store, [1])]

    assert len(paths) > 2
    assert not [path for path in paths if path.startswith("/")]


@pytest.mark.slow
def test_the_best_and_the_last_epoch_are_evaluated_on_the_test_split(store, tiny_settings):
    config = tiny_config(epochs=3, evaluations=2, choose_by="ssim")

    run = train_config(store, tiny_settings, config)

    evaluations = store.evaluations.read([1], "val")
    ssim = {each.epoch: each.value for each in evaluations if each.name == "ssim"}
    assert set(ssim) == {2, 3}
    assert run.best_epoch == max(ssim, key=ssim.get)
    predictions = store.evaluations.read_predictions([1], "test")
    for records in (store.evaluations.read([1], "test"), predictions):
        assert {record.epoch for record in records} == {run.best_epoch, 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [(checkpoint_evaluator.CheckpointEvaluator, "validate"), (Checkpoints, "choose")]
)
def test_the_next_attempt_repeats_a_validation_that_was_interrupted(
    store, tiny_settings, trained, monkeypatch, method
):
    with monkeypatch.context() as patch:
        patch.setattr(*method, lambda *_: (_ for _ in ()).throw(OSError("full")))
        run = train_config(store, tiny_settings, FIRST_CONFIG)
    assert (run.state, run.epoch) == (RunState.FAILED, 2)

    store.jobs.requeue(1)
    run_training_job(store, tiny_settings, store.jobs.claim(NOW), never)

    first, second = (
        {(each.epoch, each.name): each.value for each in any_store.evaluations.read([1], "val")}
        for any_store in (trained.store, store)
    )
    assert second == {key: first[key] for key in second}
    assert {epoch for epoch, _ in second} == {2, 3}
    assert store.runs.read(1).best_epoch == trained.store.runs.read(1).best_epoch


def test_the_fakes_of_the_test_split_are_stored(trained):
    store = trained.store
    predictions = store.evaluations.read_predictions([1], "test")[-1]

    fakes = np.load(trained.settings.artifacts / predictions.path)
    assert fakes.shape == (32, 32, 32, 3)
    assert fakes.std() > 0
    assert len(predictions.names) == 32
    scores = store.evaluations.read_scores([1], "test", ["psnr"])
    names = [score.picture for score in scores if score.epoch == predictions.epoch]
    assert names == list(predictions.names)


def test_every_file_that_a_run_writes_is_a_recorded_file(trained):
    """A new kind of artifact must be added to `run_files`, or backups would not hold it."""
    recorded = {file.path for file in run_files.recorded_files(trained.store, [1, 2])}

    written = {
        trained.settings.relative(path)
        for run_id in (1, 2)
        for path, _ in iterate_files(trained.settings.run_dir(run_id))
    }
    assert written == recorded
    assert {Path(path).parent.name for path in written} == {"checkpoints", "samples", "predictions"}


@pytest.mark.slow
def test_two_runs_of_one_config_record_equal_values(store, tiny_settings, trained):
    train_config(store, tiny_settings, FIRST_CONFIG)

    assert recorded_values(store) == recorded_values(trained.store)


def test_a_stopped_run_keeps_the_checkpoint_of_its_last_epoch(store, tiny_settings):
    def stop_after_an_epoch():
        has_checkpoint = bool(store.checkpoints.read(1))
        if has_checkpoint:
            store.jobs.request_run_stop(1, NOW)
        return has_checkpoint

    run = train_config(store, tiny_settings, tiny_config(epochs=5), stop_after_an_epoch)

    assert run.state == RunState.STOPPED
    assert run.reason == "stopped by the user at epoch 1"
    assert [record.epoch for record in store.checkpoints.read(1)] == [1]


def test_a_run_that_is_stopped_without_a_request_is_crashed(store, tiny_settings):
    run = train_config(store, tiny_settings, tiny_config(epochs=5), lambda: True)

    assert run.state == RunState.CRASHED
    assert run.reason.startswith("ended by the system")


@pytest.mark.slow
def test_a_resumed_run_records_the_values_of_an_uninterrupted_run(store, tiny_settings, trained):
    train_config(store, tiny_settings, FIRST_CONFIG, lambda: bool(store.checkpoints.read(1)))
    assert store.runs.read(1).epoch == 1

    store.jobs.requeue(1)
    run_training_job(store, tiny_settings, store.jobs.claim(NOW), never)

    run = store.runs.read(1)
    assert (run.state, run.attempt) == (RunState.DONE, 2)
    assert recorded_values(store) == recorded_values(trained.store)


def test_an_error_becomes_the_reason_of_the_run(store, tiny_settings):
    run = train_config(store, tiny_settings, tiny_config(device="cuda"))

    assert run.state == RunState.FAILED
    assert "'cuda' is not on this machine" in run.reason


def test_a_loss_that_is_not_finite_is_diverged(store, tiny_settings, monkeypatch):
    monkeypatch.setitem(losses.TERM_FUNCTIONS, "l1", lambda inputs: inputs.fake.mean() * math.inf)

    run = train_config(store, tiny_settings, tiny_config())

    assert run.state == RunState.DIVERGED
    assert run.reason == "diverged: l1 became infinite at step 1"
    assert [point for point in store.curves.read([1]) if point.name == "l1"] == []


@pytest.mark.slow
def test_an_fid_goes_from_inception_through_the_database_to_table_and_csv(
    store, tiny_settings, monkeypatch, tmp_path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    install_weights("inception", random_inception(monkeypatch), tiny_settings, monkeypatch)

    train_config(store, tiny_settings, tiny_config())

    evaluations = {each.name: each for each in store.evaluations.read([1], "test")}
    assert evaluations["fid"].value > 0
    assert evaluations["fid"].protocol["extractor"] == "inception_v3"
    assert evaluations["fid"].note == "32 pictures in 2,048 dimensions: biased upward"
    assert evaluations["kid"].value is not None
    assert evaluations["is_mean"].value > 1
    comparison = compare(store, 1)
    assert comparison.rows[0].cells["fid"].value == evaluations["fid"].value
    (row,) = csv.DictReader(io.StringIO(to_csv(comparison)))
    assert float(row["fid"]) == evaluations["fid"].value


@pytest.mark.slow
def test_a_slow_start_has_its_own_phase(store, tiny_settings, monkeypatch):
    phases = []
    set_phase = train.Recorder.set_phase
    monkeypatch.setattr(
        train.Recorder,
        "set_phase",
        lambda self, phase: (phases.append(phase), set_phase(self, phase)),
    )

    train_config(store, tiny_settings, tiny_config("perceptual", keep_maps="on"))

    assert store.runs.read(1).state == RunState.DONE
    warm_up = phases.index("making the feature maps of all targets")
    assert phases[warm_up + 1] == "training"
    assert phases.count("training") == 1
    compiled = tiny_config(compile="on")
    assert "a minute or two" in setup.warm_up_phase(compiled)
    assert setup.warm_up_phase(tiny_config()) is None
