"""Brings MLflow up to what the store has of a study."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus
from mlflow.exceptions import MlflowException

from engine.config import REPORTED_SPLIT
from engine.errors import BadInputError
from engine.overrides import flat_settings
from engine.records.runs import Run, RunState, Sample, Study
from engine.settings import Settings
from engine.store import Store
from engine.system.child_environment import worker_environment
from engine.tracking import mlflow_format
from engine.tracking.export_requests import Sent, Tracked, read_one

AT_ONCE = 1000  # metrics in a request, the most that MLflow takes
PARAMS_AT_ONCE = 100
LONGEST_PARAM = 6000  # characters
MARK = "chromabench.run"  # the tag by which a run is found again
ENDS = {
    RunState.DONE: "FINISHED",
    RunState.STOPPED: "KILLED",
    RunState.FAILED: "FAILED",
    RunState.CRASHED: "FAILED",
    RunState.DIVERGED: "FAILED",
}
EXPORT_PATIENCE_S = 600
TROUBLES: tuple[type[Exception], ...] = (MlflowException, OSError, subprocess.SubprocessError)
# Of one run that is no longer as it was there: deleted by somebody, for instance.
REFUSALS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE")


class Sender:
    """Sends one study to one server; what was sent is written down after each step.

    Args:
        store: where the study is.
        settings: where its files are.
        tracked: what was sent before.
        on_progress: told what is sent now.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        tracked: Tracked,
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.store, self.settings, self.tracked = store, settings, tracked
        self.client = MlflowClient(tracking_uri=tracked.uri)
        self.installation = store.read_installation()
        self.experiment: str | None = None
        self.on_progress = on_progress

    def send(self) -> bool:
        """Sends what is new; whether nothing more is to come.

        What the server refuses of one run keeps no other from being sent.

        Raises:
            MlflowException, OSError: the server did not take it; the next call goes on where this
                one ended.
        """
        wish = read_one(self.tracked.path)  # before the runs: what is wished later is for later
        if wish is None:
            return True
        self.tracked = replace(self.tracked, asked=wish.asked)
        try:
            study = self.store.read_study(self.tracked.study_id)
        except BadInputError:  # it was deleted: nothing more is to come
            return self._fulfil()
        runs = self.store.read_runs(study.id)
        refused: MlflowException | None = None
        for run in runs:
            try:
                if run.started_at is not None:
                    self._send_run(study, run)
            except MlflowException as error:
                if error.error_code not in REFUSALS:
                    raise
                refused = refused or error
        if refused is not None:
            raise refused
        if all(run.is_over for run in runs):
            return self._fulfil()
        if self.tracked.trouble:
            self.tracked = replace(self.tracked, trouble="")
            self.tracked.save()
        return False

    def _fulfil(self) -> bool:
        self.tracked = replace(self.tracked, done=self.tracked.asked, trouble="")
        self.tracked.save()
        return True

    def _send_run(self, study: Study, run: Run) -> None:
        sent = self._begun(study, run)
        if not sent.params and run.resolved is not None:
            sent = self._send_params(run, sent)
        sent = self._send_points(run, sent)
        sent = self._send_samples(run, sent)
        sent = self._send_evaluations(run, sent)
        if run.state != sent.state:
            sent = self._send_state(run, sent)
        if run.state == RunState.DONE:
            self._send_model(run, sent)

    def _keep(self, run: Run, sent: Sent) -> Sent:
        self.tracked = self.tracked.with_run(run.id, sent)
        self.tracked.save()
        return sent

    def _begun(self, study: Study, run: Run) -> Sent:
        """The run in MLflow: the one of before, one that was made and not written down, or new."""
        attempts = self.store.read_attempts([run.id])
        began = str([it.started_at for it in attempts if not it.from_step][-1])
        sent = self.tracked.runs.get(run.id)
        if sent is not None and sent.began == began:
            return sent
        if self.experiment is None:
            self.experiment = self._find_experiment(study)
        mark = f"{self.installation}/{run.id}/{began}"
        found = self.client.search_runs([self.experiment], f"tags.`{MARK}` = '{mark}'")
        if found:
            return self._keep(run, Sent(found[0].info.run_id, began))
        if sent is not None:  # it was begun anew: what it recorded before is gone from the store
            self.client.delete_run(sent.mlflow_id)
        started = mlflow_format.milliseconds(run.started_at)
        made = self.client.create_run(
            self.experiment,
            started,
            {
                MARK: mark,
                "chromabench.study": f"{study.id}: {study.name}"[: mlflow_format.LONGEST_TAG],
            },
            f"{run.config.label} · run {run.id}",
        )
        return self._keep(run, Sent(made.info.run_id, began))

    def _find_experiment(self, study: Study) -> str:
        name = f"chromabench {self.installation} study {study.id}"
        known = self.client.get_experiment_by_name(name)
        if known is None:
            tags = {"mlflow.note.content": study.name, "chromabench.data": study.data}
            made: str = self.client.create_experiment(name, tags=tags)
            return made
        if known.lifecycle_stage != "active":
            self.client.restore_experiment(known.experiment_id)
        found: str = known.experiment_id
        return found

    def _send_params(self, run: Run, sent: Sent) -> Sent:
        assert run.resolved is not None
        params = [
            Param(mlflow_format.mlflow_name(key), str(it)[:LONGEST_PARAM])
            for key, it in flat_settings(run.resolved).items()
        ]
        environment = {f"environment.{key}": it for key, it in (run.environment or {}).items()}
        tags = {
            **environment,
            "configuration": run.configuration,
            "recipe": str(run.config.configuration.recipe),
            "seed": run.seed,
        }
        there = self.client.get_run(sent.mlflow_id).data.params  # MLflow lets none be changed
        params = [it for it in params if it.key not in there]
        for start in range(0, len(params), PARAMS_AT_ONCE):
            part = params[start : start + PARAMS_AT_ONCE]
            self.client.log_batch(sent.mlflow_id, params=part)
        self.client.log_batch(sent.mlflow_id, tags=mlflow_format.tags(tags))
        return self._keep(run, replace(sent, params=True))

    def _send_points(self, run: Run, sent: Sent) -> Sent:
        points = self.store.read_metrics([run.id], sent.cursor)
        for start in range(0, len(points), AT_ONCE):
            self.on_progress(f"run {run.id}: {start + 1:,} of {len(points):,} curve points")
            part = points[start : start + AT_ONCE]
            steps = dict(sent.steps)
            fresh = [it for it in part if it.step > steps.get(it.name, -1)]
            metrics = [
                Metric(
                    mlflow_format.mlflow_name(it.name), it.value, mlflow_format.at(it, run), it.step
                )
                for it in fresh
                if it.value is not None
            ]
            if metrics:
                self.client.log_batch(sent.mlflow_id, metrics=metrics)
            steps |= {it.name: max(it.step, steps.get(it.name, -1)) for it in fresh}
            sent = self._keep(run, replace(sent, cursor=part[-1].id, steps=steps))
        return sent

    def _send_samples(self, run: Run, sent: Sent) -> Sent:
        for sample in self.store.read_samples([run.id]):
            if sample.id <= sent.sample_id:
                continue
            self.on_progress(f"run {run.id}: samples of epoch {sample.epoch}")
            self._send_grid(sample, sent)
            sent = self._keep(run, replace(sent, sample_id=sample.id))
        return sent

    def _send_grid(self, sample: Sample, sent: Sent) -> None:
        path = self.settings.artifacts / sample.grid
        if path.is_file():  # it may have been pruned
            self.client.log_artifact(sent.mlflow_id, str(path), "samples")

    def _send_evaluations(self, run: Run, sent: Sent) -> Sent:
        """What is new or another value than before; its time is the run's, whenever it is sent."""
        found = {
            f"{mlflow_format.group(it, run)}/{mlflow_format.mlflow_name(it.name)}@{it.epoch}": it
            for split in ("val", REPORTED_SPLIT)
            for it in self.store.read_evaluations([run.id], split)
        }
        news = {
            key: it for key, it in found.items() if sent.values.get(key) != mlflow_format.worth(it)
        }
        if not news:
            return sent
        began = mlflow_format.milliseconds(run.started_at)
        metrics = [
            Metric(key.partition("@")[0], it.value, began + 1000 * it.epoch, it.epoch)
            for key, it in news.items()
            if it.value is not None
        ]
        tags: dict[str, Any] = {}
        for key, it in news.items():
            if it.epoch == run.best_epoch or it.split == "val":
                tags |= mlflow_format.about(it)
            if isinstance(sent.values.get(key), str):  # it was missing, and is no more
                self.client.delete_tag(
                    sent.mlflow_id, f"missing.{it.split}.{mlflow_format.mlflow_name(it.name)}"
                )
        for start in range(0, len(metrics), AT_ONCE):
            self.client.log_batch(sent.mlflow_id, metrics=metrics[start : start + AT_ONCE])
        every = mlflow_format.tags(tags)
        for start in range(0, len(every), PARAMS_AT_ONCE):
            self.client.log_batch(sent.mlflow_id, tags=every[start : start + PARAMS_AT_ONCE])
        values = {**sent.values, **{key: mlflow_format.worth(it) for key, it in news.items()}}
        return self._keep(run, replace(sent, values=values))

    def _send_state(self, run: Run, sent: Sent) -> Sent:
        tags: dict[str, Any] = {"state": run.state, "reason": run.reason or ""}
        tags |= {"attempt": run.attempt, "epochs": run.epochs}
        if run.best_epoch is not None:
            tags["best_epoch"] = run.best_epoch
        self.client.log_batch(sent.mlflow_id, tags=mlflow_format.tags(tags))
        if run.is_over:
            ended = mlflow_format.milliseconds(run.ended_at)
            self.client.set_terminated(sent.mlflow_id, ENDS[run.state], ended)
        else:
            self.client.update_run(sent.mlflow_id, RunStatus.to_string(RunStatus.RUNNING))
        return self._keep(run, replace(sent, state=run.state))

    def _send_model(self, run: Run, sent: Sent) -> Sent:
        """The chosen checkpoint's generator as safetensors, written by a process with torch."""
        best = next((it for it in self.store.read_checkpoints(run.id) if it.is_best), None)
        if best is None or best.sha256 == sent.model:
            return sent
        self.on_progress(f"run {run.id}: its model")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "generator.safetensors"
            command = [sys.executable, "-m", "engine", "export-model", str(run.id)]
            made = subprocess.run(
                [*command, "--out", str(path)],
                env=worker_environment(self.settings),
                capture_output=True,
                text=True,
                timeout=EXPORT_PATIENCE_S,
                check=False,
            )
            if made.returncode == 0:
                self.client.log_artifact(sent.mlflow_id, str(path), "model")
            said = made.stderr.strip().splitlines()[-1:] or ["it could not be written"]
            tags = {"model": "model/generator.safetensors" if made.returncode == 0 else said[0]}
            self.client.log_batch(sent.mlflow_id, tags=mlflow_format.tags(tags))
        return self._keep(run, replace(sent, model=best.sha256))
