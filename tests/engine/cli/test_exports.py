"""The commands `runs`, `cancel`, `doctor` and `export` about exports to MLflow."""

import pytest

from engine.cli import doctor
from engine.cli.main import main
from engine.jobs import spawn
from engine.records.runs import RunState
from engine.store import utc_now
from tests.support.runs import NOW, tiny_config

URI = "http://127.0.0.1:9"


@pytest.fixture
def ended(settings, store, monkeypatch):
    """The store of commands with one study, whose run was stopped, and its export."""
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(settings.artifacts))
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    store.studies.add("key", "a", [tiny_config()], NOW)
    store.jobs.request_run_stop(1, NOW)
    store.exports.request(1, URI, NOW)
    return store


def claim(store, now=NOW):
    store.exports.queue_due(now)
    return store.jobs.claim(now, "export")


def last_line(capsys):
    main(["runs"])
    return capsys.readouterr().out.strip().splitlines()[-1].strip()


def test_runs_shows_what_is_exported_and_why_an_upload_failed(ended, capsys):
    lines = [last_line(capsys)]
    job = claim(ended)
    ended.exports.set_phase(job, 1, "run 1: its model", NOW)
    lines.append(last_line(capsys))
    ended.exports.record_failure(job, 1, "no route to host", NOW)
    ended.jobs.finish(job, RunState.FAILED, "no route to host", NOW)
    lines.append(last_line(capsys))

    assert lines == [
        f"Study 1: waiting for the export to {URI}.",
        f"Study 1: exporting to {URI}, run 1: its model.",
        f"Study 1: not exported to {URI} yet: no route to host; the upload is repeated now.",
    ]


def test_runs_shows_a_run_that_could_not_be_uploaded_and_no_export_without_errors(ended, capsys):
    job = claim(ended)
    error = "run 1 could not be uploaded: deleted"
    ended.exports.record_upload(job, ended.exports.read(1), error, NOW)
    ended.exports.end_upload(job, ended.exports.read(1), True, None, NOW)
    ended.jobs.finish(job, RunState.FAILED, error, NOW)
    with_error = last_line(capsys)
    ended.exports.renew(1, NOW)
    job = claim(ended)
    ended.exports.record_upload(job, ended.exports.read(1), None, NOW)
    ended.exports.end_upload(job, ended.exports.read(1), True, None, NOW)
    ended.jobs.finish(job, RunState.DONE, None, NOW)

    assert with_error == f"Study 1: exported to {URI}, but {error}."
    assert "Study 1" not in last_line(capsys)


def test_cancel_stops_the_export_of_a_study_whose_runs_have_ended(ended, capsys):
    claim(ended)

    assert main(["cancel", "--study", "1"]) == 0

    assert capsys.readouterr().out.strip() == f"the export of study 1 to {URI} is cancelled"
    assert last_line(capsys) == f"Study 1: the export to {URI} is stopping."


def test_cancel_leaves_the_export_of_runs_that_it_stops(ended):
    ended.jobs.requeue(1)

    assert main(["cancel", "--study", "1"]) == 0

    assert ended.runs.read(1).state == RunState.STOPPED
    assert ended.exports.read(1).is_pending


def test_the_doctor_names_a_study_that_could_not_be_exported(ended, settings):
    ended.exports.record_failure(claim(ended), 1, "no route to host", NOW)

    (check,) = [check for check in doctor.run_checks(settings) if check.subject == "MLflow"]

    assert (check.state, check.detail) == (
        "missing",
        f"study 1 is not on {URI}: no route to host",
    )


def test_the_export_command_reports_a_failed_upload(ended, capsys, monkeypatch):
    def fail_upload(_settings):
        if (job := claim(ended, utc_now())) is not None:
            ended.exports.record_failure(job, 1, "no route to host", NOW)

    monkeypatch.setattr(spawn, "ensure_supervisor", fail_upload)

    assert main(["export", "1", "--mlflow", URI]) == 1

    message = f"{URI} did not accept the whole upload (no route to host)."
    assert message in " ".join(capsys.readouterr().err.split())
