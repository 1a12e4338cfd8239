"""Studies with invented evaluations, for tests of comparisons."""

from dataclasses import replace

import numpy as np

from engine.records.runs import CheckpointEvaluation, Evaluation, RunState
from tests.support.runs import NOW, tiny_config

NAMES = ("standard", "perceptual", "regularized")


def measured(run, value, name="psnr", epoch=3, halves=None, **protocol):
    """An evaluation of one run on the test split, with its values on random halves."""
    return Evaluation(
        run_id=run.id,
        split="test",
        name=name,
        value=value,
        n_pictures=32,
        epoch=epoch,
        low=None if halves is None else value - 1,
        high=None if halves is None else value + 1,
        protocol={"data_fingerprint": "a", "px": 32, **protocol},
        halves=None if halves is None else np.asarray(halves, "<f4").tobytes(),
    )


def absent(run, name, epoch=3, **protocol):
    """The evaluation of a metric that could not be computed."""
    return replace(measured(run, None, name, epoch, **protocol), missing="no weights")


def without_inception(run, epoch=3):
    """The evaluation of a checkpoint on a machine without the weights of Inception."""
    missing_names = ("fid", "kid", "is_mean", "is_std")
    return [measured(run, 9.0, epoch=epoch), *(absent(run, name, epoch) for name in missing_names)]


def add_study_without_inception(store):
    """Adds study 1, whose first run has ended and was evaluated without Inception."""
    study_of(store, 1)
    job = store.jobs.claim(NOW)
    evaluation = CheckpointEvaluation(tuple(without_inception(store.runs.read(job.run_id))))
    store.evaluations.add(job, evaluation, NOW)
    store.jobs.finish(job, RunState.DONE, None, NOW)


def study_of(store, seeds, names=NAMES):
    configs = [tiny_config(name, seed) for name in names for seed in range(seeds)]
    study, runs = store.studies.add(f"key {seeds}", "a study", configs, NOW)
    return study, [replace(run, state=RunState.DONE) for run in runs]


def by_run(runs, values):
    return [measured(run, value) for run, value in zip(runs, values, strict=True)]


def noise(seed=0):
    return np.random.default_rng(seed).standard_normal(200)
