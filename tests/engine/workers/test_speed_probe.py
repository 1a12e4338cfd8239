"""A probe measures real steps, remembers them, and does so alone."""

import json

import pytest

from engine.jobs import estimates, lifecycle
from engine.jobs.supervisor import _Supervisor
from engine.records.runs import RunState
from engine.system import processes
from engine.workers import speed_probe
from tests.conftest import NOW, tiny_config


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"generator": "resnet18_unet", "px": "64"}])
def test_a_probe_remembers_speed_and_memory(store, tiny_settings, monkeypatch, changes):
    monkeypatch.setattr(speed_probe, "ENOUGH_S", 0.1)
    configs = [tiny_config(name, **changes) for name in ("standard", "perceptual")]
    subject = json.dumps([it.model_dump(mode="json") for it in configs])
    store.add_job("probe", subject, NOW)
    job = store.claim_job(NOW, "probe")

    assert speed_probe.probe(store, tiny_settings, job, lambda: False) == (RunState.DONE, None)

    found = store.read_probes(processes.host())
    assert set(found) == {estimates.work_of(it) for it in configs}
    for it in found.values():
        assert 0 < it.images_per_second < 1e6
        assert 50 < it.memory_mb < 1e5


def test_kinds_of_work_are_measured_once_each(store, settings, monkeypatch):
    monkeypatch.setattr(lifecycle, "ensure_supervisor", lambda settings: None)
    configs = [
        tiny_config(name, seed) for name in ("standard", "gan", "regularized") for seed in (0, 1)
    ]

    job = lifecycle.submit_probe(store, settings, configs, NOW)
    again = lifecycle.submit_probe(store, settings, configs, NOW)

    assert again == job
    assert len(json.loads(job.subject)) == 2


@pytest.fixture
def looking(store, settings, monkeypatch):
    """A supervisor that starts no process: -> (look at the queue, kinds that it started)."""
    settings.artifacts.mkdir(parents=True)
    supervisor, started = _Supervisor(store, settings, None), []
    monkeypatch.setattr(supervisor, "start", lambda job: started.append(job.kind))
    monkeypatch.setattr(supervisor, "reap", lambda: None)
    return supervisor.look, started


def test_in_one_look_a_run_and_a_probe_are_not_both_started(store, looking):
    look, started = looking
    store.add_study("key", "a study", [tiny_config()], NOW)
    store.add_job("probe", "[]", NOW)

    look()
    look()

    assert started == ["train"]


@pytest.mark.parametrize("other", ["train", "check"])
def test_while_it_is_measured_nothing_begins(store, looking, other):
    look, started = looking
    store.add_job("probe", "[]", NOW)
    look()
    store.add_study("key", "a study", [tiny_config()], NOW)
    store.add_job("check", "openmoji", NOW)

    look()

    assert started == ["probe"]
    (job,) = store.read_jobs(RunState.RUNNING)
    store.finish_job(job, RunState.DONE, None, NOW)
    look()
    assert set(started) == {"probe", "train", "check"}
