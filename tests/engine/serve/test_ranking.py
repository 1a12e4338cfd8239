"""The best model has the best mean rank among the runs that may be compared."""

from dataclasses import replace

import pytest

from engine.errors import BadInputError
from engine.serve import ranking
from tests.support.comparisons import measured, study_of
from tests.support.runs import NOW


def ranks(*columns):
    return ranking.mean_ranks([evaluation for column in columns for evaluation in column])


@pytest.fixture
def runs(store):
    return study_of(store, seeds=1)[1]


def column(runs, name, *values):
    return [measured(run, value, name) for run, value in zip(runs, values, strict=False)]


def test_the_mean_rank_decides_and_not_one_distance(runs):
    first, second = runs[0].id, runs[1].id
    mean_ranks = ranks(
        column(runs, "kd_lite2", 0.01, 0.05),  # the first run is the nearest in features, but pale
        column(runs, "psnr", 16.0, 17.0),
        column(runs, "delta_e", 14.0, 13.0),
        column(runs, "ab_divergence", 0.7, 0.6),
    )

    assert mean_ranks[second] == pytest.approx(1.25)
    assert mean_ranks[first] == pytest.approx(1.75)


def test_equal_values_share_a_rank(runs):
    assert set(ranks(column(runs, "psnr", 16.0, 16.0)).values()) == {1.5}


def test_runs_that_were_measured_with_another_protocol_have_no_rank(runs):
    values = column(runs, "psnr", 30.0, 16.0, 17.0) + column(runs, "ssim", 0.9, 0.7, 0.8)
    with_other_protocol = [
        replace(value, protocol={**value.protocol, "px": 999})
        if value.run_id == runs[0].id
        else value
        for value in values
    ]

    assert ranking.mean_ranks(with_other_protocol) == {runs[1].id: 2, runs[2].id: 1}


def test_a_metric_that_most_runs_lack_does_not_count(runs):
    values = column(runs, "psnr", 16.0, 17.0, 18.0) + column(runs, "ssim", 0.9)

    assert ranking.mean_ranks(values) == {runs[0].id: 3, runs[1].id: 2, runs[2].id: 1}
    assert ranking.mean_ranks([]) == {}


def test_candidates_are_sorted_by_mean_rank_and_the_first_is_the_best(trained):
    candidates = next(ranking.candidates_by_study(trained.store))

    mean_ranks = [candidate.mean_rank for candidate in candidates]
    assert mean_ranks == sorted(mean_ranks)
    assert {candidate.run.configuration for candidate in candidates} == {"standard", "gan"}
    assert ranking.best_candidate(trained.store).run.id == candidates[0].run.id
    assert candidates[0].checkpoint.is_best


def test_before_any_run_is_done_there_is_no_best_model(store):
    study, _ = study_of(store, seeds=1)
    store.studies.archive(study.id, NOW)

    assert ranking.best_candidate(store) is None
    with pytest.raises(BadInputError):
        ranking.best_candidate(store, 99)
