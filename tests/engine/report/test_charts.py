"""Charts align the seeds of a configuration by step."""

from dataclasses import replace

import pytest

from engine.metrics.catalog import DISCRIMINATOR_CURVES
from engine.report import charts
from tests.support.runs import NOW, tiny_config


def test_lines_with_equal_positions_are_not_changed():
    x, columns = charts.align_lines([[(1, 5.0), (2, 7.0)], [(1, 6.0), (2, 9.0)]])

    assert x == [1, 2]
    assert columns == [(5.0, 6.0), (7.0, 9.0)]


def test_lines_are_interpolated_at_the_positions_of_the_other_lines():
    dense = [(step, 10.0 * step) for step in range(1, 9)]
    sparse = [(2, 0.0), (6, 40.0), (8, 40.0)]

    x, columns = charts.align_lines([dense, sparse])

    assert x == [2, 3, 4, 5, 6, 7, 8]
    assert [one for one, _ in columns] == pytest.approx([10.0 * step for step in x])
    assert [other for _, other in columns] == pytest.approx([0, 10, 20, 30, 40, 40, 40])


def test_aligned_lines_end_where_the_shortest_line_ends():
    x, columns = charts.align_lines([[(1, 1.0), (9, 9.0)], [(3, 0.0), (5, 0.0)]])

    assert x == [3, 5]
    assert columns == [(3.0, 0.0), (5.0, 0.0)]


def test_the_mean_over_seeds_that_recorded_different_steps_is_the_mean_at_each_step(store):
    """Both seeds have the same value at each step, so mean and band are this value."""
    configs = [tiny_config(seed=seed, epochs=10) for seed in (0, 1)]
    _, runs = store.studies.add("key", "a study", configs, NOW)
    runs = [replace(run, steps=100) for run in runs]
    curves = {
        (runs[0].id, "l1"): [(step, 1000.0 - step) for step in range(1, 101)],
        (runs[1].id, "l1"): [(step, 1000.0 - step) for step in (1, 40, 41, 90, 100)],
    }

    band, mean = charts.training_curves(runs, curves, ["l1"]).data

    expected = [1000 - 10 * epoch for epoch in mean.x]
    assert len(mean.x) == 100
    assert list(mean.y) == pytest.approx(expected)
    assert list(band.y) == pytest.approx([*expected, *reversed(expected)])


def test_a_figure_of_the_discriminator_names_the_configurations_without_one(store):
    _, runs = store.studies.add("key", "a", [tiny_config(), tiny_config("vivid")], NOW)

    no_discriminator = "No values of vivid: no discriminator, because the recipe has no adversarial"
    for name in DISCRIMINATOR_CURVES:
        assert charts.explain_missing_lines(runs, name).startswith(no_discriminator)
    missing = charts.explain_missing_lines(runs, "palette")
    assert missing == "No values of standard: the recipe has no term palette."
    for name in ("l1", "g_loss", "val_psnr", "lr_g", "epoch_seconds"):
        assert charts.explain_missing_lines(runs, name) == ""
