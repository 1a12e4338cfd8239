import csv
import io
from dataclasses import replace

import pytest

from engine.records import Evaluation, RunState
from engine.report import build_comparison, guard, to_csv
from tests.conftest import NOW, tiny_config

NAMES = ("standard", "perceptual", "regularized")


def measured(run, value, name="psnr", low=None, high=None, **protocol):
    fixed = {"data_fingerprint": "a", "px": 32, **protocol}
    return Evaluation(run.id, "test", name, value, 32, 3, low=low, high=high, protocol=fixed)


def study_of(store, seeds):
    configs = [tiny_config(name, seed) for name in NAMES for seed in range(seeds)]
    study, runs = store.add_study(f"key {seeds}", "=SUM(A1)", configs, NOW)
    return study, [replace(run, state=RunState.DONE) for run in runs]


def cell(comparison, name, metric="psnr"):
    return next(row.cells[metric] for row in comparison.rows if row.configuration == name)


def test_with_seeds_the_seed_is_the_unit(store):
    study, runs = study_of(store, seeds=2)
    values = [measured(run, 10.0 + run.id, low=0.0, high=50.0) for run in runs]

    comparison = build_comparison(study, runs, values, [])

    found = cell(comparison, "standard")
    assert comparison.unit == "seeds"
    assert found.value == 11.5
    assert found.n_seeds == 2
    assert found.low == pytest.approx(11.5 - 12.706 * 0.5, abs=1e-2)


def test_with_one_seed_the_interval_is_over_pictures_and_labelled_so(store):
    study, runs = study_of(store, seeds=1)
    values = [measured(run, 10.0, low=9.0, high=11.0) for run in runs]

    comparison = build_comparison(study, runs, values, [])

    assert comparison.unit == "pictures"
    assert (cell(comparison, "standard").low, cell(comparison, "standard").high) == (9.0, 11.0)
    assert any("these weights only" in note for note in comparison.notes)


def test_intervals_over_seeds_and_over_pictures_are_not_ranked_together(store):
    study, runs = study_of(store, seeds=2)
    values = [measured(run, 10.0 * run.id, low=0.0, high=1.0) for run in runs[:3]]

    comparison = build_comparison(study, runs, values, [])

    assert cell(comparison, "standard").n_seeds == 2
    assert cell(comparison, "perceptual").n_seeds == 1
    assert cell(comparison, "perceptual").low is None
    assert cell(comparison, "standard").rank is None


def test_ranks_are_shared_inside_the_noise(store):
    study, runs = study_of(store, seeds=1)
    spans = [(10, 9, 11), (10.5, 9.5, 11.5), (5, 4, 6)]
    values = [
        measured(run, *span[:1], low=span[1], high=span[2])
        for run, span in zip(runs, spans, strict=True)
    ]

    comparison = build_comparison(study, runs, values, [])

    assert [cell(comparison, name).rank for name in NAMES] == [1, 1, 3]


def test_values_of_different_protocols_are_never_ranked(store):
    study, runs = study_of(store, seeds=1)
    values = [
        measured(run, 10.0 * run.id, low=9.0 * run.id, high=11.0 * run.id, px=32 * run.id)
        for run in runs
    ]

    comparison = build_comparison(study, runs, values, [])

    assert [cell(comparison, name).rank for name in NAMES] == [None] * 3
    assert cell(comparison, "standard").mark == "not ranked: the protocols differ"


def test_a_network_that_was_trained_against_is_marked_as_judge(store):
    study, runs = study_of(store, seeds=1)
    runs = [replace(run, resolved=run.config) for run in runs]
    values = [measured(run, 1.0, "fd_lite2", extractor="efficientnet_lite0") for run in runs]

    comparison = build_comparison(study, runs, values, [])

    assert "trained against" in cell(comparison, "perceptual", "fd_lite2").mark


def test_fid_is_always_a_column_and_says_why_it_is_empty(store):
    study, runs = study_of(store, seeds=1)
    absent = Evaluation(runs[0].id, "test", "fid", None, 0, 3, missing="no weights")

    comparison = build_comparison(study, runs, [absent], [])

    assert cell(comparison, "standard", "fid").missing == "no weights"
    assert cell(comparison, "perceptual", "fid").missing == "not evaluated yet"
    assert cell(comparison, "standard", "fid").value is None


def test_costs_have_no_rank(store):
    study, runs = study_of(store, seeds=1)

    comparison = build_comparison(study, runs, [], [])

    assert {row.cells["images_per_second"].rank for row in comparison.rows} == {None}


def test_the_csv_has_a_row_per_configuration_and_guards_text(store):
    study, runs = study_of(store, seeds=1)
    values = [measured(run, 10.0, low=9.0, high=11.0) for run in runs]

    rows = list(csv.DictReader(io.StringIO(to_csv(build_comparison(study, runs, values, [])))))

    assert [row["configuration"] for row in rows] == list(NAMES)
    assert rows[0]["study"] == "'=SUM(A1)"
    assert float(rows[0]["psnr"]) == 10.0
    assert rows[0]["fid"] == ""
    assert rows[0]["fid_missing"] == "not evaluated yet"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\tx"])
def test_a_cell_that_a_spreadsheet_would_run_is_guarded(text):
    assert guard(text) == f"'{text}"


def test_the_json_has_the_agreed_keys(store):
    study, runs = study_of(store, seeds=1)

    (first, *_) = build_comparison(study, runs, [], []).as_json()

    assert set(first) == {"configuration", "seeds", "metrics"}
    assert set(first["metrics"]["fid"]) >= {
        *("value", "low", "high", "n_seeds", "n_pictures", "rank", "best_epoch", "last"),
        *("missing", "mark"),
    }
