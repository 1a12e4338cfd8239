"""Recorded runs without training, and uploads of them to MLflow."""

from engine.records.curves import MetricPoint
from engine.records.runs import RunState
from engine.tracking.uploader import Uploader
from tests.support.runs import NOW


def start_attempt(store, now=NOW):
    """Claims the next run and starts its attempt, as a worker does."""
    job = store.jobs.claim(now)
    store.runs.start(job, store.runs.read(job.run_id).config, 16, {"torch": "2"}, now)
    return job


def record_steps(store, job, first, last):
    """Records the losses of steps; a repeated step has the same losses."""
    points = [
        MetricPoint(job.run_id, step, (step + 7) // 8, name, 1 / step)
        for step in range(first, last + 1)
        for name in ("g_loss", "d_loss", "adversarial", "l1")
    ]
    store.curves.add_points(job, last // 8, last, points, NOW)


def record_whole_run(store, now=NOW):
    job = start_attempt(store, now)
    record_steps(store, job, 1, 16)
    store.jobs.finish(job, RunState.DONE, None, now)


def stop_run(store, job):
    store.jobs.request_run_stop(job.run_id, NOW)
    store.jobs.finish(job, RunState.STOPPED, "stopped by the user", NOW)


class ExportInProcess:
    """Uploads one study in this process, with the job of its export."""

    def __init__(self, store, settings, uri, study_id=1):
        self.store, self.settings = store, settings
        self.export = store.exports.request(study_id, uri, NOW)
        store.jobs.add("export", str(self.export.id), NOW)
        self.job = store.jobs.claim(NOW, "export")
        self.uploader = self.make_uploader()

    def make_uploader(self):
        """Makes an uploader that continues from the stored progress."""
        return Uploader(self.store, self.settings, self.export, self.save)

    def save(self, upload):
        return self.store.exports.save_upload(self.job, self.export.id, upload, NOW)

    def upload(self):
        return self.uploader.upload(self.store.exports.read(self.export.id))

    @property
    def uploads(self):
        """Run id -> the stored upload."""
        return self.store.exports.read_uploads(self.export.id)
