from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.errors import BadInputError, EngineError
from engine.records.runs import RunState
from engine.workers import reevaluate


def untold(done, total):
    pass


@pytest.fixture(autouse=True)
def no_inception(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.fixture
def places(trained):
    return trained.store, trained.settings


@pytest.fixture
def run(places):
    return places[0].read_run(1)


def numbers(evaluations):
    return {(it.epoch, it.name): (it.value, it.low, it.high, it.halves) for it in evaluations}


@pytest.mark.parametrize("role", ["best", "last"])
def test_the_same_checkpoint_and_protocol_give_the_same_numbers_to_the_last_digit(
    places, run, role
):
    store, settings = places
    before = numbers(store.read_evaluations([1], "test"))
    scores = store.read_scores([1], "test")

    again = reevaluate.evaluate_again(store, settings, run, role, "test", "all", untold)

    found = numbers(again.evaluations)
    assert len(found) > 15
    assert found == {key: before[key] for key in found}
    assert numbers(store.read_evaluations([1], "test")) == before
    key = lambda it: (it.epoch, it.name, it.picture)  # noqa: E731
    assert sorted(store.read_scores([1], "test"), key=key) == sorted(scores, key=key)


def test_another_split_and_no_features_can_be_asked_for(places, run):
    store, settings = places
    found = reevaluate.evaluate_again(store, settings, run, "best", "val", "none", untold)

    names = {it.name for it in found.evaluations}
    assert "psnr" in names
    assert "kd_lite2" not in names
    assert {it.split for it in found.evaluations} == {"val"}


def test_a_checkpoint_file_is_measured_and_not_recorded(places, run):
    store, settings = places
    path = settings.artifacts / store.read_checkpoints(1)[0].path
    before = store.read_evaluations([1])

    found = reevaluate.evaluate_again(store, settings, run, path, "test", "none", untold)

    assert found.evaluations
    assert store.read_evaluations([1]) == before


def test_what_cannot_be_evaluated_is_said(places, run, tmp_path):
    store, settings = places

    def again(wanted):
        return reevaluate.evaluate_again(store, settings, run, wanted, "test", "none", untold)

    with pytest.raises(BadInputError, match="there is no file nowhere"):
        again(Path("nowhere"))
    junk = tmp_path / "junk.pt"
    junk.write_bytes(b"junk")
    with pytest.raises(EngineError, match="is no checkpoint"):
        again(junk)
    torch.save(torch.zeros(3), junk)
    with pytest.raises(EngineError, match="is no checkpoint"):
        again(junk)
    run = replace(run, state=RunState.QUEUED)
    with pytest.raises(BadInputError, match="Run 1 is queued"):
        again("best")
