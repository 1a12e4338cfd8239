import re
from dataclasses import replace

import pytest

from engine.records.curves import MetricPoint
from engine.records.runs import RunState
from engine.report.comparison import build_comparison
from engine.report.findings import findings
from tests.engine.report.test_comparison import NAMES, by_run, measured, noise, study_of

PALE = {"standard": 45.0, "perceptual": 29.0, "regularized": 45.0}


def texts(comparison, kind=None):
    return [it.text for it in findings(comparison) if kind in (None, it.kind)]


@pytest.fixture
def one_seed(store):
    """`perceptual` wins the kernel distance clearly and is pale; PSNR tells nobody apart."""
    study, runs = study_of(store, seeds=1)
    values, shared = [], noise()
    for run, distance in zip(runs, (0.040, 0.028, 0.0401), strict=True):
        halves = distance + 0.002 * shared + 0.0005 * noise(run.id)
        values.append(measured(run, distance, "kd_lite2", halves=halves))
        values.append(measured(run, 17.0, halves=17 + noise(run.id + 9)))
        colour = measured(run, PALE[run.configuration], "colorfulness")
        values.append(replace(colour, reference=50.0))
    return build_comparison(study, runs, values, [])


def test_a_clear_difference_is_told_with_its_interval(one_seed):
    first = texts(one_seed, "difference")[0]

    assert re.match(
        r"`perceptual` has a lower kernel distance \(Lite2\) than "
        r"`standard` \(\u22120\.012\d, 95 % \u22120\.01\d+ to \u22120\.01\d+\) and `regularized`",
        first,
    )
    assert first.endswith("No other pair is shown to differ.")


def test_no_difference_beyond_the_noise_is_told_too(one_seed):
    (text,) = texts(one_seed, "same")

    assert re.match(r"No difference is beyond the noise in PSNR \(below about \d\.\d+ dB\);", text)


def test_a_distance_that_disagrees_with_the_colours_is_told(one_seed):
    (text,) = texts(one_seed, "colour")

    assert text.startswith(
        "`perceptual` is nearer to the targets in features than `standard` and `regularized` but "
        "paler: colourfulness 29.0 against the targets' 50.0 (`standard` and `regularized`: 45.0 "
        "and 45.0)"
    )


def test_one_seed_says_what_it_cannot_tell(one_seed):
    assert any("one seed cannot tell" in text for text in texts(one_seed, "caution"))


def test_seeds_that_tell_nothing_apart_are_said_to(store):
    study, runs = study_of(store, seeds=3)
    comparison = build_comparison(study, runs, by_run(runs, [1, 2, 3, 3, 1, 2, 2, 3, 1]), [])

    (text,) = texts(comparison)
    assert text.startswith("No difference is beyond the noise in PSNR")


def test_pairs_that_could_not_be_tested_are_not_called_equal(store):
    study, runs = study_of(store, seeds=3)
    runs = [replace(run, state=RunState.FAILED) if run.id in (5, 6) else run for run in runs]
    values = by_run(runs, [21, 22, 20, 35, 0, 0, 20, 22, 21])
    comparison = build_comparison(study, runs, values, [])

    found = texts(comparison)

    assert "Pairs that could not be tested: 2 of 3 in PSNR." in found
    assert not any(text.startswith("No difference") for text in found)
    assert any("`perceptual` has a single seed" in text for text in found)


def test_speeds_that_overlap_are_not_told_apart(store):
    study, runs = study_of(store, seeds=2)
    speeds = (50.0, 110.0, 60.0, 61.0, 120.0, 121.0)
    points = [
        MetricPoint(run.id, 1, 1, "images_per_second", speed)
        for run, speed in zip(runs, speeds, strict=True)
    ]
    comparison = build_comparison(study, runs, by_run(runs, [1, 2, 3, 3, 1, 2]), points)

    found = texts(comparison, "cost")

    assert "`standard` takes 1.5 times the training time per picture of `regularized`" in found[0]
    assert "`perceptual` takes 2.0 times" in found[1]
    closer = [replace(it, value=100.0) if it.run_id == 5 else it for it in points]
    again = texts(build_comparison(study, runs, by_run(runs, [1, 2, 3, 3, 1, 2]), closer), "cost")
    assert "cannot be told: single runs made 50 to 110 and 100 to 121 pictures/s" in again[0]


def test_collapse_comes_first_and_a_one_sided_discriminator_is_named(store):
    study, runs = study_of(store, seeds=1)
    values = [measured(run, 0.02, "diversity") for run in runs]
    for run in runs[:1]:
        values += [
            measured(run, value, name)
            for name, value in (
                ("d_real_accuracy", 0.94), ("d_fake_accuracy", 0.06), ("d_accuracy", 0.5)
            )
        ]  # fmt: skip

    found = texts(build_comparison(study, runs, values, []))

    assert found[0].startswith("The pictures of `standard`, `perceptual` and `regularized` vary")
    assert any("`standard`'s discriminator calls nearly everything true" in it for it in found)


def test_what_was_not_tested_is_not_spoken_of(store):
    study, runs = study_of(store, seeds=1)

    comparison = build_comparison(study, runs, by_run(runs, [1, 2, 3]), [])

    assert texts(comparison, "difference") == []


def test_incomparable_values_and_flattering_judges_are_named(store):
    study, runs = study_of(store, seeds=1)
    runs = [replace(run, resolved=run.config) for run in runs]  # all trained against Lite0
    values = [measured(run, 1.0, "fd_lite2", extractor="efficientnet_lite2") for run in runs[:2]]
    values.append(measured(runs[2], 1.0, "fd_lite2", px=64, extractor="efficientnet_lite2"))

    found = texts(build_comparison(study, runs, values, []))

    assert any(text.startswith("`regularized` is not compared in") for text in found)
    assert any(
        "`perceptual` was trained against efficientnet_lite0, a close relative" in text
        for text in found
    )


def test_an_empty_study_has_no_findings(store):
    study, runs = study_of(store, seeds=1)

    assert findings(build_comparison(study, runs, [], [])) == []
    assert len(NAMES) == 3
