import pytest

from engine.data.sources.openmoji import OpenMoji
from engine.errors import BadInputError, EngineError
from engine.jobs import lifecycle, planning, spawn
from engine.presets import SKETCH_STUDY_CONFIGURATIONS
from tests.support.runs import NOW


@pytest.fixture(autouse=True)
def no_supervisor(monkeypatch):
    """No supervisor is started."""
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)


@pytest.fixture
def configs(settings):
    return planning.plan_study(OpenMoji(), "smoke", SKETCH_STUDY_CONFIGURATIONS, 1, {}, settings)


def test_a_request_that_is_submitted_twice_queues_one_study(store, settings, configs):
    first = lifecycle.submit(store, settings, configs, "a", "key", NOW)
    second = lifecycle.submit(store, settings, configs, "a", "key", NOW)

    assert first == second
    assert len(store.runs.read_all()) == 3


def test_nothing_is_queued_if_the_artifacts_cannot_be_written(store, settings, configs):
    settings.artifacts.mkdir(mode=0o555)

    with pytest.raises(EngineError, match="cannot be written"):
        lifecycle.submit(store, settings, configs, "a", "key", NOW)

    assert store.studies.read_all() == []


def test_a_run_that_has_ended_cannot_be_cancelled(store, settings, configs):
    lifecycle.submit(store, settings, configs, "a", "key", NOW)
    lifecycle.cancel(store, settings, 1, NOW)

    with pytest.raises(BadInputError, match="stopped already"):
        lifecycle.cancel(store, settings, 1, NOW)
