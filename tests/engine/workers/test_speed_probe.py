"""A speed probe measures training steps, stores the result, and runs alone."""

import json
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import nn

from engine.jobs import estimates, lifecycle, spawn
from engine.jobs.supervisor import Supervisor
from engine.records.runs import RunState
from engine.system import processes
from engine.workers import speed_probe
from tests.support.runs import NOW, tiny_config


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"jitter": "0"}, {"generator": "resnet18_unet", "px": "64"}]
)
def test_a_probe_stores_speed_and_memory(store, tiny_settings, monkeypatch, changes):
    monkeypatch.setattr(speed_probe, "MIN_SECONDS", 0.1)
    configs = [tiny_config(name, **changes) for name in ("standard", "perceptual", "vivid")]
    subject = json.dumps([config.model_dump(mode="json") for config in configs])
    store.jobs.add("probe", subject, NOW)
    job = store.jobs.claim(NOW, "probe")

    assert speed_probe.probe(store, tiny_settings, job, lambda: False) == (RunState.DONE, None)

    probes = store.machines.read_probes([processes.host_id()])
    assert set(probes) == {estimates.workload_key(config) for config in configs}
    for probe in probes.values():
        assert 0 < probe.images_per_second < 1e6
        assert 50 < probe.memory_mb < 1e5


def test_a_probe_does_not_wait_for_the_download_of_vgg19(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    layers = nn.Sequential(*(nn.Identity() for _ in range(37)))
    monkeypatch.setattr(
        torchvision.models, "vgg19", lambda weights: SimpleNamespace(features=layers)
    )
    config = tiny_config("perceptual", perceptual_features="vgg19")

    extract = speed_probe._build_feature_extractor(config, settings, torch.device("cpu"))

    assert len(extract(torch.zeros(1, 3, 32, 32))) == 5


def test_each_workload_is_measured_once(store, settings, monkeypatch):
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    configs = [
        tiny_config(name, seed) for name in ("standard", "gan", "regularized") for seed in (0, 1)
    ]

    job = lifecycle.submit_probe(store, settings, configs, NOW)
    second = lifecycle.submit_probe(store, settings, configs, NOW)

    assert second == job
    assert len(json.loads(job.subject)) == 2


@pytest.fixture
def supervisor_tick(store, settings, monkeypatch):
    """A supervisor that starts no process: (its tick, the kinds of jobs that it started)."""
    settings.artifacts.mkdir(parents=True)
    supervisor, started = Supervisor(store, settings, None), []
    monkeypatch.setattr(supervisor, "start", lambda job: started.append(job.kind))
    monkeypatch.setattr(supervisor, "reap", lambda: None)
    return supervisor.tick, started


def test_a_run_and_a_probe_are_not_started_together(store, supervisor_tick):
    tick, started = supervisor_tick
    store.studies.add("key", "a study", [tiny_config()], NOW)
    store.jobs.add("probe", "[]", NOW)

    tick()
    tick()

    assert started == ["train"]


@pytest.mark.parametrize("other", ["train", "check"])
def test_no_other_job_is_started_while_a_probe_runs(store, supervisor_tick, other):
    tick, started = supervisor_tick
    store.jobs.add("probe", "[]", NOW)
    tick()
    store.studies.add("key", "a study", [tiny_config()], NOW)
    store.jobs.add("check", "openmoji", NOW)

    tick()

    assert started == ["probe"]
    (job,) = store.jobs.read_all(RunState.RUNNING)
    store.jobs.finish(job, RunState.DONE, None, NOW)
    tick()
    assert set(started) == {"probe", "train", "check"}
