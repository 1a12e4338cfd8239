import re
from dataclasses import replace

import pytest

from engine.records.curves import MetricPoint
from engine.records.runs import RunState
from engine.report.comparison import build_comparison
from engine.report.findings import build_findings
from tests.support.comparisons import NAMES, by_run, measured, noise, study_of

COLOURFULNESS = {"standard": 45.0, "perceptual": 29.0, "regularized": 45.0}


def texts(comparison, kind=None):
    return [each.text for each in build_findings(comparison) if kind in (None, each.kind)]


@pytest.fixture
def one_seed(store):
    """`perceptual` clearly has the lowest kernel distance and is pale; PSNR shows no difference."""
    study, runs = study_of(store, seeds=1)
    values, shared = [], noise()
    for run, distance in zip(runs, (0.040, 0.028, 0.0401), strict=True):
        halves = distance + 0.002 * shared + 0.0005 * noise(run.id)
        values.append(measured(run, distance, "kd_lite2", halves=halves))
        values.append(measured(run, 17.0, halves=17 + noise(run.id + 9)))
        colour = measured(run, COLOURFULNESS[run.configuration], "colorfulness")
        values.append(replace(colour, reference=50.0))
    return build_comparison(study, runs, values, [])


def test_a_clear_difference_is_reported_with_its_interval(one_seed):
    first = texts(one_seed, "difference")[0]

    assert re.match(
        r"`perceptual` has a lower kernel distance \(Lite2\) than "
        r"`standard` \(\u22120\.012\d, 95 % \u22120\.01\d+ to \u22120\.01\d+\) and `regularized`",
        first,
    )
    assert first.endswith("No other difference is significant.")


def test_a_metric_without_a_significant_difference_is_reported(one_seed):
    (text,) = texts(one_seed, "same")

    assert re.fullmatch(
        r"No significant difference in PSNR "
        r"\(smallest detectable difference: about \d\.\d+ dB\)\.",
        text,
    )


def test_a_distance_that_contradicts_the_colourfulness_is_reported(one_seed):
    (text,) = texts(one_seed, "colour")

    assert text.startswith(
        "`perceptual` is nearer to the targets in features than `standard` and `regularized`, but "
        "less colourful than the targets: its colourfulness is 29.0, that of the targets 50.0 "
        "(`standard` and `regularized`: 45.0 and 45.0)"
    )


def test_with_one_seed_the_limits_of_the_intervals_are_reported(one_seed):
    assert any("for these weights only" in text for text in texts(one_seed, "caution"))


def test_seeds_without_a_significant_difference_are_reported(store):
    study, runs = study_of(store, seeds=3)
    comparison = build_comparison(study, runs, by_run(runs, [1, 2, 3, 3, 1, 2, 2, 3, 1]), [])

    (text,) = texts(comparison)
    assert text.startswith("No significant difference in PSNR")


def test_pairs_that_could_not_be_tested_are_not_called_equal(store):
    study, runs = study_of(store, seeds=3)
    runs = [replace(run, state=RunState.FAILED) if run.id in (5, 6) else run for run in runs]
    values = by_run(runs, [21, 22, 20, 35, 0, 0, 20, 22, 21])
    comparison = build_comparison(study, runs, values, [])

    sentences = texts(comparison)

    assert "Pairs that could not be tested: 2 of 3 in PSNR." in sentences
    assert not any(text.startswith("No significant difference") for text in sentences)
    assert any("`perceptual` has a single seed" in text for text in sentences)


def test_overlapping_speeds_are_not_called_different(store):
    study, runs = study_of(store, seeds=2)
    speeds = (50.0, 110.0, 60.0, 61.0, 120.0, 121.0)
    points = [
        MetricPoint(run.id, 1, 1, "images_per_second", speed)
        for run, speed in zip(runs, speeds, strict=True)
    ]
    comparison = build_comparison(study, runs, by_run(runs, [1, 2, 3, 3, 1, 2]), points)

    sentences = texts(comparison, "cost")

    assert (
        "`standard` takes 1.5 times the training time per picture of `regularized`" in sentences[0]
    )
    assert "`perceptual` takes 2.0 times" in sentences[1]
    closer = [replace(point, value=100.0) if point.run_id == 5 else point for point in points]
    comparison = build_comparison(study, runs, by_run(runs, [1, 2, 3, 3, 1, 2]), closer)
    sentences = texts(comparison, "cost")
    assert "overlap: single runs reached 50 to 110 and 100 to 121 pictures/s" in sentences[0]


def test_collapse_is_reported_first_and_a_lopsided_discriminator_too(store):
    study, runs = study_of(store, seeds=1)
    values = [measured(run, 0.02, "diversity") for run in runs]
    for run in runs[:1]:
        values += [
            measured(run, value, name)
            for name, value in (
                ("d_real_accuracy", 0.94), ("d_fake_accuracy", 0.06), ("d_accuracy", 0.5)
            )
        ]  # fmt: skip

    sentences = texts(build_comparison(study, runs, values, []))

    assert sentences[0].startswith(
        "The pictures of `standard`, `perceptual` and `regularized` vary"
    )
    assert any(
        "The discriminator of `standard` classifies nearly all patches as real" in text
        for text in sentences
    )


def test_no_difference_is_reported_without_a_test(store):
    study, runs = study_of(store, seeds=1)

    comparison = build_comparison(study, runs, by_run(runs, [1, 2, 3]), [])

    assert texts(comparison, "difference") == []


def test_incomparable_values_and_biased_metrics_are_reported(store):
    study, runs = study_of(store, seeds=1)
    runs = [replace(run, resolved=run.config) for run in runs]  # all trained against Lite0
    values = [measured(run, 1.0, "fd_lite2", extractor="efficientnet_lite2") for run in runs[:2]]
    values.append(measured(runs[2], 1.0, "fd_lite2", px=64, extractor="efficientnet_lite2"))

    sentences = texts(build_comparison(study, runs, values, []))

    assert any(text.startswith("`regularized` is not compared in") for text in sentences)
    assert any(
        "`perceptual` was trained against efficientnet_lite0, a close relative" in text
        for text in sentences
    )


def test_an_empty_study_has_no_findings(store):
    study, runs = study_of(store, seeds=1)

    assert build_findings(build_comparison(study, runs, [], [])) == []
    assert len(NAMES) == 3
