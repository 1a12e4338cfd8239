from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest
import torch

from engine import weights
from engine.errors import BadInputError, EngineError
from engine.records.runs import CheckpointEvaluation, Evaluation, RunState
from engine.workers import reevaluate


def ignore_progress(done, total):
    pass


@pytest.fixture(autouse=True)
def no_inception(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.fixture
def places(trained):
    return trained.store, trained.settings


@pytest.fixture
def run(places):
    return places[0].runs.read(1)


def values_of(evaluations):
    return {
        (each.epoch, each.name): (each.value, each.low, each.high, each.halves)
        for each in evaluations
    }


@pytest.mark.parametrize("role", ["best", "last"])
def test_a_second_evaluation_of_a_checkpoint_gives_equal_values_to_the_last_digit(
    places, run, role
):
    store, settings = places
    before = values_of(store.evaluations.read([1], "test"))
    scores = store.evaluations.read_scores([1], "test")

    result = reevaluate.evaluate_again(store, settings, run, role, "test", "all", ignore_progress)

    values = values_of(result.evaluations)
    assert len(values) > 15
    assert values == {key: before[key] for key in values}
    assert values_of(store.evaluations.read([1], "test")) == before
    order = attrgetter("epoch", "name", "picture")
    stored_scores = store.evaluations.read_scores([1], "test")
    assert sorted(stored_scores, key=order) == sorted(scores, key=order)


def test_evaluating_again_without_the_weights_keeps_a_stored_fid(trained_copy, tiny_settings):
    run = trained_copy.runs.read(1)
    protocol = {"weights_sha256": weights.CATALOG["inception"].sha256}
    fid = Evaluation(1, "test", "fid", 42.0, 32, run.best_epoch, note="biased", protocol=protocol)
    trained_copy.evaluations.replace(1, CheckpointEvaluation((fid,)))
    before = trained_copy.evaluations.read([1])

    result = reevaluate.evaluate_again(
        trained_copy, tiny_settings, run, "best", "test", "inception", ignore_progress
    )

    (shown,) = (each for each in result.evaluations if each.name == "fid")
    assert shown.value == 42.0
    assert shown.note.startswith("computed earlier; now evaluated without the Inception weights:")
    assert trained_copy.evaluations.read([1]) == before


def test_a_checkpoint_is_evaluated_on_another_split_without_feature_metrics(places, run):
    store, settings = places
    result = reevaluate.evaluate_again(store, settings, run, "best", "val", "none", ignore_progress)

    names = {each.name for each in result.evaluations}
    assert "psnr" in names
    assert "kd_lite2" not in names
    assert {each.split for each in result.evaluations} == {"val"}


def test_the_evaluation_of_a_checkpoint_file_is_not_stored(places, run):
    store, settings = places
    path = settings.artifacts / store.checkpoints.read(1)[0].path
    before = store.evaluations.read([1])

    result = reevaluate.evaluate_again(store, settings, run, path, "test", "none", ignore_progress)

    assert result.evaluations
    assert store.evaluations.read([1]) == before


def test_a_run_or_file_that_cannot_be_evaluated_is_refused(places, run, tmp_path):
    store, settings = places

    def evaluate(choice):
        reevaluate.evaluate_again(store, settings, run, choice, "test", "none", ignore_progress)

    with pytest.raises(BadInputError, match="there is no file nowhere"):
        evaluate(Path("nowhere"))
    junk = tmp_path / "junk.pt"
    junk.write_bytes(b"junk")
    with pytest.raises(EngineError, match="is not a checkpoint"):
        evaluate(junk)
    torch.save(torch.zeros(3), junk)
    with pytest.raises(EngineError, match="is not a checkpoint"):
        evaluate(junk)
    run = replace(run, state=RunState.QUEUED)
    with pytest.raises(BadInputError, match="Run 1 is queued"):
        evaluate("best")
