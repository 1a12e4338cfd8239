"""MLflow shows what the store has: curves equal to the last digit, pictures, models, protocols."""

import json
import os
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import safetensors

from engine.cli import parser
from engine.errors import BadInputError
from engine.jobs import lifecycle
from engine.records.runs import RunState
from engine.settings import Settings
from engine.store import utc_now
from engine.tracking import export_requests, process, uploader
from engine.training import loop
from engine.workers import train
from tests.conftest import NOW, end_processes_of, tiny_config, wait_for
from tests.engine.workers.test_resuming import at_check, do
from tests.support.mlflow_server import Server

pytestmark = pytest.mark.slow


def runs_of(server, study_id, installation):
    experiment = server.client.get_experiment_by_name(
        f"chromabench {installation} study {study_id}"
    )
    assert experiment is not None
    return server.client.search_runs([experiment.experiment_id])


def curves_there(server, mlflow_id, names):
    """(curve, step) -> values."""
    found = {}
    for name in names:
        for it in server.client.get_metric_history(mlflow_id, name):
            found.setdefault((name, it.step), []).append(it.value)
    return found


def curves_here(store, run_id):
    return {
        (it.name, it.step): [it.value]
        for it in store.read_metrics([run_id])
        if it.value is not None
    }


def require_equal(server, store, study_id):
    """Every run's curves are the store's, each point once."""
    there = runs_of(server, study_id, store.read_installation())
    runs = store.read_runs(study_id)
    assert len(there) == len(runs)
    for run in runs:
        (mlflow_run,) = [it for it in there if f"/{run.id}/" in it.data.tags[uploader.MARK]]
        here = curves_here(store, run.id)
        assert len(here) > 50
        names = {name for name, _ in here}
        assert curves_there(server, mlflow_run.info.run_id, names) == here


@pytest.fixture(scope="module")
def sent(trained, mlflow_server):
    """The trained study, sent."""
    wanted = export_requests.ask(trained.settings, 1, mlflow_server.uri)
    sender = uploader.Sender(trained.store, trained.settings, wanted)
    assert sender.send()
    return sender


def test_curves_are_the_stores(sent, trained, mlflow_server):
    require_equal(mlflow_server, trained.store, 1)


def test_a_run_has_its_settings_values_protocols_samples_and_model(
    sent, trained, mlflow_server, tmp_path
):
    store, client = trained.store, mlflow_server.client
    there = runs_of(mlflow_server, 1, store.read_installation())
    (run,) = [it for it in there if it.data.tags["configuration"] == "gan"]
    here = next(it for it in store.read_runs(1) if it.configuration == "gan")

    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"gan, seed 0 · run {here.id}"
    assert run.data.params["px"] == "32"
    assert run.data.params["lr_g"] == "0.0002"
    assert run.data.params["device"] == "cpu"  # as it was resolved
    every = store.read_evaluations([here.id], "test")
    evaluations = {it.name: it for it in every if it.epoch == here.best_epoch}
    values = {name: it.value for name, it in evaluations.items() if it.value is not None}
    assert {name: run.data.metrics[f"test/{name}"] for name in values} == values
    protocol = json.loads(run.data.tags["protocol.test.kd_lite2"])
    assert protocol["weights_sha256"] == evaluations["kd_lite2"].protocol["weights_sha256"]
    assert "Inception" in run.data.tags["missing.test.fid"]
    assert "environment.torch" in run.data.tags
    samples = [it.path for it in client.list_artifacts(run.info.run_id, "samples")]
    assert len(samples) == 3
    (model,) = [it.path for it in client.list_artifacts(run.info.run_id, "model")]
    local = client.download_artifacts(run.info.run_id, model, str(tmp_path))
    with safetensors.safe_open(local, "pt") as file:
        assert file.metadata()["run"] == str(here.id)


def test_what_was_sent_is_not_sent_again(sent, trained, mlflow_server, monkeypatch):
    again = uploader.Sender(
        trained.store, trained.settings, export_requests.read_one(sent.tracked.path)
    )
    asked = []
    monkeypatch.setattr(again.client, "log_batch", lambda *them, **more: asked.append(them))
    monkeypatch.setattr(again.client, "log_artifact", lambda *them: asked.append(them))

    assert again.send()
    assert asked == []


def test_where_the_record_of_what_was_sent_is_lost_nothing_doubles(sent, trained, mlflow_server):
    export_requests._sent_path(sent.tracked.path).unlink()
    wanted = export_requests.ask(trained.settings, 1, mlflow_server.uri)

    assert wanted.runs == {}
    assert uploader.Sender(trained.store, trained.settings, wanted).send()
    require_equal(mlflow_server, trained.store, 1)
    for run in runs_of(mlflow_server, 1, trained.store.read_installation()):
        names = [name for name in run.data.metrics if name.startswith(("val/", "test"))]
        assert len(names) > 20
        steps = [
            (name, it.step)
            for name in names
            for it in mlflow_server.client.get_metric_history(run.info.run_id, name)
        ]
        assert len(set(steps)) == len(steps)


def test_a_value_that_was_missing_and_is_measured_now_is_sent(sent, trained, mlflow_server):
    run = trained.store.read_run(1)
    known = trained.store.read_evaluations([1], "test")
    fid = next(it for it in known if it.name == "fid" and it.epoch == run.best_epoch)
    measured = replace(fid, value=88.0, missing=None)
    again = uploader.Sender(
        trained.store, trained.settings, export_requests.read_one(sent.tracked.path)
    )
    again.store = SimpleNamespace(
        read_evaluations=lambda ids, split: [measured] if split == "test" else []
    )
    mlflow_id = again.tracked.runs[1].mlflow_id

    again._send_evaluations(run, again.tracked.runs[1])

    there = mlflow_server.client.get_run(mlflow_id)
    assert there.data.metrics["test/fid"] == 88.0
    assert "missing.test.fid" not in there.data.tags
    mlflow_server.client.delete_run(mlflow_id)  # no other test looks at it
    export_requests._sent_path(sent.tracked.path).unlink()


def test_a_run_that_somebody_deleted_there_keeps_no_other_from_being_sent(
    store, tracked_settings, mlflow_server
):
    configs = [tiny_config(), tiny_config("gan")]
    _, runs = lifecycle.submit(store, tracked_settings, configs, "two", "k", NOW)
    (wanted,) = export_requests.read_all(tracked_settings)
    sender = uploader.Sender(store, tracked_settings, wanted)
    do(store, tracked_settings)
    sender.send()
    mlflow_server.client.delete_run(sender.tracked.runs[runs[0].id].mlflow_id)
    store.annotate_run(runs[0].id, "x", [])
    gone = replace(sender.tracked.runs[runs[0].id], state="")
    sender.tracked = sender.tracked.with_run(runs[0].id, gone)
    do(store, tracked_settings)

    with pytest.raises(uploader.MlflowException):
        sender.send()
    require_equal_run(mlflow_server, store, sender.tracked.runs[runs[1].id].mlflow_id, runs[1].id)


def test_what_is_wished_while_something_is_sent_is_not_forgotten(
    store, tracked_settings, monkeypatch
):
    lifecycle.submit(store, tracked_settings, [tiny_config()], "late", "k", NOW)
    (wanted,) = export_requests.read_all(tracked_settings)
    do(store, tracked_settings)
    sender = uploader.Sender(store, tracked_settings, wanted)
    send_run = sender._send_run

    def interrupted(study, run):
        export_requests.wake(tracked_settings, study.id)  # somebody extends the study meanwhile
        send_run(study, run)

    monkeypatch.setattr(sender, "_send_run", interrupted)
    sender.send()

    assert not export_requests.read_one(wanted.path).is_over
    monkeypatch.setattr(sender, "_send_run", send_run)
    sender.send()
    assert export_requests.read_one(wanted.path).is_over


def work(store, settings):
    while (job := store.claim_job(utc_now())) is not None:
        train.run_job(store, settings, job, lambda: False)


@pytest.fixture
def tracked_settings(tiny_settings, mlflow_server, monkeypatch):
    monkeypatch.setattr(loop, "READ_EVERY_S", 0.0)  # an event at every step
    monkeypatch.setattr(lifecycle, "ensure_supervisor", lambda settings: None)
    monkeypatch.setenv("TORCH_HOME", str(tiny_settings.artifacts))
    yield replace(tiny_settings, mlflow=mlflow_server.uri)
    end_processes_of(tiny_settings)


def test_a_run_begun_anew_takes_the_place_of_its_first_try(store, tracked_settings, mlflow_server):
    _, (run,) = lifecycle.submit(store, tracked_settings, [tiny_config()], "again", "k", NOW)
    (wanted,) = export_requests.read_all(tracked_settings)
    sender = uploader.Sender(store, tracked_settings, wanted)
    do(store, tracked_settings, at_check(6))
    sender.send()
    before = sender.tracked.runs[run.id].mlflow_id
    assert mlflow_server.client.get_run(before).info.status in ("KILLED", "FAILED")

    lifecycle.retry(store, tracked_settings, run.id, utc_now())
    work(store, tracked_settings)
    assert sender.send()

    after = sender.tracked.runs[run.id].mlflow_id
    assert after != before
    assert mlflow_server.client.get_run(before).info.lifecycle_stage == "deleted"
    require_equal_run(mlflow_server, store, after, run.id)


def require_equal_run(server, store, mlflow_id, run_id):
    here = curves_here(store, run_id)
    assert curves_there(server, mlflow_id, {name for name, _ in here}) == here


def test_a_run_that_was_stopped_and_resumed_has_each_point_once(
    store, tracked_settings, mlflow_server
):
    config = tiny_config(epochs=2)
    _, (run,) = lifecycle.submit(store, tracked_settings, [config], "on", "k", NOW)
    (wanted,) = export_requests.read_all(tracked_settings)
    sender = uploader.Sender(store, tracked_settings, wanted)
    do(store, tracked_settings, at_check(9))
    sender.send()
    lifecycle.resume(store, tracked_settings, run.id, utc_now())
    work(store, tracked_settings)

    assert sender.send()
    assert store.read_run(run.id).state == RunState.DONE
    require_equal_run(mlflow_server, store, sender.tracked.runs[run.id].mlflow_id, run.id)


def test_a_study_that_was_deleted_is_over(store, tracked_settings):
    _, (run,) = lifecycle.submit(store, tracked_settings, [tiny_config()], "gone", "k", NOW)
    lifecycle.cancel(store, tracked_settings, run.id, NOW)
    lifecycle.delete(store, tracked_settings, [run.id])
    (wanted,) = export_requests.read_all(tracked_settings)

    assert uploader.Sender(store, tracked_settings, wanted).send()
    assert export_requests.read_one(wanted.path).is_over


def test_the_mirror_catches_up_after_the_server_was_away(store, tracked_settings, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("away"))
    settings = replace(tracked_settings, mlflow=server.uri)
    configs = [tiny_config(epochs=2), tiny_config("gan", epochs=2)]
    study, _ = lifecycle.submit(store, settings, configs, "away", "k", NOW)
    began = time.monotonic()
    train.run_job(store, settings, store.claim_job(utc_now()), lambda: False)  # nobody listens
    export_requests.ensure_mirror(settings)
    wait_for(lambda: any(it.trouble for it in export_requests.read_all(settings)))
    try:
        server.start()
        wait_for(lambda: any(it.runs for it in export_requests.read_all(settings)))
        server.stop()  # away again, in the midst of it
        work(store, settings)
        server.start()
        wait_for(lambda: all(it.is_over for it in export_requests.read_all(settings)))
        require_equal(server, store, study.id)
        log = (settings.artifacts / export_requests.LOG).read_text()
        assert "does not take study 1" in log
        assert "takes it again" in log
        assert "Traceback" not in log
        mirror_is_gone = export_requests.mirror_lock(settings)
        with mirror_is_gone.acquire(timeout=60):
            assert time.monotonic() - began < process.GIVE_UP_S
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


def test_export_sends_a_study_that_nobody_asked_for_before(
    trained, mlflow_server, monkeypatch, capsys
):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", trained.settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(trained.settings.artifacts))

    assert parser.main(["export", "1", "--mlflow", mlflow_server.uri]) == 0
    assert capsys.readouterr().out.strip() == mlflow_server.uri
    assert parser.main(["export", "1"]) == 2
    assert parser.main(["export", "1", "--mlflow", "http://127.0.0.1:9"]) == 1
    assert "did not take all of it" in capsys.readouterr().err
    for it in export_requests.read_all(trained.settings):
        it.path.unlink()


def test_addresses_that_are_none_or_hold_a_password_are_refused(monkeypatch):
    for wrong in ("http://me:secret@host:5000", "", "two words"):
        with pytest.raises(BadInputError):
            export_requests.check_uri(wrong, "--mlflow")
    assert export_requests.check_uri("http://127.0.0.1:5000", "--mlflow")


def test_a_password_in_the_variable_is_not_stored_and_reaches_the_client(monkeypatch):
    monkeypatch.setenv(export_requests.VARIABLE, "https://me:se%40cret@mlflow.example:5000/x")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")  # put back after the test
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")

    assert Settings.from_environment().mlflow == "https://mlflow.example:5000/x"
    export_requests.take_credentials()
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "se@cret"


def test_without_the_client_the_option_is_refused_and_the_variable_stops_nothing(
    store, tracked_settings, monkeypatch
):
    monkeypatch.setattr(export_requests, "find_spec", lambda name: None)

    with pytest.raises(BadInputError, match="chromabench\\[mlflow\\]"):
        export_requests.require_client()
    lifecycle.submit(store, tracked_settings, [tiny_config()], "alone", "k", NOW)
    assert export_requests.read_all(tracked_settings) == []
