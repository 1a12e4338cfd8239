"""How long is left: right after the first epoch, whatever the start cost."""

from dataclasses import replace
from datetime import timedelta

import pytest

from engine.jobs import progress
from engine.jobs.progress import Going
from engine.records.curves import MetricPoint
from engine.records.runs import RunState
from tests.conftest import NOW, tiny_config

STEP_S = 0.25


@pytest.fixture
def runs(store):
    _, runs = store.add_study("key", "a study", [tiny_config(seed=it) for it in range(3)], NOW)
    return runs


def at_work(run, step, steps=400, **changes):
    values = {"state": RunState.RUNNING, "phase": "training", "step": step, "steps": steps}
    return replace(run, **{**values, "started_at": NOW, "attempt": 1, **changes})


def span(first, last, started_s=20.0):
    """Points of an attempt that took a while to start."""
    began = NOW.timestamp() + started_s
    return tuple(
        MetricPoint(1, step, 1, "l1", 0.5, at=began + (step - first) * STEP_S)
        for step in (first, last)
    )


def moment(found):
    return NOW + timedelta(seconds=found[1].at - NOW.timestamp())


def test_the_time_left_follows_the_pace_of_steps_and_not_the_start(runs):
    found = span(1, 101)

    going = progress.going(at_work(runs[0], 101), found, tail_s=10.0, now=moment(found))

    assert going.seconds_left == pytest.approx(299 * STEP_S + 10.0)
    assert going.images_per_second == pytest.approx(8 / STEP_S)


def test_a_resumed_run_is_judged_by_its_new_attempt_alone(runs):
    found = span(201, 211)

    going = progress.going(at_work(runs[0], 211), found, tail_s=0.0, now=moment(found))

    assert going.seconds_left == pytest.approx(189 * STEP_S)


def test_the_time_since_the_last_word_counts(runs):
    found = span(1, 101)
    later = moment(found) + timedelta(seconds=5)

    going = progress.going(at_work(runs[0], 101), found, tail_s=0.0, now=later)

    assert going.seconds_left == pytest.approx(299 * STEP_S - 5)


def test_an_evaluation_counts_down(runs):
    run = at_work(runs[0], 400, phase="evaluating the chosen epoch, 4: 64 of 237")
    found = span(301, 400)

    going = progress.going(run, found, tail_s=12.0, now=moment(found) + timedelta(seconds=4))

    assert going.seconds_left == 8.0


@pytest.mark.parametrize(
    ("step", "from_step", "start"), [(10, 0, 0), (390, 0, 257), (210, 200, 200)]
)
def test_the_pace_is_that_of_the_last_epoch_in_this_attempt(runs, step, from_step, start):
    assert progress.window_start(at_work(runs[0], step, epochs=3), from_step) == start


def test_before_there_is_a_pace_nothing_is_told(runs):
    run = at_work(runs[0], 1)

    assert progress.going(run, None, 0.0, NOW) == Going(None, None)
    assert progress.going(run, span(1, 1), 0.0, NOW) == Going(None, None)
    assert progress.study_seconds_left([run], {run.id: Going(None, None)}) is None


def test_waiting_runs_take_as_long_as_those_that_are_done(runs):
    done = at_work(runs[0], 400, state=RunState.DONE, ended_at=NOW + timedelta(seconds=100))
    active = at_work(runs[1], 200)

    known = {active.id: Going(40.0, 30.0, whole_s=80.0)}

    left = progress.study_seconds_left([done, active, runs[2]], known)

    assert left == pytest.approx(40 + (100 + 80) / 2)


@pytest.mark.parametrize("step", [200, 360, 396, 400])
def test_a_run_that_nears_its_end_does_not_inflate_those_that_wait(runs, step):
    found = span(max(1, step - 100), step)
    run = at_work(runs[0], step)
    known = {run.id: progress.going(run, found, tail_s=60.0, now=moment(found))}

    left = progress.study_seconds_left([run, *runs[1:]], known)

    assert left == pytest.approx((400 - step) * STEP_S + 60 + 2 * (400 * STEP_S + 60))


def test_without_its_pictures_nothing_is_told_of_the_time_but_the_speed(runs):
    found = span(1, 101)

    going = progress.going(at_work(runs[0], 101), found, tail_s=None, now=moment(found))

    assert going.seconds_left is None
    assert going.images_per_second == pytest.approx(8 / STEP_S)


def test_a_study_that_is_over_takes_no_time(runs):
    ended = [at_work(run, 400, state=RunState.STOPPED) for run in runs]

    assert progress.study_seconds_left(ended, {}) == 0.0
