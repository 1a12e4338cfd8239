"""The commands `evaluate --study`, `runs` and `cancel` about the missing metrics of a study."""

import json

import pytest

from engine.cli.main import main
from engine.jobs import spawn
from engine.records.runs import RunState
from tests.support.comparisons import add_study_without_inception, study_of
from tests.support.runs import NOW
from tests.support.weights import install_weights

SENTENCE = "1 evaluation of 1 run lacks FID, KID and Inception Score"


@pytest.fixture
def places(settings, store, monkeypatch, tmp_path):
    """The settings of commands; no weights are on the machine, and no supervisor is started."""
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(settings.artifacts))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    return settings


@pytest.fixture
def computable(places, store, monkeypatch):
    """A study without FID, on a machine that has the weights of Inception now."""
    add_study_without_inception(store)
    install_weights("inception", {}, places, monkeypatch)
    return store


@pytest.fixture
def queued(computable):
    """A study whose missing metrics wait for a slot."""
    assert main(["evaluate", "--study", "1"]) == 0
    return computable


def test_the_command_names_what_it_computes_in_the_background(computable, capsys):
    assert main(["evaluate", "--study", "1", "--json"]) == 0

    captured = capsys.readouterr()
    assert captured.err.startswith(f"{SENTENCE}. They are computed in the background;")
    assert json.loads(captured.out) == {
        "study": 1,
        "job": computable.jobs.read_newest("evaluate", "1").id,
        "evaluations": 1,
        "metrics": ["fid", "kid", "is_mean", "is_std"],
    }


def test_runs_shows_the_progress_of_the_computation(queued, capsys):
    main(["runs"])
    waiting = capsys.readouterr().out
    queued.jobs.claim(NOW, "evaluate")
    main(["runs", "--study", "1"])
    computing = capsys.readouterr().out

    metrics = "FID, KID and Inception Score"
    assert f"Study 1: waiting for a free training slot to compute {metrics}." in waiting
    assert f"Study 1: computing {metrics}, 0 of 1 evaluations are complete." in computing


def test_a_second_request_shows_the_progress_of_the_first(queued, capsys):
    capsys.readouterr()

    assert main(["evaluate", "--study", "1"]) == 0

    metrics = "FID, KID and Inception Score"
    assert capsys.readouterr().err == (
        "The computation was started before: waiting for a free training slot to compute "
        f"{metrics}.\n"
    )
    assert len(queued.jobs.read_all(RunState.QUEUED)) == 3  # two runs and one evaluation


def test_cancel_stops_the_runs_and_the_computation_of_a_study(queued, capsys):
    capsys.readouterr()

    assert main(["cancel", "--study", "1"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "the evaluation of study 1 is stopped",
        "run 2 is stopped",
        "run 3 is stopped",
    ]
    assert queued.jobs.read_all(RunState.QUEUED) == []
    assert main(["cancel", "--study", "1"]) == 2


def test_without_the_weights_the_command_says_how_to_get_them(places, store, capsys):
    add_study_without_inception(store)

    assert main(["evaluate", "--study", "1"]) == 1

    error = capsys.readouterr().err
    assert error.startswith(f"error: {SENTENCE}: Inception weights not on this machine: `")
    assert "weights fetch inception`" in error
    assert store.jobs.read_newest("evaluate", "1") is None


def test_a_study_without_evaluations_has_nothing_to_compute(places, store, capsys):
    study_of(store, 1)

    assert main(["evaluate", "--study", "1"]) == 0

    assert capsys.readouterr().err == (
        "Nothing to compute for study 1: no run of it has been evaluated yet.\n"
    )
