"""Uploads a study from the store to an MLflow server."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

# MLflow's client reads these variables. A failed upload is not repeated here: `UploadLoop` does it.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "15"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus
from mlflow.exceptions import MlflowException

from engine.config import REPORTED_SPLIT
from engine.errors import BadInputError
from engine.overrides import flat_settings
from engine.records.runs import Evaluation, Run, RunState, Sample, Study
from engine.settings import Settings
from engine.store import Store
from engine.system.child_environment import build_child_environment
from engine.tracking import mlflow_format
from engine.tracking.export_requests import ExportRequest, UploadState, load_request

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
UPLOAD_ERRORS: tuple[type[Exception], ...] = (MlflowException, OSError, subprocess.SubprocessError)
# Errors that concern one run only, for example if its MLflow run was deleted on the server.
RUN_ERROR_CODES = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE")


class Uploader:
    """Uploads one study to one server and saves the progress after each part.

    Args:
        store: the store with the study.
        settings: the settings of the installation, which name the artifacts folder.
        request: the export request, with the progress of earlier uploads.
        on_progress: called with a description of the part that is uploaded next.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        request: ExportRequest,
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.store, self.settings, self.request = store, settings, request
        self.client = MlflowClient(tracking_uri=request.uri)
        self.installation = store.machines.read_installation_id()
        self.experiment: str | None = None
        self.on_progress = on_progress

    def upload(self) -> bool:
        """Uploads all new results of the study; returns whether the request is complete.

        If the server refuses one run, the other runs are uploaded before the error is raised. After
        an error, the next call continues from the saved progress.

        Raises:
            MlflowException: the server refused an upload or could not be reached.
            OSError: a file or the server could not be reached.
        """
        # Load the request before the runs, so that a request made during the upload is completed
        # by the next upload, which contains newer results.
        newest = load_request(self.request.path)
        if newest is None:
            return True
        self.request = replace(self.request, request_id=newest.request_id)
        try:
            study = self.store.studies.read(self.request.study_id)
        except BadInputError:  # the study was deleted
            return self._complete()
        runs = self.store.runs.read_all(study.id)
        first_refusal: MlflowException | None = None
        for run in runs:
            try:
                if run.started_at is not None:
                    self._upload_run(study, run)
            except MlflowException as error:
                if error.error_code not in RUN_ERROR_CODES:
                    raise
                first_refusal = first_refusal or error
        if first_refusal is not None:
            raise first_refusal
        if all(run.is_over for run in runs):
            return self._complete()
        if self.request.error:
            self.request = replace(self.request, error="")
            self.request.save_progress()
        return False

    def _complete(self) -> bool:
        self.request = replace(self.request, completed_id=self.request.request_id, error="")
        self.request.save_progress()
        return True

    def _upload_run(self, study: Study, run: Run) -> None:
        state = self._find_or_create_run(study, run)
        if not state.params and run.resolved is not None:
            state = self._upload_params(run, state)
        state = self._upload_points(run, state)
        state = self._upload_samples(run, state)
        state = self._upload_evaluations(run, state)
        if run.state != state.state:
            state = self._upload_run_state(run, state)
        if run.state == RunState.DONE:
            self._upload_model(run, state)

    def _save_state(self, run: Run, state: UploadState) -> UploadState:
        self.request = self.request.with_run_state(run.id, state)
        self.request.save_progress()
        return state

    def _find_or_create_run(self, study: Study, run: Run) -> UploadState:
        """Returns the upload state of a run; creates its MLflow run if there is none.

        If no progress is saved, the MLflow run is searched by its tag.
        """
        attempts = self.store.runs.read_attempts([run.id])
        began = str([attempt.started_at for attempt in attempts if not attempt.from_step][-1])
        state = self.request.run_states.get(run.id)
        if state is not None and state.began == began:
            return state
        if self.experiment is None:
            self.experiment = self._find_or_create_experiment(study)
        tag = f"{self.installation}/{run.id}/{began}"
        existing = self.client.search_runs([self.experiment], f"tags.`{RUN_TAG}` = '{tag}'")
        if existing:
            return self._save_state(run, UploadState(existing[0].info.run_id, began))
        if state is not None:  # the run was started again: the store has deleted the old curves
            self.client.delete_run(state.mlflow_id)
        study_tag = f"{study.id}: {study.name}"[: mlflow_format.MAX_TAG_CHARACTERS]
        created = self.client.create_run(
            self.experiment,
            mlflow_format.to_milliseconds(run.started_at),
            {RUN_TAG: tag, "chromabench.study": study_tag},
            f"{run.config.label} · run {run.id}",
        )
        return self._save_state(run, UploadState(created.info.run_id, began))

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

    def _upload_params(self, run: Run, state: UploadState) -> UploadState:
        assert run.resolved is not None
        settings = flat_settings(run.resolved)
        # MLflow refuses to change a parameter: upload only those that are missing.
        existing = self.client.get_run(state.mlflow_id).data.params
        params = [
            Param(name, str(value)[:MAX_PARAM_CHARACTERS])
            for key, value in settings.items()
            if (name := mlflow_format.mlflow_name(key)) not in existing
        ]
        for start in range(0, len(params), MAX_PARAMS_PER_REQUEST):
            batch = params[start : start + MAX_PARAMS_PER_REQUEST]
            self.client.log_batch(state.mlflow_id, params=batch)
        environment = run.environment or {}
        tags = {
            **{f"environment.{key}": value for key, value in environment.items()},
            "configuration": run.configuration,
            "recipe": str(run.config.configuration.recipe),
            "seed": run.seed,
        }
        self.client.log_batch(state.mlflow_id, tags=mlflow_format.tags(tags))
        return self._save_state(run, replace(state, params=True))

    def _upload_points(self, run: Run, state: UploadState) -> UploadState:
        points = self.store.curves.read([run.id], state.cursor)
        for start in range(0, len(points), MAX_METRICS_PER_REQUEST):
            self.on_progress(f"run {run.id}: {start + 1:,} of {len(points):,} curve points")
            batch = points[start : start + MAX_METRICS_PER_REQUEST]
            last_steps = dict(state.steps)
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
                self.client.log_batch(state.mlflow_id, metrics=metrics)
            for point in new_points:
                last_steps[point.name] = max(point.step, last_steps.get(point.name, -1))
            state = self._save_state(run, replace(state, cursor=batch[-1].id, steps=last_steps))
        return state

    def _upload_samples(self, run: Run, state: UploadState) -> UploadState:
        for sample in self.store.runs.read_samples([run.id]):
            if sample.id <= state.sample_id:
                continue
            self.on_progress(f"run {run.id}: samples of epoch {sample.epoch}")
            self._upload_grid(sample, state)
            state = self._save_state(run, replace(state, sample_id=sample.id))
        return state

    def _upload_grid(self, sample: Sample, state: UploadState) -> None:
        path = self.settings.artifacts / sample.grid
        if path.is_file():  # the grid may have been pruned
            self.client.log_artifact(state.mlflow_id, str(path), "samples")

    def _upload_evaluations(self, run: Run, state: UploadState) -> UploadState:
        """Uploads the evaluations whose value is new or has changed since the last upload.

        Timestamps are computed from the start of the run and the epoch, so that a repeated upload
        has equal timestamps.
        """
        changed = self._changed_evaluations(run, state)
        if not changed:
            return state

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
            self.client.log_batch(state.mlflow_id, metrics=batch)

        # Upload the protocols, and the reasons for missing values, as tags.
        tags: dict[str, Any] = {}
        for key, evaluation in changed.items():
            if evaluation.epoch == run.best_epoch or evaluation.split == "val":
                tags |= mlflow_format.protocol_tags(evaluation)
            if isinstance(state.values.get(key), str):  # the uploaded reason is outdated
                name = mlflow_format.mlflow_name(evaluation.name)
                self.client.delete_tag(state.mlflow_id, f"missing.{evaluation.split}.{name}")
        run_tags = mlflow_format.tags(tags)
        for start in range(0, len(run_tags), MAX_PARAMS_PER_REQUEST):
            tag_batch = run_tags[start : start + MAX_PARAMS_PER_REQUEST]
            self.client.log_batch(state.mlflow_id, tags=tag_batch)

        uploaded = {
            key: mlflow_format.stored_value(evaluation) for key, evaluation in changed.items()
        }
        return self._save_state(run, replace(state, values={**state.values, **uploaded}))

    def _changed_evaluations(self, run: Run, state: UploadState) -> dict[str, Evaluation]:
        """Returns the evaluations to upload, by metric name and epoch (`test/psnr@12`)."""
        changed = {}
        for split in ("val", REPORTED_SPLIT):
            for evaluation in self.store.evaluations.read([run.id], split):
                group = mlflow_format.metric_group(evaluation, run)
                name = mlflow_format.mlflow_name(evaluation.name)
                key = f"{group}/{name}@{evaluation.epoch}"
                if state.values.get(key) != mlflow_format.stored_value(evaluation):
                    changed[key] = evaluation
        return changed

    def _upload_run_state(self, run: Run, state: UploadState) -> UploadState:
        tags: dict[str, Any] = {
            "state": run.state,
            "reason": run.reason or "",
            "attempt": run.attempt,
            "epochs": run.epochs,
        }
        if run.best_epoch is not None:
            tags["best_epoch"] = run.best_epoch
        self.client.log_batch(state.mlflow_id, tags=mlflow_format.tags(tags))
        if run.is_over:
            ended_ms = mlflow_format.to_milliseconds(run.ended_at)
            self.client.set_terminated(state.mlflow_id, MLFLOW_STATUS[run.state], ended_ms)
        else:
            self.client.update_run(state.mlflow_id, RunStatus.to_string(RunStatus.RUNNING))
        return self._save_state(run, replace(state, state=run.state))

    def _upload_model(self, run: Run, state: UploadState) -> UploadState:
        """Uploads the best checkpoint's generator as safetensors.

        A child process exports the generator, because this process does not load torch.
        """
        best = self.store.checkpoints.read_best(run.id)
        if best is None or best.sha256 == state.model:
            return state
        self.on_progress(f"run {run.id}: its model")
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
                self.client.log_artifact(state.mlflow_id, str(path), "model")
                model_tag = "model/generator.safetensors"
            else:
                (model_tag,) = export.stderr.strip().splitlines()[-1:] or ["the export failed"]
            self.client.log_batch(state.mlflow_id, tags=mlflow_format.tags({"model": model_tag}))
        return self._save_state(run, replace(state, model=best.sha256))
