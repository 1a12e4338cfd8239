"""The app on a store of the test's own, in each state that a page may meet."""

import os

import numpy as np
import pytest
import streamlit as st

from engine import weights
from engine.images import grids
from engine.jobs import lifecycle
from engine.records.curves import MetricPoint
from engine.records.runs import Checkpoint, Evaluation, Judgement, RunState, Sample
from engine.system import processes
from tests.conftest import NOW, tiny_config

NAMES = ("standard", "perceptual", "regularized")


@pytest.fixture
def app_settings(settings, monkeypatch):
    """The environment that the app reads, and nothing left of another test's store."""
    settings.artifacts.mkdir(parents=True)
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(settings.artifacts))
    monkeypatch.setattr(lifecycle, "ensure_supervisor", lambda settings: None)
    st.cache_resource.clear()
    return settings


def add_study(store, key="key", name="a study", names=NAMES):
    return store.add_study(key, name, [tiny_config(it, epochs=3) for it in names], NOW)


def train(store, settings, epochs, state=None, reason=None):
    """Takes the next run through some epochs, as a worker would record them."""
    job = store.claim_job(NOW)
    run = store.read_run(job.run_id)
    store.start_run(job, run.config, 24, {"torch": "2"}, NOW)
    store.set_phase(job, "training", NOW)
    for epoch in range(1, epochs + 1):
        record_epoch(store, settings, job, epoch)
    if state is not None:
        if state == RunState.DONE:
            record_evaluation(store, job, epochs)
        store.finish_job(job, state, reason, NOW)
    return job


def record_epoch(store, settings, job, epoch):
    run_id, last = job.run_id, epoch * 8
    points = [
        MetricPoint(run_id, step, epoch, name, 1 / step)
        for step in range(last - 7, last + 1)
        for name in ("g_loss", "d_loss", "adversarial", "l1")
    ]
    points += [
        MetricPoint(run_id, last, epoch, name, value)
        for name, value in (("val_psnr", 10.0 + epoch), ("images_per_second", 140.0))
    ]
    store.add_metrics(job, epoch, last, points, NOW)
    grey = np.full((8, 32, 32, 3), 20 * epoch, np.uint8)
    folder = settings.run_dir(run_id) / "samples"
    files = grids.save_samples(folder, epoch, grey, grey, grey)
    paths = {name: settings.relative(path) for name, path in vars(files).items()}
    store.add_sample(job, Sample(run_id, epoch, last, **paths), NOW)
    store.add_checkpoint(job, Checkpoint(run_id, epoch, last, True, "x.pt", "00", 1, False), NOW)
    store.choose_checkpoint(job, epoch, NOW)


def record_evaluation(store, job, epoch):
    fixed = {"data_fingerprint": "a", "px": 32}
    judged = {**fixed, "weights_sha256": weights.CATALOG["efficientnet_lite2"].sha256}
    found = (
        Evaluation(job.run_id, "test", "psnr", 16.0, 32, epoch, 15.5, 16.5, protocol=fixed),
        Evaluation(job.run_id, "test", "kd_lite2", 0.05, 32, epoch, protocol=judged),
        Evaluation(job.run_id, "test", "fid", None, 0, epoch, missing="no weights here"),
    )
    store.add_judgement(job, Judgement(found), NOW)


@pytest.fixture
def empty(app_settings, store):
    return store


@pytest.fixture
def queued(app_settings, store):
    add_study(store)
    return store


@pytest.fixture
def running(app_settings, store):
    add_study(store)
    job = train(store, app_settings, epochs=2)
    store.set_process(job, processes.identify(os.getpid()), NOW)
    return store


@pytest.fixture
def finished(app_settings, store):
    add_study(store)
    for _ in NAMES:
        train(store, app_settings, 3, RunState.DONE)
    return store


@pytest.fixture
def failed(app_settings, store):
    add_study(store, name="![x](http://nowhere/x.png) *loud*")
    train(store, app_settings, 1, RunState.FAILED, "out of *memory*")
    train(store, app_settings, 1, RunState.DIVERGED, "diverged: l1 became infinite at step 3")
    train(store, app_settings, 0, RunState.CRASHED, "killed by the system")
    return store
