"""A probe measures real steps, remembers them, and does so alone."""

import json

import pytest

from engine import estimates, jobs, prober, processes
from engine.records import RunState
from engine.supervisor import _Supervisor
from tests.conftest import NOW, tiny_config


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"generator": "resnet18_unet", "px": "64"}])
def test_a_probe_remembers_speed_and_memory(store, tiny_settings, monkeypatch, changes):
    monkeypatch.setattr(prober, "ENOUGH_S", 0.1)
    configs = [tiny_config(name, **changes) for name in ("standard", "perceptual")]
    subject = json.dumps([it.model_dump(mode="json") for it in configs])
    store.add_job("probe", subject, NOW)
    job = store.claim_job(NOW, "probe")

    assert prober.probe(store, tiny_settings, job, lambda: False) == (RunState.DONE, None)

    found = store.read_probes(processes.host())
    assert set(found) == {estimates.work_of(it) for it in configs}
    for it in found.values():
        assert 0 < it.images_per_second < 1e6
        assert 50 < it.memory_mb < 1e5


def test_kinds_of_work_are_measured_once_each(store, settings, monkeypatch):
    monkeypatch.setattr(jobs, "ensure_supervisor", lambda settings: None)
    configs = [
        tiny_config(name, seed) for name in ("standard", "gan", "regularized") for seed in (0, 1)
    ]

    job = jobs.submit_probe(store, settings, configs, NOW)
    again = jobs.submit_probe(store, settings, configs, NOW)

    assert again == job
    assert len(json.loads(job.subject)) == 2


@pytest.mark.parametrize("first", ["train", "probe"])
def test_nothing_is_measured_while_something_trains_and_the_other_way_round(
    store, settings, monkeypatch, first
):
    settings.artifacts.mkdir(parents=True)
    store.add_study("key", "a study", [tiny_config()], NOW)
    store.add_job("probe", "[]", NOW)
    supervisor = _Supervisor(store, settings, None)
    started = []
    monkeypatch.setattr(supervisor, "start", started.append)
    other = {"train": "probe", "probe": "train"}[first]

    assert supervisor.fill(first, store.read_jobs(RunState.RUNNING)) == 1
    assert supervisor.fill(other, store.read_jobs(RunState.RUNNING)) == 0
    assert [it.kind for it in started] == [first]
