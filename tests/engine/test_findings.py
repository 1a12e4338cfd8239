import re
from dataclasses import replace

import pytest

from engine.findings import findings
from engine.report import build_comparison
from tests.engine.test_report import NAMES, by_run, measured, noise, study_of

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
        r"`perceptual` has the lower kernel distance \(Lite2\) than "
        r"`standard` \(-0\.012\d, 95 % -0\.01\d+ to -0\.01\d+\) and `regularized`",
        first,
    )
    assert first.endswith("The other pairs do not differ beyond the noise.")


def test_no_difference_beyond_the_noise_is_told_too(one_seed):
    assert "No difference in PSNR beyond the noise." in texts(one_seed, "same")


def test_a_distance_that_disagrees_with_the_colours_is_told(one_seed):
    (text,) = texts(one_seed, "colour")

    assert text.startswith(
        "`perceptual` is nearer in features than `standard` and `regularized` but paler: "
        "colourfulness 29.0 against the targets' 50.0 (`standard` and `regularized`: 45.0 and 45.0)"
    )


def test_one_seed_says_what_it_cannot_tell(one_seed):
    assert any("one seed cannot tell" in text for text in texts(one_seed, "caution"))


def test_seeds_that_tell_nothing_apart_are_said_to(store):
    study, runs = study_of(store, seeds=3)
    comparison = build_comparison(study, runs, by_run(runs, [1, 2, 3, 3, 1, 2, 2, 3, 1]), [])

    assert texts(comparison) == ["No difference in PSNR beyond the noise."]


def test_what_was_not_tested_is_not_spoken_of(store):
    study, runs = study_of(store, seeds=1)

    comparison = build_comparison(study, runs, by_run(runs, [1, 2, 3]), [])

    assert texts(comparison, "difference") == []


def test_incomparable_values_and_flattering_judges_are_named(store):
    study, runs = study_of(store, seeds=1)
    runs = [replace(run, resolved=run.config) for run in runs]
    values = [measured(run, 1.0, "fd_lite2", extractor="efficientnet_lite0") for run in runs[:2]]
    values.append(measured(runs[2], 1.0, "fd_lite2", px=64, extractor="efficientnet_lite0"))

    found = texts(build_comparison(study, runs, values, []))

    assert any(text.startswith("`regularized` is not compared in") for text in found)
    assert any("trained against the network behind" in text for text in found)


def test_an_empty_study_has_no_findings(store):
    study, runs = study_of(store, seeds=1)

    assert findings(build_comparison(study, runs, [], [])) == []
    assert len(NAMES) == 3
