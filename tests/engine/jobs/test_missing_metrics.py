"""Which metrics the evaluations of a study lack because weights were missing."""

from dataclasses import replace

import pytest

from engine import weights
from engine.errors import BadInputError, MissingWeightsError
from engine.jobs import lifecycle, missing_metrics, spawn
from engine.records.runs import RunState
from tests.support.comparisons import (
    absent,
    add_study_without_inception,
    measured,
    study_of,
    without_inception,
)
from tests.support.runs import NOW
from tests.support.weights import install_weights


@pytest.fixture(autouse=True)
def empty_torch_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.fixture
def runs(store):
    """Three ended runs of one seed each."""
    return study_of(store, 1)[1]


def incomplete_checkpoints(runs, evaluations):
    missing = missing_metrics.select_missing_metrics(runs, evaluations)
    return [(each.run_id, each.epoch, each.metrics) for each in missing.incomplete]


def test_a_metric_that_was_computed_or_refused_with_its_network_is_not_missing(runs):
    refused = absent(runs[0], "kid", weights_sha256="6726825d")
    evaluations = [measured(runs[0], 9.0), refused, absent(runs[0], "fid"), measured(runs[1], 9.0)]

    assert incomplete_checkpoints(runs, evaluations) == [(1, 3, ("fid",))]


def test_a_missing_metric_that_needs_no_network_is_not_missing_for_weights(runs):
    evaluations = [measured(runs[0], 9.0), absent(runs[0], "ab_divergence")]

    assert incomplete_checkpoints(runs, evaluations) == []


def test_a_checkpoint_whose_pictures_were_refused_is_left_out(runs):
    evaluations = [absent(runs[0], "psnr"), absent(runs[0], "fid")]

    assert incomplete_checkpoints(runs, evaluations) == []


def test_only_the_best_and_the_last_evaluated_checkpoint_of_ended_runs_count(runs):
    ended, retrying, queued = (
        replace(runs[0], best_epoch=2),
        replace(runs[1], state=RunState.CRASHED, will_retry=True),
        replace(runs[2], state=RunState.QUEUED),
    )
    evaluations = [
        each for run in runs for epoch in (1, 2, 3) for each in without_inception(run, epoch)
    ]

    missing = missing_metrics.select_missing_metrics([ended, retrying, queued], evaluations)

    assert [(each.run_id, each.epoch) for each in missing.incomplete] == [(1, 2), (1, 3)]
    assert (missing.n_complete, missing.n_evaluations) == (0, 2)


def test_the_sentence_names_evaluations_runs_and_metrics(runs):
    both = [*without_inception(runs[0]), *without_inception(runs[1])]
    lite2 = [measured(runs[0], 9.0), absent(runs[0], "kd_lite2")]

    missing, single = (
        missing_metrics.select_missing_metrics(runs, evaluations) for evaluations in (both, lite2)
    )

    assert missing.sentence == "2 evaluations of 2 runs lack FID, KID and Inception Score"
    assert single.sentence == "1 evaluation of 1 run lacks Kernel (Lite2)"
    assert missing.networks == ("inception",)


def test_missing_metrics_can_be_limited_to_the_networks_on_this_machine(runs, settings):
    evaluations = [*without_inception(runs[0]), absent(runs[0], "kd_lite2")]
    missing = missing_metrics.select_missing_metrics(runs, evaluations)

    available = missing_metrics.available_networks(missing, settings)
    computable = missing.limited_to(available)

    assert missing.networks == ("inception", "efficientnet_lite2")
    assert available == ("efficientnet_lite2",)
    assert computable.metrics == ("kd_lite2",)
    assert computable.n_complete == 0
    assert missing.limited_to(()).n_complete == 1


@pytest.fixture
def evaluated(store, settings, monkeypatch):
    """A study with one ended run that was evaluated without the weights of Inception."""
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    add_study_without_inception(store)
    return store


def test_a_study_is_evaluated_by_one_job_however_often_it_is_requested(
    evaluated, settings, monkeypatch
):
    install_weights("inception", {}, settings, monkeypatch)

    jobs = [lifecycle.submit_evaluation(evaluated, settings, 1, NOW) for _ in range(2)]
    evaluated.jobs.claim(NOW, "evaluate")
    jobs.append(lifecycle.submit_evaluation(evaluated, settings, 1, NOW))

    assert {job.id for job in jobs} == {jobs[0].id}
    assert (jobs[0].kind, jobs[0].subject) == ("evaluate", "1")


def test_without_the_weights_the_error_names_what_is_missing_and_the_command(evaluated, settings):
    with pytest.raises(MissingWeightsError) as refusal:
        lifecycle.submit_evaluation(evaluated, settings, 1, NOW)

    assert str(refusal.value) == (
        "1 evaluation of 1 run lacks FID, KID and Inception Score: "
        f"{weights.missing_message('inception')}."
    )


def test_a_study_that_lacks_nothing_is_not_evaluated(store, settings):
    study_of(store, 1)

    with pytest.raises(BadInputError, match="The evaluations of study 1 lack no metric"):
        lifecycle.submit_evaluation(store, settings, 1, NOW)
