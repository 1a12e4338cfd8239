"""Real supervisors; their runs are tested in `launchers/test_contract.py`."""

from functools import partial

import pytest

from engine.data.sources.openmoji import OpenMoji
from engine.jobs import lifecycle, planning, spawn
from engine.presets import DEFAULT_CONFIGURATIONS
from engine.records.runs import RunState
from engine.store import utc_now
from tests.support.runs import TIMEOUT_S, kill_processes_of, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def supervise(supervise_with, tiny_settings):
    return partial(supervise_with, tiny_settings)


@pytest.fixture
def submit(store, tiny_settings, monkeypatch):
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)

    def start(configurations=("standard",), **changes):
        configs = planning.plan_study(
            OpenMoji(), "smoke", configurations, 1, changes, tiny_settings
        )
        key = f"key {len(store.studies.read_all())}"
        return lifecycle.submit(store, tiny_settings, configs, "a", key, utc_now())[1]

    return start


def states(store):
    return [run.state for run in store.runs.read_all()]


def test_a_supervisor_with_drain_exits_after_all_runs_are_done(store, supervise, submit):
    submit(DEFAULT_CONFIGURATIONS)

    child = supervise("--drain")

    assert child.wait(timeout=TIMEOUT_S) == 0
    assert states(store) == [RunState.DONE] * 3
    points = store.curves.read([1, 2, 3])
    assert len({(point.run_id, point.step, point.name) for point in points}) == len(points)


def test_a_second_supervisor_exits(store, supervise, submit, tiny_settings):
    submit(epochs="40")
    first = supervise()
    wait_for(lambda: spawn.is_supervisor_running(tiny_settings))

    second = supervise()

    assert second.wait(timeout=90) == 0
    assert first.poll() is None


def test_submitting_starts_a_supervisor_that_runs_the_study(store, tiny_settings):
    configs = planning.plan_study(OpenMoji(), "smoke", ["gan"], 1, {}, tiny_settings)

    lifecycle.submit(store, tiny_settings, configs, "a", "key", utc_now())
    lifecycle.submit(store, tiny_settings, configs, "a", "key", utc_now())

    try:
        wait_for(lambda: states(store) == [RunState.DONE])
    finally:
        kill_processes_of(tiny_settings)
