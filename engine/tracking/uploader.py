"""Uploads a study from the store to an MLflow server."""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# MLflow's client reads these variables. A failed upload is not repeated here: the export's next
# job does it.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "15"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus
from mlflow.exceptions import MlflowException
from requests import RequestException

from engine.config import REPORTED_SPLIT
from engine.errors import EngineError
from engine.overrides import flat_settings
from engine.records.exports import Export, RunUpload
from engine.records.runs import Evaluation, Run, RunState, Sample, Study
from engine.settings import Settings
from engine.store import Store
from engine.system.child_environment import build_child_environment
from engine.tracking import mlflow_format

# MLflow's limits.
MAX_METRICS_PER_REQUEST = 1000
MAX_PARAMS_PER_REQUEST = 100
MAX_PARAM_CHARACTERS = 6000

RUN_TAG = "chromabench.run"
MLFLOW_STATUS = {
    RunState.DONE: "FINISHED",
    RunState.STOPPED: "KILLED",
    RunState.FAILED: "FAILED",
    RunState.CRASHED: "FAILED",
    RunState.DIVERGED: "FAILED",
}
MODEL_EXPORT_TIMEOUT_S = 600
# The server could not be reached, or did not answer as MLflow does.
SERVER_ERRORS: tuple[type[Exception], ...] = (
    *(MlflowException, RequestException, ConnectionError, TimeoutError),
)
# Answers that concern one run and do not change, for example after its MLflow run was deleted on
# the server.
REFUSAL_CODES = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE")
# After so many failures in a row, a run that a reachable server still does not accept is refused.
MAX_RUN_FAILURES = 5

logger = logging.getLogger(__name__)


class UploadStoppedError(Exception):
    """A stop was requested during an upload."""


class _RunDeletedError(Exception):
    """The run, or the whole export, was deleted from the store during the upload."""


@dataclass(frozen=True)
class UploadResult:
    """The result of an upload of everything that was stored at its start.

    Attributes:
        is_study_over: whether all runs of the study had ended, so that nothing more will follow.
        has_active_run: whether a run of the study was running or stopping.
        refusals: run id -> why this run could not be uploaded.
    """

    is_study_over: bool
    has_active_run: bool
    refusals: Mapping[int, str]

    @property
    def error(self) -> str | None:
        """Which runs could not be uploaded, in a sentence; None if there are none."""
        if not self.refusals:
            return None
        n, (first_id, reason) = len(self.refusals), next(iter(self.refusals.items()))
        if n == 1:
            return f"run {first_id} could not be uploaded: {reason}"
        return f"{n} runs could not be uploaded, the first is run {first_id}: {reason}"


class Uploader:
    """Uploads one study to one server and saves the progress after each part.

    Args:
        store: the store with the study.
        settings: the settings of the installation, which name the artifacts folder.
        export: the export of the study.
        save: stores the uploaded parts of a run; returns False if the run was deleted.
        on_progress: called with a description of the part that is uploaded next, and the share of
            runs before it.
        should_stop: returns whether a stop was requested.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        export: Export,
        save: Callable[[RunUpload], bool],
        on_progress: Callable[[str, float], None] = lambda part, share: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.store, self.settings, self.export = store, settings, export
        self.save, self.on_progress, self.should_stop = save, on_progress, should_stop
        self.client = MlflowClient(tracking_uri=export.uri)
        self.installation = store.machines.read_installation_id()
        self.uploads = store.exports.read_uploads(export.id)
        self.experiment: str | None = None
        self.share = 0.0
        # A refused run is skipped until there is a newer request.
        self.refusals: dict[int, str] = {}

    def upload(self, export: Export) -> UploadResult:
        """Uploads all new results of the study.

        A run that cannot be uploaded does not prevent the upload of the other runs.

        Args:
            export: the export with its newest request, as it was read just before.

        Raises:
            MlflowException: the server refused an upload or could not be reached. The next call
                continues after the last saved part.
            UploadStoppedError: a stop was requested.
        """
        if export.request != self.export.request:
            self.refusals.clear()
        self.export = export
        study = self.store.studies.read(export.study_id)
        runs = self.store.runs.read_all(study.id)
        first_failure: Exception | None = None
        for position, run in enumerate(runs):
            self.share = position / len(runs)
            if run.started_at is None or run.id in self.refusals:
                continue
            try:
                self._upload_run(study, run)
            except (EngineError, UploadStoppedError):
                raise
            except _RunDeletedError:
                continue
            except SERVER_ERRORS as error:
                if self._is_refusal(error):
                    self._record_refusal(run, mlflow_format.reason_of(error))
                    continue
                self.client.search_experiments(max_results=1)  # raises if the server is unreachable
                first_failure = first_failure or error
            except Exception as error:  # the boundary of a run: the other runs are uploaded
                logger.exception("run %d could not be uploaded", run.id)
                reason = f"{type(error).__name__}: {mlflow_format.reason_of(error)}"
                self._record_refusal(run, reason)
        if first_failure is not None:
            raise first_failure
        return UploadResult(
            is_study_over=all(run.is_over for run in runs),
            has_active_run=any(run.state.is_active() for run in runs),
            refusals=dict(self.refusals),
        )

    def _is_refusal(self, error: Exception) -> bool:
        if isinstance(error, MlflowException) and error.error_code in REFUSAL_CODES:
            return True
        if self.export.failures <= MAX_RUN_FAILURES:
            return False
        self.client.search_experiments(max_results=1)  # raises if the server is unreachable
        return True

    def _record_refusal(self, run: Run, reason: str) -> None:
        """Stores why a run could not be uploaded; logs the reason only once."""
        self.refusals[run.id] = reason
        upload = self.uploads.get(run.id, RunUpload(run.id))
        if upload.error == reason:
            return
        logger.warning("%s: run %d could not be uploaded: %s", self.export.uri, run.id, reason)
        with suppress(_RunDeletedError):
            self._save(replace(upload, error=reason))

    def _upload_run(self, study: Study, run: Run) -> None:
        upload = self._find_or_create_run(study, run)
        if not upload.has_params and run.resolved is not None:
            upload = self._upload_params(run, upload)
        upload = self._upload_points(run, upload)
        upload = self._upload_samples(run, upload)
        upload = self._upload_evaluations(run, upload)
        if run.state != upload.state:
            upload = self._upload_run_state(run, upload)
        if run.state == RunState.DONE:
            upload = self._upload_model(run, upload)
        if upload.error is not None:
            self._save(replace(upload, error=None))

    def _save(self, upload: RunUpload) -> RunUpload:
        if not self.save(upload):
            raise _RunDeletedError
        self.uploads[upload.run_id] = upload
        return upload

    def _begin(self, part: str) -> None:
        """Reports the next part of the upload.

        Raises:
            UploadStoppedError: a stop was requested.
        """
        if self.should_stop():
            raise UploadStoppedError
        self.on_progress(part, self.share)

    def _find_or_create_run(self, study: Study, run: Run) -> RunUpload:
        """Returns the uploaded parts of a run; creates its MLflow run if there is none.

        If no upload is stored, the MLflow run is searched by its tag.
        """
        began = self._read_beginning(run)
        upload = self.uploads.get(run.id, RunUpload(run.id))
        if upload.mlflow_id and upload.began == began:
            return upload
        self._begin(f"run {run.id}")
        if self.experiment is None:
            self.experiment = self._find_or_create_experiment(study)
        tag = f"{self.installation}/{run.id}/{began}"
        existing = self.client.search_runs([self.experiment], f"tags.`{RUN_TAG}` = '{tag}'")
        if existing:
            return self._save(RunUpload(run.id, existing[0].info.run_id, began))
        if upload.mlflow_id:  # the run was started again without its old curves
            self._delete_mlflow_run(upload.mlflow_id)
        study_tag = f"{study.id}: {study.name}"[: mlflow_format.MAX_TAG_CHARACTERS]
        created = self.client.create_run(
            self.experiment,
            mlflow_format.to_milliseconds(run.started_at),
            {RUN_TAG: tag, "chromabench.study": study_tag},
            f"{run.config.label} · run {run.id}",
        )
        return self._save(RunUpload(run.id, created.info.run_id, began))

    def _read_beginning(self, run: Run) -> str:
        """Returns the start time of the newest attempt that began at step 0, as text.

        Runs of old databases have no such attempt; their own start time is used.
        """
        attempts = self.store.runs.read_attempts([run.id])
        from_the_start = [attempt.started_at for attempt in attempts if not attempt.from_step]
        return str(from_the_start[-1] if from_the_start else run.started_at)

    def _delete_mlflow_run(self, mlflow_id: str) -> None:
        """Deletes an outdated MLflow run, unless it was deleted on the server before."""
        try:
            self.client.delete_run(mlflow_id)
        except MlflowException as error:
            if error.error_code not in REFUSAL_CODES:
                raise

    def _delete_tag(self, mlflow_id: str, name: str) -> None:
        """Deletes a tag, unless the MLflow run has no such tag."""
        try:
            self.client.delete_tag(mlflow_id, name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise

    def _find_or_create_experiment(self, study: Study) -> str:
        name = f"chromabench {self.installation} study {study.id}"
        existing = self.client.get_experiment_by_name(name)
        if existing is None:
            tags = {"mlflow.note.content": study.name, "chromabench.data": study.data}
            created_id: str = self.client.create_experiment(name, tags=tags)
            return created_id
        if existing.lifecycle_stage != "active":
            self.client.restore_experiment(existing.experiment_id)
        experiment_id: str = existing.experiment_id
        return experiment_id

    def _upload_params(self, run: Run, upload: RunUpload) -> RunUpload:
        assert run.resolved is not None
        settings = flat_settings(run.resolved)
        # MLflow refuses to change a parameter: upload only those that are missing.
        existing = self.client.get_run(upload.mlflow_id).data.params
        params = [
            Param(name, str(value)[:MAX_PARAM_CHARACTERS])
            for key, value in settings.items()
            if (name := mlflow_format.mlflow_name(key)) not in existing
        ]
        for start in range(0, len(params), MAX_PARAMS_PER_REQUEST):
            batch = params[start : start + MAX_PARAMS_PER_REQUEST]
            self.client.log_batch(upload.mlflow_id, params=batch)
        environment = run.environment or {}
        tags = {
            **{f"environment.{key}": value for key, value in environment.items()},
            "configuration": run.configuration,
            "recipe": str(run.config.configuration.recipe),
            "seed": run.seed,
        }
        self.client.log_batch(upload.mlflow_id, tags=mlflow_format.tags(tags))
        return self._save(replace(upload, has_params=True))

    def _upload_points(self, run: Run, upload: RunUpload) -> RunUpload:
        points = self.store.curves.read([run.id], upload.cursor)
        for start in range(0, len(points), MAX_METRICS_PER_REQUEST):
            self._begin(f"run {run.id}: {start + 1:,} of {len(points):,} curve points")
            batch = points[start : start + MAX_METRICS_PER_REQUEST]
            last_steps = dict(upload.steps)
            new_points = [point for point in batch if point.step > last_steps.get(point.name, -1)]
            metrics = [
                Metric(
                    mlflow_format.mlflow_name(point.name),
                    point.value,
                    mlflow_format.timestamp_ms(point, run),
                    point.step,
                )
                for point in new_points
                if point.value is not None
            ]
            if metrics:
                self.client.log_batch(upload.mlflow_id, metrics=metrics)
            for point in new_points:
                last_steps[point.name] = max(point.step, last_steps.get(point.name, -1))
            upload = self._save(replace(upload, cursor=batch[-1].id, steps=last_steps))
        return upload

    def _upload_samples(self, run: Run, upload: RunUpload) -> RunUpload:
        for sample in self.store.runs.read_samples([run.id]):
            if sample.id <= upload.sample_id:
                continue
            self._begin(f"run {run.id}: samples of epoch {sample.epoch}")
            self._upload_grid(sample, upload)
            upload = self._save(replace(upload, sample_id=sample.id))
        return upload

    def _upload_grid(self, sample: Sample, upload: RunUpload) -> None:
        path = self.settings.artifacts / sample.grid
        if path.is_file():  # the grid may have been pruned
            self.client.log_artifact(upload.mlflow_id, str(path), "samples")

    def _upload_evaluations(self, run: Run, upload: RunUpload) -> RunUpload:
        """Uploads the evaluations whose value is new or has changed since the last upload.

        Timestamps are computed from the start of the run and the epoch, so that a repeated upload
        has equal timestamps.
        """
        changed = self._changed_evaluations(run, upload)
        if not changed:
            return upload

        # Upload the values as metrics.
        began_ms = mlflow_format.to_milliseconds(run.started_at)
        metrics = [
            Metric(
                key.partition("@")[0],
                evaluation.value,
                began_ms + 1000 * evaluation.epoch,
                evaluation.epoch,
            )
            for key, evaluation in changed.items()
            if evaluation.value is not None
        ]
        for start in range(0, len(metrics), MAX_METRICS_PER_REQUEST):
            batch = metrics[start : start + MAX_METRICS_PER_REQUEST]
            self.client.log_batch(upload.mlflow_id, metrics=batch)

        # Upload the protocols, and the reasons for missing values, as tags.
        tags: dict[str, Any] = {}
        for key, evaluation in changed.items():
            if evaluation.epoch == run.best_epoch or evaluation.split == "val":
                tags |= mlflow_format.protocol_tags(evaluation)
            if isinstance(upload.values.get(key), str):  # the uploaded reason is outdated
                name = mlflow_format.mlflow_name(evaluation.name)
                self._delete_tag(upload.mlflow_id, f"missing.{evaluation.split}.{name}")
        run_tags = mlflow_format.tags(tags)
        for start in range(0, len(run_tags), MAX_PARAMS_PER_REQUEST):
            tag_batch = run_tags[start : start + MAX_PARAMS_PER_REQUEST]
            self.client.log_batch(upload.mlflow_id, tags=tag_batch)

        uploaded = {
            key: mlflow_format.stored_value(evaluation) for key, evaluation in changed.items()
        }
        return self._save(replace(upload, values={**upload.values, **uploaded}))

    def _changed_evaluations(self, run: Run, upload: RunUpload) -> dict[str, Evaluation]:
        """Returns the evaluations to upload, by metric name and epoch (`test/psnr@12`)."""
        changed = {}
        for split in ("val", REPORTED_SPLIT):
            for evaluation in self.store.evaluations.read([run.id], split):
                group = mlflow_format.metric_group(evaluation, run)
                name = mlflow_format.mlflow_name(evaluation.name)
                key = f"{group}/{name}@{evaluation.epoch}"
                if upload.values.get(key) != mlflow_format.stored_value(evaluation):
                    changed[key] = evaluation
        return changed

    def _upload_run_state(self, run: Run, upload: RunUpload) -> RunUpload:
        tags: dict[str, Any] = {
            "state": run.state,
            "reason": run.reason or "",
            "attempt": run.attempt,
            "epochs": run.epochs,
        }
        if run.best_epoch is not None:
            tags["best_epoch"] = run.best_epoch
        self.client.log_batch(upload.mlflow_id, tags=mlflow_format.tags(tags))
        if run.is_over:
            ended_ms = mlflow_format.to_milliseconds(run.ended_at)
            self.client.set_terminated(upload.mlflow_id, MLFLOW_STATUS[run.state], ended_ms)
        else:
            self.client.update_run(upload.mlflow_id, RunStatus.to_string(RunStatus.RUNNING))
        return self._save(replace(upload, state=run.state))

    def _upload_model(self, run: Run, upload: RunUpload) -> RunUpload:
        """Uploads the best checkpoint's generator as safetensors.

        A child process exports the generator, because this process does not load torch.
        """
        best = self.store.checkpoints.read_best(run.id)
        if best is None or best.sha256 == upload.model:
            return upload
        self._begin(f"run {run.id}: its model")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "generator.safetensors"
            command = [sys.executable, "-m", "engine", "export-model", str(run.id)]
            export = subprocess.run(
                [*command, "--out", str(path)],
                env=build_child_environment(self.settings),
                capture_output=True,
                text=True,
                timeout=MODEL_EXPORT_TIMEOUT_S,
                check=False,
            )
            if export.returncode == 0:
                self.client.log_artifact(upload.mlflow_id, str(path), "model")
                model_tag = "model/generator.safetensors"
            else:
                (model_tag,) = export.stderr.strip().splitlines()[-1:] or ["the export failed"]
            self.client.log_batch(upload.mlflow_id, tags=mlflow_format.tags({"model": model_tag}))
        return self._save(replace(upload, model=best.sha256))
