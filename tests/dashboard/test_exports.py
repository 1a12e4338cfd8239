"""The line of the Compare page about exports to MLflow."""

from engine.records.runs import RunState
from engine.store import utc_now
from tests.support.pages import open_page, texts

URI = "http://mlflow.example"


def request_and_claim(store):
    store.exports.request(1, URI, utc_now())
    store.exports.queue_due(utc_now())
    return store.jobs.claim(utc_now(), "export")


def unescaped(app):
    """The texts of a page without the escapes of Markdown."""
    return texts(app).replace("\\", "")


def test_the_page_shows_what_is_uploaded_and_cancels_the_export(finished):
    job = request_and_claim(finished)
    finished.exports.set_phase(job, 1, "run 1: its model", utc_now())
    app = open_page("compare")
    assert f"Exporting to {URI}, run 1: its model." in unescaped(app)

    app.button(key="cancel_export_1").click().run()

    assert finished.exports.read(1).is_cancelled
    assert finished.jobs.read(job.id).state == RunState.STOPPING
    assert f"The export to {URI} is stopping." in unescaped(app)
    assert not app.exception


def test_the_page_shows_why_an_upload_failed_and_nothing_about_a_complete_export(finished):
    job = request_and_claim(finished)
    finished.exports.record_failure(job, 1, "no route to host", utc_now())
    failed = unescaped(open_page("compare"))
    export = finished.exports.read(1)
    finished.exports.record_upload(job, export, None, utc_now())
    finished.exports.end_upload(job, export, True, None, utc_now())
    finished.jobs.finish(job, RunState.DONE, None, utc_now())

    assert f"Not exported to {URI} yet: no route to host;" in failed
    assert URI not in unescaped(open_page("compare"))
