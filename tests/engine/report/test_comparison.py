from dataclasses import replace

import numpy as np
import pytest

from engine.records.curves import MetricPoint
from engine.records.runs import Evaluation, RunState
from engine.report.comparison import build_comparison
from tests.support.comparisons import NAMES, by_run, measured, noise, study_of


def cell(comparison, name, metric="psnr"):
    return next(row.cells[metric] for row in comparison.rows if row.configuration == name)


def test_with_several_seeds_the_interval_is_over_seeds(store):
    study, runs = study_of(store, seeds=2)

    comparison = build_comparison(study, runs, by_run(runs, [11, 12, 13, 14, 15, 16]), [])

    standard = cell(comparison, "standard")
    assert comparison.unit == "seeds"
    assert (standard.value, standard.n_seeds, standard.by_seed) == (11.5, 2, {0: 11, 1: 12})
    assert standard.low == pytest.approx(11.5 - 12.706 * 0.5, abs=1e-2)


def test_runs_that_share_a_seed_are_compared_pair_by_pair(store):
    study, runs = study_of(store, seeds=3)
    seed_effect = np.array([-2.0, 0.0, 2.0])  # far more than the configurations differ
    values = [
        *(16 + seed_effect),
        *(16.5 + seed_effect + [0, 0.01, -0.01]),
        *(16 + seed_effect + [0.1, -0.1, 0]),
    ]

    comparison = build_comparison(study, runs, by_run(runs, values), [])

    contrasts = {(each.one, each.other): each for each in comparison.contrasts}
    first = contrasts["standard", "perceptual"]
    assert first.mean == pytest.approx(-0.5)
    assert (first.unit, first.n) == ("seeds", 3)
    assert first.is_significant
    assert first.p < first.p_holm
    assert not contrasts["standard", "regularized"].is_significant
    assert [cell(comparison, name).rank for name in NAMES] == [2, 1, 2]


def test_with_one_seed_the_interval_is_over_pictures_and_a_note_says_it(store):
    study, runs = study_of(store, seeds=1)
    values = [measured(run, 10.0, halves=noise()) for run in runs]

    comparison = build_comparison(study, runs, values, [])

    assert comparison.unit == "pictures"
    assert (cell(comparison, "standard").low, cell(comparison, "standard").high) == (9.0, 11.0)
    assert any("these weights only" in note for note in comparison.notes)


def test_with_one_seed_the_ranks_follow_from_differences_on_the_same_halves(store):
    study, runs = study_of(store, seeds=1)
    shared = noise()
    values = [
        measured(runs[0], 10.0, halves=10 + shared),
        measured(runs[1], 10.5, halves=10.5 + shared + 0.01 * noise(1)),
        measured(runs[2], 10.5, halves=10.5 + shared + 0.01 * noise(2)),
    ]

    comparison = build_comparison(study, runs, values, [])

    # The interval of each mean is wide, those of the differences are narrow.
    assert [cell(comparison, name).rank for name in NAMES] == [3, 1, 1]
    assert comparison.contrasts[0].low == pytest.approx(-0.5, abs=0.05)


def test_there_are_no_ranks_if_a_pair_cannot_be_tested(store):
    study, runs = study_of(store, seeds=1)
    values = [measured(run, 10.0 * run.id, halves=noise() if run.id < 3 else None) for run in runs]

    comparison = build_comparison(study, runs, values, [])

    assert [cell(comparison, name).rank for name in NAMES] == [None] * 3
    assert len(comparison.contrasts) == 1


def test_intervals_over_seeds_and_over_pictures_are_not_mixed(store):
    study, runs = study_of(store, seeds=2)
    values = [measured(run, 10.0 * run.id, halves=noise()) for run in runs[:3]]

    comparison = build_comparison(study, runs, values, [])

    assert cell(comparison, "standard").n_seeds == 2
    assert cell(comparison, "perceptual").n_seeds == 1
    assert cell(comparison, "perceptual").low is None
    assert cell(comparison, "standard").rank is None


def test_a_value_with_another_protocol_is_incomparable_and_has_no_rank(store):
    study, runs = study_of(store, seeds=1)
    values = [measured(run, 10.0 * run.id, halves=noise(), px=32) for run in runs[:2]]
    values.append(measured(runs[2], 99.0, halves=noise(), px=64))

    comparison = build_comparison(study, runs, values, [])

    odd = cell(comparison, "regularized")
    assert odd.value == 99.0
    assert odd.incomparable == "other protocol: px 64, not 32"
    assert odd.rank is None
    assert {cell(comparison, name).rank for name in NAMES[:2]} == {1, 2}
    assert all("regularized" not in (each.one, each.other) for each in comparison.contrasts)


def test_a_different_number_of_pictures_is_a_different_protocol(store):
    study, runs = study_of(store, seeds=1)
    values = [measured(run, 1.0, "fd_lite2", n_pictures=30 + (run.id == 2)) for run in runs]

    comparison = build_comparison(study, runs, values, [])

    odd = cell(comparison, "perceptual", "fd_lite2")
    assert odd.incomparable == "other protocol: n pictures 31, not 30"


def test_a_seed_with_another_protocol_is_left_out_of_the_mean_with_a_remark(store):
    study, runs = study_of(store, seeds=2)
    values = [measured(run, 10.0, precision="fp32") for run in runs[1:]]
    values.append(measured(runs[0], 99.0, precision="bf16"))

    comparison = build_comparison(study, runs, values, [])

    standard = cell(comparison, "standard")
    assert (standard.value, standard.n_seeds) == (10.0, 1)
    assert "1 of 2 seeds: left out, other protocol: precision bf16, not fp32" in standard.mark


def test_the_value_is_that_of_the_chosen_checkpoint_with_that_of_the_last_beside_it(store):
    study, runs = study_of(store, seeds=1)
    runs = [replace(run, best_epoch=2) for run in runs]
    values = [measured(run, 10.0 + epoch, epoch=epoch) for run in runs for epoch in (2, 4)]

    standard = cell(build_comparison(study, runs, values, []), "standard")

    assert (standard.value, standard.best_epoch, standard.last) == (12.0, 2, 14.0)


def test_a_value_is_marked_if_the_perceptual_loss_used_the_network_of_the_metric(store):
    study, runs = study_of(store, seeds=1)
    teachers = {"perceptual": "efficientnet_lite0", "regularized": "vgg19"}
    runs = [taught(run, teachers.get(run.configuration, "none")) for run in runs]
    values = [measured(run, 1.0, "fd_lite2", extractor="efficientnet_lite2") for run in runs]
    values += [measured(run, 1.0, "kd_lite2", extractor="vgg19") for run in runs]

    comparison = build_comparison(study, runs, values, [])

    assert cell(comparison, "perceptual", "fd_lite2").mark == (
        "trained against efficientnet_lite0, a close relative of the network efficientnet_lite2"
    )
    assert cell(comparison, "regularized", "kd_lite2").mark == (
        "trained against the evaluation network vgg19"
    )
    assert cell(comparison, "standard", "fd_lite2").mark is None
    assert cell(comparison, "regularized", "fd_lite2").mark is None


def taught(run, teacher):
    execution = run.config.execution.model_copy(update={"perceptual_features": teacher})
    return replace(run, resolved=run.config.model_copy(update={"execution": execution}))


def test_a_run_that_did_not_finish_does_not_count(store):
    study, runs = study_of(store, seeds=2)
    runs[0] = replace(runs[0], state=RunState.CRASHED)
    values = [measured(run, 10.0 + run.id, halves=noise()) for run in runs]

    comparison = build_comparison(study, runs, values, [])

    standard = cell(comparison, "standard")
    assert (standard.value, standard.by_seed) == (12.0, {1: 12.0})
    assert (comparison.rows[0].seeds, comparison.rows[0].runs) == (1, 2)
    assert standard.rank is None  # its pairs share one seed only
    assert any("1 crashed; the table contains the other runs" in note for note in comparison.notes)


def test_the_mean_has_the_remarks_of_all_seeds(store):
    study, runs = study_of(store, seeds=2)
    values = by_run(runs, [1, 2, 3, 4, 5, 6])
    values[1] = replace(values[1], note="blank")
    values[3] = Evaluation(runs[3].id, "test", "psnr", None, 0, 3, missing="no colour")

    comparison = build_comparison(study, runs, values, [])

    assert cell(comparison, "standard").mark == "1 of 2 seeds: blank"
    assert cell(comparison, "perceptual").mark == "1 of 2 seeds: no colour"
    assert cell(comparison, "perceptual").n_seeds == 1


def test_each_seed_keeps_the_epoch_of_its_own_checkpoint(store):
    study, runs = study_of(store, seeds=2)
    runs = [replace(run, best_epoch=2 + run.seed) for run in runs]
    values = [measured(run, 1.0 * run.id, epoch=run.best_epoch) for run in runs]

    assert cell(build_comparison(study, runs, values, []), "standard").epochs == {0: 2, 1: 3}


def test_costs_of_different_machines_are_not_compared(store):
    study, runs = study_of(store, seeds=1)
    runs = [replace(run, environment={"device": "cpu", "cpu": "A"}) for run in runs]
    runs[2] = replace(runs[2], environment={"device": "H200", "cpu": "B"})
    points = [MetricPoint(run.id, 1, 1, "images_per_second", 100.0 * run.id) for run in runs]

    comparison = build_comparison(study, runs, [], points)

    odd = cell(comparison, "regularized", "images_per_second")
    assert odd.incomparable.startswith("other machine: H200, B")
    assert set(comparison.column("images_per_second")) == {"standard", "perceptual"}


def test_fid_is_always_a_column_and_has_a_reason_if_it_is_empty(store):
    study, runs = study_of(store, seeds=1)
    without_value = Evaluation(runs[0].id, "test", "fid", None, 0, 3, missing="no weights")

    comparison = build_comparison(study, runs, [without_value], [])

    assert cell(comparison, "standard", "fid").missing == "no weights"
    assert cell(comparison, "perceptual", "fid").missing == "not evaluated yet"
    assert cell(comparison, "standard", "fid").value is None
    assert comparison.is_empty


def test_costs_come_from_the_epochs_and_have_no_rank(store):
    study, runs = study_of(store, seeds=1)
    runs = [replace(run, epochs=3) for run in runs]
    points = [
        MetricPoint(runs[0].id, epoch, epoch, name, value)
        for name, values in (
            ("images_per_second", (90.0, 140.0, 130.0)),
            ("epoch_seconds", (9.0, 5.0, 6.0)),
            ("peak_memory_mb", (500.0, 800.0, 700.0)),
        )
        for epoch, value in enumerate(values, start=1)
    ]

    comparison = build_comparison(study, runs, [], points)

    costs = {name: cell(comparison, "standard", name).value for name in ("images_per_second",)}
    assert costs == {"images_per_second": 130.0}
    assert cell(comparison, "standard", "training_seconds").value == 20.0
    assert cell(comparison, "standard", "peak_memory_mb").value == 800.0
    assert cell(comparison, "perceptual", "training_seconds").missing == "not measured yet"
    assert cell(comparison, "standard", "images_per_second").rank is None


def test_a_metric_without_a_better_direction_has_no_rank(store):
    study, runs = study_of(store, seeds=1)
    values = [measured(run, run.id * 9.0, "colorfulness", halves=noise()) for run in runs]

    comparison = build_comparison(study, runs, values, [])

    assert {cell(comparison, name, "colorfulness").rank for name in NAMES} == {None}
