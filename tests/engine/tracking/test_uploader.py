"""MLflow gets everything that the store has: curves, pictures, models and protocols."""

import json
import os
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import safetensors
from mlflow.exceptions import MlflowException

from engine.cli.main import main
from engine.errors import BadInputError
from engine.jobs import lifecycle, spawn
from engine.records.runs import RunState
from engine.settings import Settings
from engine.store import utc_now
from engine.tracking import export_requests, process
from engine.tracking.uploader import RUN_TAG, Uploader
from engine.training import loop
from tests.support.mlflow_server import Server
from tests.support.runs import NOW, kill_processes_of, tiny_config, wait_for
from tests.support.training_jobs import run_next_job, run_training_job, stop_at_check

pytestmark = pytest.mark.slow


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


def run_all_jobs(store, settings):
    while (job := store.jobs.claim(utc_now())) is not None:
        run_training_job(store, settings, job, lambda: False)


@pytest.fixture
def mlflow_settings(tiny_settings, mlflow_server, monkeypatch):
    """Settings with which every submitted study is exported to the MLflow server."""
    monkeypatch.setattr(loop, "FETCH_INTERVAL_S", 0.0)  # an event at every step
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    monkeypatch.setenv("TORCH_HOME", str(tiny_settings.artifacts))
    yield replace(tiny_settings, mlflow=mlflow_server.uri)
    kill_processes_of(tiny_settings)


@pytest.fixture(scope="module")
def uploaded(trained, mlflow_server):
    """The uploader of the trained study, after its upload."""
    request = export_requests.request_export(trained.settings, 1, mlflow_server.uri)
    uploader = Uploader(trained.store, trained.settings, request)
    assert uploader.upload()
    return uploader


def test_uploaded_curves_equal_the_stored_ones(uploaded, trained, mlflow_server):
    assert_study_is_uploaded(mlflow_server, trained.store, 1)


def test_settings_values_protocols_samples_and_the_model_of_a_run_are_uploaded(
    uploaded, trained, mlflow_server, tmp_path
):
    store, client = trained.store, mlflow_server.client
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
    (model,) = client.list_artifacts(mlflow_run.info.run_id, "model")
    path = client.download_artifacts(mlflow_run.info.run_id, model.path, str(tmp_path))
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata()["run"] == str(run.id)


def test_what_was_uploaded_is_not_uploaded_again(uploaded, trained, monkeypatch):
    request = export_requests.load_request(uploaded.request.path)
    second = Uploader(trained.store, trained.settings, request)
    calls = []
    monkeypatch.setattr(second.client, "log_batch", lambda *args, **kwargs: calls.append(args))
    monkeypatch.setattr(second.client, "log_artifact", lambda *args: calls.append(args))

    assert second.upload()
    assert calls == []


def test_after_the_progress_file_is_lost_nothing_is_uploaded_twice(
    uploaded, trained, mlflow_server
):
    export_requests._progress_path(uploaded.request.path).unlink()
    request = export_requests.request_export(trained.settings, 1, mlflow_server.uri)

    assert request.run_states == {}
    assert Uploader(trained.store, trained.settings, request).upload()
    assert_study_is_uploaded(mlflow_server, trained.store, 1)
    for mlflow_run in runs_of(mlflow_server, 1, trained.store.machines.read_installation_id()):
        names = [name for name in mlflow_run.data.metrics if name.startswith(("val/", "test"))]
        assert len(names) > 20
        steps = [
            (name, metric.step)
            for name in names
            for metric in mlflow_server.client.get_metric_history(mlflow_run.info.run_id, name)
        ]
        assert len(set(steps)) == len(steps)


def test_a_value_that_replaces_a_missing_one_is_uploaded(uploaded, trained, mlflow_server):
    run = trained.store.runs.read(1)
    evaluations = trained.store.evaluations.read([1], "test")
    missing = next(
        evaluation
        for evaluation in evaluations
        if evaluation.name == "fid" and evaluation.epoch == run.best_epoch
    )
    measured = replace(missing, value=88.0, missing=None)
    request = export_requests.load_request(uploaded.request.path)
    second = Uploader(trained.store, trained.settings, request)
    second.store = SimpleNamespace(
        evaluations=SimpleNamespace(read=lambda ids, split: [measured] if split == "test" else [])
    )
    state = second.request.run_states[1]

    second._upload_evaluations(run, state)

    mlflow_run = mlflow_server.client.get_run(state.mlflow_id)
    assert mlflow_run.data.metrics["test/fid"] == 88.0
    assert "missing.test.fid" not in mlflow_run.data.tags
    # Remove the value, which the store does not have, from the module's MLflow experiment.
    mlflow_server.client.delete_run(state.mlflow_id)
    export_requests._progress_path(uploaded.request.path).unlink()


def test_a_run_that_was_deleted_in_mlflow_does_not_prevent_other_uploads(
    store, mlflow_settings, mlflow_server
):
    configs = [tiny_config(), tiny_config("gan")]
    _, (first, second) = lifecycle.submit(store, mlflow_settings, configs, "two", "k", NOW)
    uploader = uploader_of(store, mlflow_settings)
    run_next_job(store, mlflow_settings)
    uploader.upload()
    state = uploader.request.run_states[first.id]
    mlflow_server.client.delete_run(state.mlflow_id)
    store.runs.annotate(first.id, "x", [])
    uploader.request = uploader.request.with_run_state(first.id, replace(state, state=""))
    run_next_job(store, mlflow_settings)

    with pytest.raises(MlflowException):
        uploader.upload()
    mlflow_id = uploader.request.run_states[second.id].mlflow_id
    assert_run_is_uploaded(mlflow_server, store, mlflow_id, second.id)


def test_a_request_that_is_renewed_during_an_upload_stays_incomplete(
    store, mlflow_settings, monkeypatch
):
    lifecycle.submit(store, mlflow_settings, [tiny_config()], "late", "k", NOW)
    run_next_job(store, mlflow_settings)
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
    run_next_job(store, mlflow_settings, stop_at_check(6))
    uploader.upload()
    first_id = uploader.request.run_states[run.id].mlflow_id
    assert mlflow_server.client.get_run(first_id).info.status in ("KILLED", "FAILED")

    lifecycle.retry(store, mlflow_settings, run.id)
    run_all_jobs(store, mlflow_settings)
    assert uploader.upload()

    second_id = uploader.request.run_states[run.id].mlflow_id
    assert second_id != first_id
    assert mlflow_server.client.get_run(first_id).info.lifecycle_stage == "deleted"
    assert_run_is_uploaded(mlflow_server, store, second_id, run.id)


def test_a_run_that_was_stopped_and_resumed_has_each_point_once(
    store, mlflow_settings, mlflow_server
):
    config = tiny_config(epochs=2)
    _, (run,) = lifecycle.submit(store, mlflow_settings, [config], "on", "k", NOW)
    uploader = uploader_of(store, mlflow_settings)
    run_next_job(store, mlflow_settings, stop_at_check(9))
    uploader.upload()
    lifecycle.resume(store, mlflow_settings, run.id)
    run_all_jobs(store, mlflow_settings)

    assert uploader.upload()
    assert store.runs.read(run.id).state == RunState.DONE
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
    store, mlflow_settings, tmp_path_factory
):
    server = Server(tmp_path_factory.mktemp("away"))
    settings = replace(mlflow_settings, mlflow=server.uri)
    configs = [tiny_config(epochs=2), tiny_config("gan", epochs=2)]
    study, _ = lifecycle.submit(store, settings, configs, "away", "k", NOW)
    began = time.monotonic()

    def any_request(condition):
        return any(map(condition, export_requests.load_requests(settings)))

    # The server does not run yet.
    run_training_job(store, settings, store.jobs.claim(utc_now()), lambda: False)
    export_requests.ensure_uploader(settings)
    wait_for(lambda: any_request(lambda request: request.error))
    try:
        # The server stops during the upload, and starts again.
        server.start()
        wait_for(lambda: any_request(lambda request: request.run_states))
        server.stop()
        run_all_jobs(store, settings)
        server.start()
        wait_for(lambda: not any_request(lambda request: not request.is_complete))

        assert_study_is_uploaded(server, store, study.id)
        log = (settings.artifacts / export_requests.LOG_FILE).read_text()
        assert "does not accept study 1" in log
        assert "accepts uploads again" in log
        assert "Traceback" not in log
        # The process exits.
        with export_requests.uploader_lock(settings).acquire(timeout=60):
            assert time.monotonic() - began < process.UNREACHABLE_TIMEOUT_S
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


def test_the_export_command_uploads_a_study(trained, mlflow_server, monkeypatch, capsys):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", trained.settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(trained.settings.artifacts))

    assert main(["export", "1", "--mlflow", mlflow_server.uri]) == 0
    assert capsys.readouterr().out.strip() == mlflow_server.uri
    assert main(["export", "1"]) == 2
    assert main(["export", "1", "--mlflow", "http://127.0.0.1:9"]) == 1
    assert "did not accept the whole upload" in capsys.readouterr().err
    for request in export_requests.load_requests(trained.settings):
        request.path.unlink()


def test_invalid_addresses_and_addresses_with_a_password_are_refused():
    for uri in ("http://me:secret@host:5000", "", "two words"):
        with pytest.raises(BadInputError):
            export_requests.check_uri(uri, "--mlflow")
    assert export_requests.check_uri("http://127.0.0.1:5000", "--mlflow")


def test_a_password_in_the_variable_is_passed_to_the_client_and_not_stored(monkeypatch):
    monkeypatch.setenv(export_requests.URI_VARIABLE, "https://me:se%40cret@mlflow.example:5000/x")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")  # so that monkeypatch restores it
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")

    assert Settings.from_environment().mlflow == "https://mlflow.example:5000/x"
    export_requests.set_client_credentials()
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "se@cret"


def test_without_the_client_the_option_is_refused_and_the_variable_is_ignored(
    store, mlflow_settings, monkeypatch
):
    monkeypatch.setattr(export_requests, "find_spec", lambda name: None)

    with pytest.raises(BadInputError, match="chromabench\\[mlflow\\]"):
        export_requests.require_client()
    lifecycle.submit(store, mlflow_settings, [tiny_config()], "alone", "k", NOW)
    assert export_requests.load_requests(mlflow_settings) == []
