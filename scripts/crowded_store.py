"""Fills a store with 200 runs of about 20,000 curve points and 50 sample grids each."""

import os
from itertools import product

import numpy as np

from engine import weights
from engine.config import RunConfig
from engine.images import grids
from engine.overrides import apply_settings
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.records.curves import MetricPoint
from engine.records.runs import Checkpoint, CheckpointEvaluation, Evaluation, Job, RunState, Sample
from engine.settings import Settings
from engine.store import Store, utc_now

# (number of configurations, number of seeds) of each study. The first study is added last, so that
# it is the newest one; pages are measured with it.
STUDIES = ((4, 25), *((5, 2),) * 10)
MEASURED_STUDY = len(STUDIES)
N_EPOCHS = 50
N_STEPS = 2850
STEP_CURVES = (
    "g_loss",
    "d_loss",
    "adversarial",
    "l1",
    "total_variation",
    "d_train_accuracy",
    "lr_g",
)
EPOCH_CURVES = ("val_psnr", "val_g_loss", "images_per_second", "epoch_seconds", "peak_memory_mb")
TYPICAL_VALUES = {"psnr": 16.0, "ssim": 0.8, "mae": 0.08, "delta_e": 14.0, "kd_lite2": 0.05}


def fill(settings: Settings) -> None:
    """Fills the store and the artifacts folder of the settings."""
    settings.require_writable_artifacts()
    store = Store(settings.database_url)
    for number, (n_configurations, n_seeds) in enumerate(reversed(STUDIES), 1):
        names = list(CONFIGURATIONS)[:n_configurations]
        configs = [
            apply_settings(
                RunConfig(
                    data="openmoji",
                    configuration=CONFIGURATIONS[name],
                    budget=BUDGETS["demo"],
                    seed=seed,
                ),
                {"epochs": str(N_EPOCHS)},
            )
            for name, seed in product(names, range(n_seeds))
        ]
        store.studies.add(f"crowd-{number}", f"study of {len(configs)} runs", configs, utc_now())
    first_job = None
    while (job := store.jobs.claim(utc_now())) is not None:
        first_job = first_job or job
        record_run(store, settings, job, first_job)
    store.close()


def record_run(store: Store, settings: Settings, job: Job, first_job: Job) -> None:
    """Records a finished run in the same way as a worker."""
    run = store.runs.read(job.run_id or 0)
    generator = np.random.default_rng(run.id)
    environment = {"torch": "2", "data_fingerprint": "crowd"}
    store.runs.start(job, run.config, N_STEPS, environment, utc_now())
    began, steps_per_epoch = utc_now().timestamp() - 4 * N_STEPS, N_STEPS // N_EPOCHS
    noise = generator.normal(1, 0.1, (N_STEPS, len(STEP_CURVES)))
    points = [
        MetricPoint(
            *(run.id, step, (step - 1) // steps_per_epoch + 1, name),
            float(noise[step - 1, column] / step**0.3),
            at=began + step,
        )
        for step in range(1, N_STEPS + 1)
        for column, name in enumerate(STEP_CURVES)
    ]
    for epoch in range(1, N_EPOCHS + 1):
        step = epoch * steps_per_epoch
        points += [
            MetricPoint(run.id, step, epoch, name, 10 + epoch**0.5, at=began + step)
            for name in EPOCH_CURVES
        ]
    store.curves.add_points(job, N_EPOCHS, N_STEPS, points, utc_now())
    for epoch in range(1, N_EPOCHS + 1):
        add_sample(store, settings, job, first_job, epoch)
    saved = Checkpoint(run.id, N_EPOCHS, N_STEPS, True, "x", "0", 1, False)
    store.checkpoints.add(job, saved, utc_now())
    store.checkpoints.choose(job, N_EPOCHS, utc_now())
    store.evaluations.add(
        job, CheckpointEvaluation(tuple(evaluations_of(run.id, generator))), utc_now()
    )
    store.jobs.finish(job, RunState.DONE, None, utc_now())


def add_sample(store: Store, settings: Settings, job: Job, first_job: Job, epoch: int) -> None:
    """Adds the sample grid of an epoch; the other runs get hard links to the first run's files."""
    run_id = job.run_id or 0
    folder = settings.run_dir(run_id) / "samples"
    first_folder = settings.run_dir(first_job.run_id or 0) / "samples"
    if job is first_job:
        pictures = np.full((8, 64, 64, 3), 5 * epoch, np.uint8)
        grids.save_samples(folder, epoch, pictures, pictures, pictures)
    elif epoch == 1:
        folder.mkdir(parents=True)
        for path in first_folder.iterdir():
            os.link(path, folder / path.name)
    name = f"epoch-{epoch:05d}"
    files = {
        "grid": f"{name}.png",
        "source": "source.png",
        "target": "target.png",
        "fake": f"{name}-fake.png",
        "thumbnail": f"{name}-small.png",
    }
    paths = {part: settings.relative(folder / file) for part, file in files.items()}
    sample = Sample(run_id, epoch, epoch * N_STEPS // N_EPOCHS, **paths)
    store.runs.add_sample(job, sample, utc_now())


def evaluations_of(run_id: int, generator: np.random.Generator) -> list[Evaluation]:
    """Makes a value of each metric, near its typical value."""
    weights_sha256 = weights.CATALOG["efficientnet_lite2"].sha256
    protocols = {"kd_lite2": {"weights_sha256": weights_sha256}}
    return [
        Evaluation(
            *(run_id, "test", name, typical * float(generator.normal(1, 0.02)), 237, N_EPOCHS),
            protocol={"data_fingerprint": "crowd", "px": 64, **protocols.get(name, {})},
        )
        for name, typical in TYPICAL_VALUES.items()
    ]
