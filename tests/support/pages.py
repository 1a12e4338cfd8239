"""Pages run with Streamlit's AppTest, and studies to show on them."""

import numpy as np
from streamlit.testing.v1 import AppTest

from engine import weights
from engine.images import grids
from engine.records.curves import MetricPoint
from engine.records.runs import Checkpoint, CheckpointEvaluation, Evaluation, RunState, Sample
from engine.settings import PROJECT_ROOT
from tests.support.runs import NOW, tiny_config

PAGES = ("overview", "data", "launch", "live", "run", "gallery", "compare", "colorize")
APP = str(PROJECT_ROOT / "dashboard" / "app.py")


def open_page(name, **query):
    app = AppTest.from_file(APP, default_timeout=30)
    for key, value in query.items():
        app.query_params[key] = value if isinstance(value, list) else str(value)
    app.run()
    return app.switch_page(f"app_pages/{name}.py").run()


def texts(app):
    kinds = (app.markdown, app.caption, app.subheader, app.info, app.error, app.warning)
    written = [str(element.value) for kind in kinds for element in kind]
    return "\n".join([*written, *(element.proto.body for element in app.get("html"))])


NAMES = ("standard", "perceptual", "regularized")


def add_study(store, key="key", name="a study", names=NAMES):
    return store.studies.add(
        key, name, [tiny_config(configuration, epochs=3) for configuration in names], NOW
    )


def train(store, settings, epochs, state=None, reason=None):
    """Records some epochs of the next queued run, as a worker does; returns its job."""
    job = store.jobs.claim(NOW)
    run = store.runs.read(job.run_id)
    store.runs.start(job, run.config, 24, {"torch": "2"}, NOW)
    store.runs.set_phase(job, "training", NOW)
    for epoch in range(1, epochs + 1):
        record_epoch(store, settings, job, epoch)
    if state is not None:
        if state == RunState.DONE:
            record_evaluation(store, job, epochs)
        store.jobs.finish(job, state, reason, NOW)
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
    store.curves.add_points(job, epoch, last, points, NOW)
    grey = np.full((8, 32, 32, 3), 20 * epoch, np.uint8)
    folder = settings.run_dir(run_id) / "samples"
    files = grids.save_samples(folder, epoch, grey, grey, grey)
    paths = {name: settings.relative(path) for name, path in vars(files).items()}
    store.runs.add_sample(job, Sample(run_id, epoch, last, **paths), NOW)
    store.checkpoints.add(job, Checkpoint(run_id, epoch, last, True, "x.pt", "00", 1, False), NOW)
    store.checkpoints.choose(job, epoch, NOW)


def record_evaluation(store, job, epoch):
    fixed = {"data_fingerprint": "a", "px": 32}
    with_network = {**fixed, "weights_sha256": weights.CATALOG["efficientnet_lite2"].sha256}
    evaluations = (
        Evaluation(job.run_id, "test", "psnr", 16.0, 32, epoch, 15.5, 16.5, protocol=fixed),
        Evaluation(job.run_id, "test", "kd_lite2", 0.05, 32, epoch, protocol=with_network),
        Evaluation(job.run_id, "test", "fid", None, 0, epoch, missing="no weights here"),
    )
    store.evaluations.add(job, CheckpointEvaluation(evaluations), NOW)
