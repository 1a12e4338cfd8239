"""The time left is estimated from the recorded steps, not from the start of the process."""

from dataclasses import replace
from datetime import timedelta

import pytest

from engine.jobs import progress
from engine.jobs.progress import RunProgress
from engine.records.curves import MetricPoint
from engine.records.runs import RunState
from tests.support.runs import NOW, tiny_config

STEP_S = 0.25


@pytest.fixture
def runs(store):
    configs = [tiny_config(seed=seed) for seed in range(3)]
    return store.studies.add("key", "a study", configs, NOW)[1]


def running(run, step, steps=400, **changes):
    """The run at a step of its first attempt."""
    values = {"state": RunState.RUNNING, "phase": "training", "step": step, "steps": steps}
    return replace(run, **{**values, "started_at": NOW, "attempt": 1, **changes})


def make_span(first, last, started_s=20.0):
    """The first and the last point of an attempt that recorded its first step after some time."""
    first_at = NOW.timestamp() + started_s
    return tuple(
        MetricPoint(1, step, 1, "l1", 0.5, at=first_at + (step - first) * STEP_S)
        for step in (first, last)
    )


def time_of_last(span):
    return NOW + timedelta(seconds=span[1].at - NOW.timestamp())


def measure(run, span, evaluation_s, seconds_later=0.0):
    """The progress some seconds after the last point."""
    now = time_of_last(span) + timedelta(seconds=seconds_later)
    return progress.measure_progress(run, span, evaluation_s, now)


def test_the_time_left_follows_the_time_per_step_and_not_the_start(runs):
    result = measure(running(runs[0], 101), make_span(1, 101), evaluation_s=10.0)

    assert result.seconds_left == pytest.approx(299 * STEP_S + 10.0)
    assert result.images_per_second == pytest.approx(8 / STEP_S)


def test_the_progress_of_a_resumed_run_is_measured_in_its_new_attempt(runs):
    result = measure(running(runs[0], 211), make_span(201, 211), evaluation_s=0.0)

    assert result.seconds_left == pytest.approx(189 * STEP_S)


def test_the_time_since_the_last_point_is_subtracted(runs):
    run, span = running(runs[0], 101), make_span(1, 101)

    result = measure(run, span, evaluation_s=0.0, seconds_later=5)

    assert result.seconds_left == pytest.approx(299 * STEP_S - 5)


def test_the_time_left_of_an_evaluation_decreases(runs):
    run = running(runs[0], 400, phase="evaluating the chosen epoch, 4: 64 of 237")

    result = measure(run, make_span(301, 400), evaluation_s=12.0, seconds_later=4)

    assert result.seconds_left == 8.0


@pytest.mark.parametrize(
    ("step", "from_step", "start"), [(10, 0, 0), (390, 0, 257), (210, 200, 200)]
)
def test_the_window_is_the_last_epoch_of_this_attempt(runs, step, from_step, start):
    assert progress.window_start(running(runs[0], step, epochs=3), from_step) == start


def test_without_two_points_no_time_is_estimated(runs):
    run = running(runs[0], 1)

    assert progress.measure_progress(run, None, 0.0, NOW) == RunProgress(None, None)
    assert progress.measure_progress(run, make_span(1, 1), 0.0, NOW) == RunProgress(None, None)
    assert progress.study_seconds_left([run], {run.id: RunProgress(None, None)}) is None


def test_queued_runs_take_as_long_as_done_and_running_runs(runs):
    done = running(runs[0], 400, state=RunState.DONE, ended_at=NOW + timedelta(seconds=100))
    active = running(runs[1], 200)
    by_run = {active.id: RunProgress(40.0, 30.0, total_s=80.0)}

    seconds_left = progress.study_seconds_left([done, active, runs[2]], by_run)

    assert seconds_left == pytest.approx(40 + (100 + 80) / 2)


@pytest.mark.parametrize("step", [200, 360, 396, 400])
def test_the_estimate_of_queued_runs_does_not_grow_while_a_run_nears_its_end(runs, step):
    run = running(runs[0], step)
    by_run = {run.id: measure(run, make_span(max(1, step - 100), step), evaluation_s=60.0)}

    seconds_left = progress.study_seconds_left([run, *runs[1:]], by_run)

    assert seconds_left == pytest.approx((400 - step) * STEP_S + 60 + 2 * (400 * STEP_S + 60))


def test_without_the_time_of_the_evaluation_only_the_speed_is_measured(runs):
    result = measure(running(runs[0], 101), make_span(1, 101), evaluation_s=None)

    assert result.seconds_left is None
    assert result.images_per_second == pytest.approx(8 / STEP_S)


def test_an_ended_study_has_no_time_left(runs):
    ended = [running(run, 400, state=RunState.STOPPED) for run in runs]

    assert progress.study_seconds_left(ended, {}) == 0.0
