"""A store as a busy team has it: 200 runs of 20,000 rows and 50 sample grids each."""

import os
from itertools import product

import numpy as np

from engine import weights
from engine.config import RunConfig
from engine.images import grids
from engine.overrides import apply_settings
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.records.curves import MetricPoint
from engine.records.runs import Checkpoint, Evaluation, Job, Judgement, RunState, Sample
from engine.settings import Settings
from engine.store import Store, utc_now

# (configurations, seeds) of each study; the first is the one that pages are measured on.
STUDIES = ((4, 25), *((5, 2),) * 10)
N_EPOCHS = 50
N_STEPS = 2850
STEPWISE = ("g_loss", "d_loss", "adversarial", "l1", "total_variation", "d_train_accuracy", "lr_g")
EPOCHWISE = ("val_psnr", "val_g_loss", "images_per_second", "epoch_seconds", "peak_memory_mb")
JUDGED = {"psnr": 16.0, "ssim": 0.8, "mae": 0.08, "delta_e": 14.0, "kd_lite2": 0.05}


def fill(settings: Settings) -> None:
    """Fills a store of its own."""
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
        store.add_study(f"crowd-{number}", f"study of {len(configs)} runs", configs, utc_now())
    first = None
    while (job := store.claim_job(utc_now())) is not None:
        first = first or job
        train(store, settings, job, first)
    store.close()


def train(store: Store, settings: Settings, job: Job, first: Job) -> None:
    """One run, as its worker would have recorded it."""
    run = store.read_run(job.run_id or 0)
    chance = np.random.default_rng(run.id)
    environment = {"torch": "2", "data_fingerprint": "crowd"}
    store.start_run(job, run.config, N_STEPS, environment, utc_now())
    began, per_epoch = utc_now().timestamp() - 4 * N_STEPS, N_STEPS // N_EPOCHS
    noise = chance.normal(1, 0.1, (N_STEPS, len(STEPWISE)))
    points = [
        MetricPoint(
            *(run.id, step, (step - 1) // per_epoch + 1, name),
            float(noise[step - 1, column] / step**0.3),
            at=began + step,
        )
        for step in range(1, N_STEPS + 1)
        for column, name in enumerate(STEPWISE)
    ]
    for epoch in range(1, N_EPOCHS + 1):
        step = epoch * per_epoch
        points += [
            MetricPoint(run.id, step, epoch, name, 10 + epoch**0.5, at=began + step)
            for name in EPOCHWISE
        ]
    store.add_metrics(job, N_EPOCHS, N_STEPS, points, utc_now())
    for epoch in range(1, N_EPOCHS + 1):
        add_sample(store, settings, job, first, epoch)
    saved = Checkpoint(run.id, N_EPOCHS, N_STEPS, True, "x", "0", 1, False)
    store.add_checkpoint(job, saved, utc_now())
    store.choose_checkpoint(job, N_EPOCHS, utc_now())
    store.add_judgement(job, Judgement(tuple(judge(run.id, chance))), utc_now())
    store.finish_job(job, RunState.DONE, None, utc_now())


def add_sample(store: Store, settings: Settings, job: Job, first: Job, epoch: int) -> None:
    """An epoch's grid: drawn for the first run, the same files for all others."""
    run_id = job.run_id or 0
    folder = settings.run_dir(run_id) / "samples"
    drawn = settings.run_dir(first.run_id or 0) / "samples"
    if job is first:
        pictures = np.full((8, 64, 64, 3), 5 * epoch, np.uint8)
        grids.save_samples(folder, epoch, pictures, pictures, pictures)
    elif epoch == 1:
        folder.mkdir(parents=True)
        for path in drawn.iterdir():
            os.link(path, folder / path.name)
    name = f"epoch-{epoch:05d}"
    files = {
        "grid": f"{name}.png",
        "source": "source.png",
        "target": "target.png",
        "fake": f"{name}-fake.png",
        "thumbnail": f"{name}-small.png",
    }
    paths = {part: settings.relative(folder / it) for part, it in files.items()}
    sample = Sample(run_id, epoch, epoch * N_STEPS // N_EPOCHS, **paths)
    store.add_sample(job, sample, utc_now())


def judge(run_id: int, chance: np.random.Generator) -> list[Evaluation]:
    """A value of each of some metrics."""
    protocol = {"data_fingerprint": "crowd", "px": 64}
    judge_of = {"kd_lite2": {"weights_sha256": weights.CATALOG["efficientnet_lite2"].sha256}}
    return [
        Evaluation(
            *(run_id, "test", name, value * float(chance.normal(1, 0.02)), 237, N_EPOCHS),
            protocol={**protocol, **judge_of.get(name, {})},
        )
        for name, value in JUDGED.items()
    ]
