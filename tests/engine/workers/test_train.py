"""A whole job in this process: from a claimed row to the table and its CSV."""

import csv
import io
import math

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from engine.evaluation import checkpoint_evaluator
from engine.records.runs import RunState
from engine.report.comparison import compare
from engine.report.tables import to_csv
from engine.store import Store
from engine.training import losses
from engine.workers import setup, train
from tests.conftest import NOW, tiny_config
from tests.engine.test_weights import stand_in

THE_SAME = tiny_config(epochs=3, evaluations=2)  # as the first run of `trained`


def never():
    return False


def do_job(store, settings, config, should_stop=never):
    store.add_study("key", "a", [config], NOW)
    train.run_job(store, settings, store.claim_job(NOW), should_stop)
    return store.read_run(1)


def numbers(store, run_id=1):
    timed = ("epoch_seconds", "images_per_second", "peak_memory_mb")
    found = store.read_metrics([run_id])
    return [(it.step, it.name, it.value) for it in found if it.name not in timed]


@pytest.fixture(autouse=True)
def no_inception(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def test_a_run_ends_done_with_everything_recorded(trained):
    done = trained.store.read_run(1)

    assert (done.state, done.reason, done.phase) == (RunState.DONE, None, None)
    assert (done.epoch, done.step, done.steps) == (3, 24, 24)
    assert done.environment["torch"]
    names = {point.name for point in trained.store.read_metrics([1])}
    assert {"g_loss", "d_loss", "adversarial", "l1", "val_g_loss", "val_psnr", "lr_g"} <= names
    assert {"d_train_accuracy", "g_grad_norm", "d_grad_norm"} <= names
    assert [sample.epoch for sample in trained.store.read_samples([1])] == [1, 2, 3]
    for path in vars(trained.store.read_samples([1])[0]).values():
        if isinstance(path, str):
            assert (trained.settings.artifacts / path).is_file()


def test_paths_in_the_database_are_relative(trained):
    paths = [it.path for it in trained.store.read_checkpoints(1)]
    paths += [it.path for it in trained.store.read_predictions([1], "test")]
    paths.append(trained.store.read_samples([1])[0].grid)

    assert len(paths) > 2
    assert not [path for path in paths if path.startswith("/")]


@pytest.mark.slow
def test_the_best_epoch_by_validation_is_what_test_reports_beside_the_last(store, tiny_settings):
    config = tiny_config(epochs=3, evaluations=2, choose_by="ssim")

    run = do_job(store, tiny_settings, config)

    judged = {it.epoch: it.value for it in store.read_evaluations([1], "val") if it.name == "ssim"}
    assert set(judged) == {2, 3}
    assert run.best_epoch == max(judged, key=judged.get)
    assert {it.epoch for it in store.read_evaluations([1], "test")} == {run.best_epoch, 3}
    assert {it.epoch for it in store.read_predictions([1], "test")} == {run.best_epoch, 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    "at", [(checkpoint_evaluator.Court, "validate"), (Store, "choose_checkpoint")]
)
def test_an_attempt_that_was_cut_off_before_the_judging_catches_up(
    store, tiny_settings, trained, monkeypatch, at
):
    with monkeypatch.context() as patch:
        patch.setattr(*at, lambda *_: (_ for _ in ()).throw(OSError("full")))
        run = do_job(store, tiny_settings, THE_SAME)
    assert (run.state, run.epoch) == (RunState.FAILED, 2)

    store.requeue(1, NOW)
    train.run_job(store, tiny_settings, store.claim_job(NOW), never)

    first, second = (
        {(it.epoch, it.name): it.value for it in each.read_evaluations([1], "val")}
        for each in (trained.store, store)
    )
    assert second == {key: first[key] for key in second}
    assert {epoch for epoch, _ in second} == {2, 3}
    assert store.read_run(1).best_epoch == trained.store.read_run(1).best_epoch


def test_the_fakes_of_the_test_split_are_kept(trained):
    store = trained.store
    kept = store.read_predictions([1], "test")[-1]

    fakes = np.load(trained.settings.artifacts / kept.path)
    assert fakes.shape == (32, 32, 32, 3)
    assert fakes.std() > 0
    assert len(kept.names) == 32
    scores = store.read_scores([1], "test", ["psnr"])
    assert [it.picture for it in scores if it.epoch == kept.epoch] == list(kept.names)


def test_only_checkpoints_that_are_recorded_stay_on_the_disk(trained):
    recorded = {it.path.rpartition("/")[2] for it in trained.store.read_checkpoints(1)}

    folder = trained.settings.run_dir(1) / "checkpoints"
    assert {path.name for path in folder.iterdir()} == recorded


@pytest.mark.slow
def test_the_same_config_again_gives_the_same_numbers(store, tiny_settings, trained):
    do_job(store, tiny_settings, THE_SAME)

    assert numbers(store) == numbers(trained.store)


def test_a_stopped_run_keeps_its_last_epoch_and_says_so(store, tiny_settings):
    def after_an_epoch():
        asked = bool(store.read_checkpoints(1))
        if asked:
            store.request_stop(1, NOW)
        return asked

    run = do_job(store, tiny_settings, tiny_config(epochs=5), after_an_epoch)

    assert run.state == RunState.STOPPED
    assert run.reason == "stopped by the user at epoch 1"
    assert [it.epoch for it in store.read_checkpoints(1)] == [1]


def test_a_signal_that_no_user_sent_is_the_systems(store, tiny_settings):
    run = do_job(store, tiny_settings, tiny_config(epochs=5), lambda: True)

    assert run.state == RunState.CRASHED
    assert run.reason.startswith("ended by the system")


@pytest.mark.slow
def test_a_stopped_run_continues_from_its_checkpoint_as_if_it_had_not_stopped(
    store, tiny_settings, trained
):
    do_job(store, tiny_settings, THE_SAME, lambda: bool(store.read_checkpoints(1)))
    assert store.read_run(1).epoch == 1

    store.requeue(1, NOW)
    train.run_job(store, tiny_settings, store.claim_job(NOW), never)

    run = store.read_run(1)
    assert (run.state, run.attempt) == (RunState.DONE, 2)
    assert numbers(store) == numbers(trained.store)


def test_a_fault_becomes_the_runs_reason(store, tiny_settings):
    run = do_job(store, tiny_settings, tiny_config(device="cuda"))

    assert run.state == RunState.FAILED
    assert "'cuda' is not on this machine" in run.reason


def test_a_loss_that_is_not_finite_is_diverged(store, tiny_settings, monkeypatch):
    monkeypatch.setitem(losses.TERMS, "l1", lambda generated: generated.fake.mean() * math.inf)

    run = do_job(store, tiny_settings, tiny_config())

    assert run.state == RunState.DIVERGED
    assert run.reason == "diverged: l1 became infinite at step 1"
    assert [it.value for it in store.read_metrics([1]) if it.name == "l1"] == []


@pytest.mark.slow
def test_an_fid_goes_from_inception_through_the_database_to_table_and_csv(
    store, tiny_settings, monkeypatch, tmp_path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        # The constructor wants a file: give it none to read while the stand-in is made.
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_, **__: None)
        patch.setattr(torch, "load", lambda *_, **__: {})
        blank = FeatureExtractorInceptionV3(
            "x", ["2048"], feature_extractor_weights_path=str(tmp_path / "none")
        )
    stand_in("inception", blank.state_dict(), tiny_settings, monkeypatch)

    do_job(store, tiny_settings, tiny_config())

    recorded = {it.name: it for it in store.read_evaluations([1], "test")}
    assert recorded["fid"].value > 0
    assert recorded["fid"].protocol["extractor"] == "inception_v3"
    assert recorded["fid"].note == "32 pictures in 2,048 dimensions: biased upward"
    assert recorded["kid"].value is not None
    assert recorded["is_mean"].value > 1
    comparison = compare(store, 1)
    assert comparison.rows[0].cells["fid"].value == recorded["fid"].value
    (row,) = csv.DictReader(io.StringIO(to_csv(comparison)))
    assert float(row["fid"]) == recorded["fid"].value


@pytest.mark.slow
def test_what_comes_before_the_first_step_is_said(store, tiny_settings, monkeypatch):
    said = []
    phase = train.Recorder.phase
    monkeypatch.setattr(
        train.Recorder, "phase", lambda self, text: (said.append(text), phase(self, text))
    )

    do_job(store, tiny_settings, tiny_config("perceptual", keep_maps="on"))

    assert store.read_run(1).state == RunState.DONE
    first = said.index("making the feature maps of all targets")
    assert said[first + 1] == "training"
    assert said.count("training") == 1
    compiled = tiny_config(compile="on")
    assert "a minute or two" in setup.describe_warm_up(compiled)
    assert setup.describe_warm_up(tiny_config()) is None
