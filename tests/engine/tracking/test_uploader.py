"""MLflow gets everything that the store has: curves, pictures, models and protocols."""

import json
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
import safetensors

from engine import weights
from engine.cli.main import main
from engine.jobs import lifecycle, spawn
from engine.records.runs import CheckpointEvaluation, RunState
from engine.settings import Settings
from engine.store import Store, database_path, utc_now
from engine.tracking.uploader import RUN_TAG
from tests.support.exports import (
    ExportInProcess,
    record_steps,
    record_whole_run,
    start_attempt,
    stop_run,
)
from tests.support.mlflow_server import Relay, free_port
from tests.support.records import checkpoint_of
from tests.support.runs import NOW, TIMEOUT_S, tiny_config, wait_for
from tests.support.supervisors import prepare_installation

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("mlflow")]


@dataclass(frozen=True)
class Installation:
    """An installation with a copy of the trained study."""

    settings: Settings
    store: Store


def runs_of(server, study_id, installation):
    experiment = server.client.get_experiment_by_name(
        f"chromabench {installation} study {study_id}"
    )
    assert experiment is not None
    return server.client.search_runs([experiment.experiment_id])


def uploaded_curves(server, mlflow_id, names):
    """Returns (curve, step) -> all values in MLflow."""
    values = {}
    for name in names:
        for metric in server.client.get_metric_history(mlflow_id, name):
            values.setdefault((name, metric.step), []).append(metric.value)
    return values


def stored_curves(store, run_id):
    """Returns (curve, step) -> all values in the store."""
    return {
        (point.name, point.step): [point.value]
        for point in store.curves.read([run_id])
        if point.value is not None
    }


def assert_study_is_uploaded(server, store, study_id):
    """Every run's curves in MLflow equal those in the store, with each point once."""
    mlflow_runs = runs_of(server, study_id, store.machines.read_installation_id())
    runs = store.runs.read_all(study_id)
    assert len(mlflow_runs) == len(runs)
    for run in runs:
        (mlflow_run,) = [
            mlflow_run
            for mlflow_run in mlflow_runs
            if f"/{run.id}/" in mlflow_run.data.tags[RUN_TAG]
        ]
        assert len(stored_curves(store, run.id)) > 50
        assert_run_is_uploaded(server, store, mlflow_run.info.run_id, run.id)


def assert_run_is_uploaded(server, store, mlflow_id, run_id):
    stored = stored_curves(store, run_id)
    assert uploaded_curves(server, mlflow_id, {name for name, _ in stored}) == stored


def delete_checkpoints(store, run_id):
    """Deletes the checkpoint records of a run, so that no process exports its model."""
    for record in store.checkpoints.read(run_id):
        store.checkpoints.delete_of_ended_run(record)


def wait_for_end(store, export):
    """Waits until the job of an export has ended, and returns the job."""

    def ended_job():
        job = store.jobs.read_newest("export", str(export.id))
        return job if job.state.is_finished() else None

    return wait_for(ended_job)


@pytest.fixture
def quiet_settings(tiny_settings, monkeypatch):
    """Settings of an installation that starts no supervisor."""
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    return tiny_settings


@pytest.fixture
def copied(trained_copy):
    """A copy of the trained study with one run, under an installation id of its own."""
    trained_copy.jobs.detach_running(is_copy=True, now=NOW)
    trained_copy.runs.delete([2])
    delete_checkpoints(trained_copy, 1)
    return trained_copy


@pytest.fixture(scope="module")
def exported(tmp_path_factory, pristine, packed_settings):
    """A copy of the trained study under an installation id of its own, with one model."""
    settings = prepare_installation(tmp_path_factory.mktemp("exported"), packed_settings)
    shutil.copytree(pristine / "runs", settings.artifacts / "runs")
    shutil.copy(pristine / "runs.db", database_path(settings.database_url))
    with closing(Store(settings.database_url)) as store:
        store.jobs.detach_running(is_copy=True, now=NOW)
        delete_checkpoints(store, 1)
        yield Installation(settings, store)


@pytest.fixture(scope="module")
def uploaded(exported, mlflow_server):
    """The export of the study, after its upload."""
    export = ExportInProcess(exported.store, exported.settings, mlflow_server.uri)
    result = export.upload()
    assert (result.is_study_over, result.error) == (True, None)
    return export


def test_uploaded_curves_equal_the_stored_ones(uploaded, exported, mlflow_server):
    assert_study_is_uploaded(mlflow_server, exported.store, 1)


def test_settings_values_protocols_samples_and_the_model_of_a_run_are_uploaded(
    uploaded, exported, mlflow_server, tmp_path
):
    store, client = exported.store, mlflow_server.client
    mlflow_runs = runs_of(mlflow_server, 1, store.machines.read_installation_id())
    (mlflow_run,) = [one for one in mlflow_runs if one.data.tags["configuration"] == "gan"]
    run = next(run for run in store.runs.read_all(1) if run.configuration == "gan")

    assert mlflow_run.info.status == "FINISHED"
    assert mlflow_run.info.run_name == f"gan, seed 0 · run {run.id}"
    assert mlflow_run.data.params["px"] == "32"
    assert mlflow_run.data.params["lr_g"] == "0.0002"
    assert mlflow_run.data.params["device"] == "cpu"  # the resolved value of `auto`
    evaluations = {
        evaluation.name: evaluation
        for evaluation in store.evaluations.read([run.id], "test")
        if evaluation.epoch == run.best_epoch
    }
    values = {
        name: evaluation.value
        for name, evaluation in evaluations.items()
        if evaluation.value is not None
    }
    assert {name: mlflow_run.data.metrics[f"test/{name}"] for name in values} == values
    protocol = json.loads(mlflow_run.data.tags["protocol.test.kd_lite2"])
    assert protocol["weights_sha256"] == evaluations["kd_lite2"].protocol["weights_sha256"]
    assert "Inception" in mlflow_run.data.tags["missing.test.fid"]
    assert "environment.torch" in mlflow_run.data.tags
    assert len(client.list_artifacts(mlflow_run.info.run_id, "samples")) == 3
    assert mlflow_run.data.tags["model"] == "model/generator.safetensors"
    (model,) = client.list_artifacts(mlflow_run.info.run_id, "model")
    path = client.download_artifacts(mlflow_run.info.run_id, model.path, str(tmp_path))
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata()["run"] == str(run.id)


def test_what_was_uploaded_is_not_uploaded_again(uploaded, exported, monkeypatch):
    uploaded.uploader = uploaded.make_uploader()
    calls, client = [], uploaded.uploader.client
    monkeypatch.setattr(client, "log_batch", lambda *args, **kwargs: calls.append(args))
    monkeypatch.setattr(client, "log_artifact", lambda *args: calls.append(args))

    assert uploaded.upload().error is None
    assert calls == []


def test_after_the_progress_is_lost_nothing_is_uploaded_twice(copied, tiny_settings, mlflow_server):
    export = ExportInProcess(copied, tiny_settings, mlflow_server.uri)
    export.upload()
    export.uploader.uploads.clear()

    assert export.upload().error is None

    assert_study_is_uploaded(mlflow_server, copied, 1)
    (mlflow_run,) = runs_of(mlflow_server, 1, copied.machines.read_installation_id())
    names = [name for name in mlflow_run.data.metrics if name.startswith(("val/", "test"))]
    assert len(names) > 20
    steps = [
        (name, metric.step)
        for name in names
        for metric in mlflow_server.client.get_metric_history(mlflow_run.info.run_id, name)
    ]
    assert len(set(steps)) == len(steps)


def test_a_value_that_replaces_a_missing_one_is_uploaded(copied, tiny_settings, mlflow_server):
    export = ExportInProcess(copied, tiny_settings, mlflow_server.uri)
    export.upload()
    mlflow_id = export.uploads[1].mlflow_id
    tags_before = mlflow_server.client.get_run(mlflow_id).data.tags
    missing = next(
        evaluation
        for evaluation in copied.evaluations.read([1], "test")
        if evaluation.name == "fid" and evaluation.epoch == copied.runs.read(1).best_epoch
    )
    protocol = {**missing.protocol, "weights_sha256": weights.CATALOG["inception"].sha256}
    measured = replace(missing, value=88.0, missing=None, protocol=protocol)
    copied.evaluations.replace(1, CheckpointEvaluation((measured,)))

    export.upload()

    assert "Inception" in tags_before["missing.test.fid"]
    mlflow_run = mlflow_server.client.get_run(mlflow_id)
    assert mlflow_run.data.metrics["test/fid"] == 88.0
    assert "missing.test.fid" not in mlflow_run.data.tags


def test_a_run_that_was_started_again_replaces_its_first_mlflow_run(
    store, quiet_settings, mlflow_server
):
    _, (run,) = store.studies.add("k", "again", [tiny_config()], NOW)
    export = ExportInProcess(store, quiet_settings, mlflow_server.uri)
    job = start_attempt(store)
    record_steps(store, job, 1, 6)
    stop_run(store, job)
    export.upload()
    first_id = export.uploads[run.id].mlflow_id
    assert mlflow_server.client.get_run(first_id).info.status == "KILLED"

    lifecycle.retry(store, quiet_settings, run.id)
    record_whole_run(store, NOW + timedelta(minutes=1))
    assert export.upload().is_study_over

    second_id = export.uploads[run.id].mlflow_id
    assert second_id != first_id
    assert mlflow_server.client.get_run(first_id).info.lifecycle_stage == "deleted"
    assert_run_is_uploaded(mlflow_server, store, second_id, run.id)


def test_a_run_that_was_stopped_and_resumed_has_each_point_once(
    store, quiet_settings, mlflow_server
):
    _, (run,) = store.studies.add("k", "on", [tiny_config()], NOW)
    export = ExportInProcess(store, quiet_settings, mlflow_server.uri)
    job = start_attempt(store)
    record_steps(store, job, 1, 11)
    store.checkpoints.add(job, checkpoint_of(epoch=1), NOW)
    stop_run(store, job)
    export.upload()
    lifecycle.resume(store, quiet_settings, run.id)
    job = start_attempt(store, NOW + timedelta(minutes=1))
    store.runs.rewind(job, epoch=1, step=8, now=NOW)
    record_steps(store, job, 9, 16)
    store.jobs.finish(job, RunState.DONE, None, NOW)

    assert export.upload().is_study_over

    assert_run_is_uploaded(mlflow_server, store, export.uploads[run.id].mlflow_id, run.id)


def test_an_export_continues_after_the_server_was_unreachable(
    store, tiny_settings, mlflow_server, supervise_with
):
    port = free_port()
    store.studies.add("k", "away", [tiny_config(), tiny_config("gan")], NOW)
    record_whole_run(store)
    # The second run has ended too, so that the supervisor trains nothing.
    store.jobs.request_run_stop(2, NOW)
    export = store.exports.request(1, f"http://127.0.0.1:{port}", utc_now())

    def read_export():
        return store.exports.read(export.id)

    supervise_with(tiny_settings)
    # Nothing listens at the address yet.
    wait_for(lambda: read_export().error)
    # The connection breaks while the curves are uploaded.
    with Relay(port, mlflow_server.port, cut_after=b"g_loss") as relay:
        assert relay.is_cut.wait(TIMEOUT_S)
    (upload,) = store.exports.read_uploads(export.id).values()
    assert upload.has_params
    assert not upload.cursor
    with Relay(port, mlflow_server.port):
        wait_for(lambda: not read_export().is_pending)

    assert read_export().error is None
    mlflow_id = store.exports.read_uploads(export.id)[1].mlflow_id
    assert_run_is_uploaded(mlflow_server, store, mlflow_id, 1)
    job = wait_for_end(store, export)
    assert (job.state, job.run_id) == (RunState.DONE, None)
    log = (tiny_settings.artifacts / "jobs" / f"{job.id:06d}.log").read_text()
    assert "did not accept the upload" in log
    assert "Traceback" not in log


def test_the_export_command_uploads_a_study(
    copied, tiny_settings, mlflow_server, monkeypatch, capsys, supervise_with
):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", tiny_settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tiny_settings.artifacts))
    supervise_with(tiny_settings)

    assert main(["export", "1", "--mlflow", mlflow_server.uri]) == 0
    assert capsys.readouterr().out.strip() == mlflow_server.uri
    assert_study_is_uploaded(mlflow_server, copied, 1)
    assert main(["export", "1"]) == 2
    assert main(["export", "1", "--mlflow", "http://127.0.0.1:9"]) == 1
    assert "the server could not be reached: Connection refused" in capsys.readouterr().err
