"""MLflow gets everything that the store has: curves, pictures, models and protocols."""

import json
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
import safetensors
from mlflow.exceptions import MlflowException

from engine import weights
from engine.cli.main import main
from engine.jobs import lifecycle, spawn
from engine.records.curves import MetricPoint
from engine.records.runs import CheckpointEvaluation, RunState
from engine.settings import Settings
from engine.store import Store, database_path
from engine.tracking import export_requests
from engine.tracking.uploader import RUN_TAG, Uploader
from tests.support.mlflow_server import Relay, free_port
from tests.support.records import checkpoint_of
from tests.support.runs import NOW, TIMEOUT_S, kill_processes_of, tiny_config, wait_for
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


def uploader_of(store, settings):
    """An uploader for the only export request."""
    (request,) = export_requests.load_requests(settings)
    return Uploader(store, settings, request)


def delete_checkpoints(store, run_id):
    """Deletes the checkpoint records of a run, so that no process exports its model."""
    for record in store.checkpoints.read(run_id):
        store.checkpoints.delete_of_ended_run(record)


def start_attempt(store, now=NOW):
    """Claims the next job and starts its attempt, as a worker does."""
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


@pytest.fixture
def mlflow_settings(tiny_settings, mlflow_server, monkeypatch):
    """Settings with which every submitted study is exported to the MLflow server."""
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    yield replace(tiny_settings, mlflow=mlflow_server.uri)
    kill_processes_of(tiny_settings)


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
    """The uploader of the exported study, after its upload."""
    request = export_requests.request_export(exported.settings, 1, mlflow_server.uri)
    uploader = Uploader(exported.store, exported.settings, request)
    assert uploader.upload()
    return uploader


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
    request = export_requests.load_request(uploaded.request.path)
    second = Uploader(exported.store, exported.settings, request)
    calls = []
    monkeypatch.setattr(second.client, "log_batch", lambda *args, **kwargs: calls.append(args))
    monkeypatch.setattr(second.client, "log_artifact", lambda *args: calls.append(args))

    assert second.upload()
    assert calls == []


def test_after_the_progress_file_is_lost_nothing_is_uploaded_twice(
    copied, tiny_settings, mlflow_server
):
    request = export_requests.request_export(tiny_settings, 1, mlflow_server.uri)
    assert Uploader(copied, tiny_settings, request).upload()
    export_requests._progress_path(request.path).unlink()
    request = export_requests.load_request(request.path)
    assert request.run_states == {}

    assert Uploader(copied, tiny_settings, request).upload()

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
    request = export_requests.request_export(tiny_settings, 1, mlflow_server.uri)
    uploader = Uploader(copied, tiny_settings, request)
    uploader.upload()
    mlflow_id = uploader.request.run_states[1].mlflow_id
    tags_before = mlflow_server.client.get_run(mlflow_id).data.tags
    missing = next(
        evaluation
        for evaluation in copied.evaluations.read([1], "test")
        if evaluation.name == "fid" and evaluation.epoch == copied.runs.read(1).best_epoch
    )
    protocol = {**missing.protocol, "weights_sha256": weights.CATALOG["inception"].sha256}
    measured = replace(missing, value=88.0, missing=None, protocol=protocol)
    copied.evaluations.replace(1, CheckpointEvaluation((measured,)))

    uploader.upload()

    assert "Inception" in tags_before["missing.test.fid"]
    mlflow_run = mlflow_server.client.get_run(mlflow_id)
    assert mlflow_run.data.metrics["test/fid"] == 88.0
    assert "missing.test.fid" not in mlflow_run.data.tags


def test_a_run_that_was_deleted_in_mlflow_does_not_prevent_other_uploads(
    store, mlflow_settings, mlflow_server
):
    configs = [tiny_config(), tiny_config("gan")]
    _, (first, second) = lifecycle.submit(store, mlflow_settings, configs, "two", "k", NOW)
    uploader = uploader_of(store, mlflow_settings)
    record_whole_run(store)
    uploader.upload()
    state = uploader.request.run_states[first.id]
    mlflow_server.client.delete_run(state.mlflow_id)
    uploader.request = uploader.request.with_run_state(first.id, replace(state, state=""))
    record_whole_run(store)

    with pytest.raises(MlflowException):
        uploader.upload()
    mlflow_id = uploader.request.run_states[second.id].mlflow_id
    assert_run_is_uploaded(mlflow_server, store, mlflow_id, second.id)


def test_a_request_that_is_renewed_during_an_upload_stays_incomplete(
    store, mlflow_settings, monkeypatch
):
    lifecycle.submit(store, mlflow_settings, [tiny_config()], "late", "k", NOW)
    record_whole_run(store)
    uploader = uploader_of(store, mlflow_settings)
    upload_run = uploader._upload_run

    def renew_and_upload(study, run):
        export_requests.renew_requests(mlflow_settings, study.id)  # as if the study was extended
        upload_run(study, run)

    monkeypatch.setattr(uploader, "_upload_run", renew_and_upload)
    uploader.upload()

    assert not export_requests.load_request(uploader.request.path).is_complete
    monkeypatch.setattr(uploader, "_upload_run", upload_run)
    uploader.upload()
    assert export_requests.load_request(uploader.request.path).is_complete


def test_a_run_that_was_started_again_replaces_its_first_mlflow_run(
    store, mlflow_settings, mlflow_server
):
    _, (run,) = lifecycle.submit(store, mlflow_settings, [tiny_config()], "again", "k", NOW)
    uploader = uploader_of(store, mlflow_settings)
    job = start_attempt(store)
    record_steps(store, job, 1, 6)
    stop_run(store, job)
    uploader.upload()
    first_id = uploader.request.run_states[run.id].mlflow_id
    assert mlflow_server.client.get_run(first_id).info.status == "KILLED"

    lifecycle.retry(store, mlflow_settings, run.id)
    record_whole_run(store, NOW + timedelta(minutes=1))
    assert uploader.upload()

    second_id = uploader.request.run_states[run.id].mlflow_id
    assert second_id != first_id
    assert mlflow_server.client.get_run(first_id).info.lifecycle_stage == "deleted"
    assert_run_is_uploaded(mlflow_server, store, second_id, run.id)


def test_a_run_that_was_stopped_and_resumed_has_each_point_once(
    store, mlflow_settings, mlflow_server
):
    _, (run,) = lifecycle.submit(store, mlflow_settings, [tiny_config()], "on", "k", NOW)
    uploader = uploader_of(store, mlflow_settings)
    job = start_attempt(store)
    record_steps(store, job, 1, 11)
    store.checkpoints.add(job, checkpoint_of(epoch=1), NOW)
    stop_run(store, job)
    uploader.upload()
    lifecycle.resume(store, mlflow_settings, run.id)
    job = start_attempt(store, NOW + timedelta(minutes=1))
    store.runs.rewind(job, epoch=1, step=8, now=NOW)
    record_steps(store, job, 9, 16)
    store.jobs.finish(job, RunState.DONE, None, NOW)

    assert uploader.upload()

    mlflow_id = uploader.request.run_states[run.id].mlflow_id
    assert_run_is_uploaded(mlflow_server, store, mlflow_id, run.id)


def test_the_request_of_a_deleted_study_is_complete(store, mlflow_settings):
    _, (run,) = lifecycle.submit(store, mlflow_settings, [tiny_config()], "gone", "k", NOW)
    lifecycle.cancel(store, mlflow_settings, run.id, NOW)
    lifecycle.delete(store, mlflow_settings, [run.id])
    uploader = uploader_of(store, mlflow_settings)

    assert uploader.upload()
    assert export_requests.load_request(uploader.request.path).is_complete


def test_the_uploading_process_continues_after_the_server_was_unreachable(
    store, mlflow_settings, mlflow_server
):
    port = free_port()
    settings = replace(mlflow_settings, mlflow=f"http://127.0.0.1:{port}")
    configs = [tiny_config(), tiny_config("gan")]
    study, _ = lifecycle.submit(store, settings, configs, "away", "k", NOW)
    record_whole_run(store)

    def load_request():
        (request,) = export_requests.load_requests(settings)
        return request

    # Nothing listens at the address yet.
    export_requests.ensure_uploader(settings)
    wait_for(lambda: load_request().error)
    # The connection breaks while the curves are uploaded, and the study goes on.
    with Relay(port, mlflow_server.port, cut_after=b"g_loss") as relay:
        assert relay.is_cut.wait(TIMEOUT_S)
    (upload_state,) = load_request().run_states.values()
    assert upload_state.params
    assert not upload_state.cursor
    record_whole_run(store)
    with Relay(port, mlflow_server.port):
        wait_for(lambda: load_request().is_complete)

    assert_study_is_uploaded(mlflow_server, store, study.id)
    log = (settings.artifacts / export_requests.LOG_FILE).read_text()
    assert "does not accept study 1" in log
    assert "accepts uploads again" in log
    assert "Traceback" not in log
    # The process exits.
    with export_requests.uploader_lock(settings).acquire(timeout=TIMEOUT_S):
        pass


def test_the_export_command_uploads_a_study(
    copied, tiny_settings, mlflow_server, monkeypatch, capsys
):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", tiny_settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tiny_settings.artifacts))

    assert main(["export", "1", "--mlflow", mlflow_server.uri]) == 0
    assert capsys.readouterr().out.strip() == mlflow_server.uri
    assert_study_is_uploaded(mlflow_server, copied, 1)
    assert main(["export", "1"]) == 2
    assert main(["export", "1", "--mlflow", "http://127.0.0.1:9"]) == 1
    assert "did not accept the whole upload" in capsys.readouterr().err
