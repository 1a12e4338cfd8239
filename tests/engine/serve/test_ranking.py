"""The best model is the one that is good at everything, among those that may be compared."""

from dataclasses import replace

import pytest

from engine.errors import BadInputError
from engine.serve import ranking
from tests.conftest import NOW
from tests.engine.report.test_comparison import measured, study_of


def ranks(*columns):
    return ranking.mean_ranks([it for column in columns for it in column])


@pytest.fixture
def runs(store):
    return study_of(store, seeds=1)[1]


def column(runs, name, *values):
    return [measured(run, value, name) for run, value in zip(runs, values, strict=False)]


def test_the_mean_rank_counts_and_not_one_distance(runs):
    first, second = runs[0].id, runs[1].id
    found = ranks(
        column(runs, "kd_lite2", 0.01, 0.05),  # the first is nearest in features, and pale
        column(runs, "psnr", 16.0, 17.0),
        column(runs, "delta_e", 14.0, 13.0),
        column(runs, "ab_divergence", 0.7, 0.6),
    )

    assert found[second] == pytest.approx(1.25)
    assert found[first] == pytest.approx(1.75)


def test_equals_share_a_rank(runs):
    assert set(ranks(column(runs, "psnr", 16.0, 16.0)).values()) == {1.5}


def test_runs_that_were_measured_otherwise_have_no_rank(runs):
    values = column(runs, "psnr", 30.0, 16.0, 17.0) + column(runs, "ssim", 0.9, 0.7, 0.8)
    odd = [
        replace(it, protocol={**it.protocol, "px": 999}) if it.run_id == runs[0].id else it
        for it in values
    ]

    assert ranking.mean_ranks(odd) == {runs[1].id: 2, runs[2].id: 1}


def test_a_metric_that_some_lack_does_not_count_for_those_who_have_it(runs):
    values = column(runs, "psnr", 16.0, 17.0, 18.0) + column(runs, "ssim", 0.9)

    assert ranking.mean_ranks(values) == {runs[0].id: 3, runs[1].id: 2, runs[2].id: 1}
    assert ranking.mean_ranks([]) == {}


def test_the_newest_study_that_has_a_model_is_meant(trained):
    found = list(ranking.candidates(trained.store))

    assert [it.run.id for it in found[0]] == [
        it.run.id for it in sorted(found[0], key=lambda it: it.mean_rank)
    ]
    assert {it.run.configuration for it in found[0]} == {"standard", "gan"}
    assert ranking.best(trained.store).run.id == found[0][0].run.id
    assert found[0][0].checkpoint.is_best


def test_before_any_run_has_ended_there_is_none(store):
    study, _ = study_of(store, seeds=1)
    store.archive_study(study.id, NOW)

    assert ranking.best(store) is None
    with pytest.raises(BadInputError):
        ranking.best(store, 99)
