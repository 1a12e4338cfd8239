"""The line of the Compare page about metrics whose weights were missing."""

import pytest

from dashboard.queries import studies
from engine import weights
from engine.metrics.catalog import CATALOG
from engine.records.runs import Evaluation, RunState
from tests.support.pages import open_page, texts
from tests.support.runs import NOW
from tests.support.weights import install_weights

COMPUTE, CANCEL = "compute_missing_metrics", "cancel_missing_metrics"
SENTENCE = "3 evaluations of 3 runs lack FID"


@pytest.fixture(autouse=True)
def empty_torch_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.fixture
def computable(finished, app_settings, monkeypatch):
    """A study without FID, on a machine that has the weights of Inception now."""
    install_weights("inception", {}, app_settings, monkeypatch)
    return finished


def button_labels(app):
    return [button.label for button in app.button]


def complete(store, job, run_id):
    """Stores an FID of a run, as the worker does."""
    protocol = {"weights_sha256": weights.CATALOG["inception"].sha256}
    fid = Evaluation(run_id, "test", "fid", 40.0 + run_id, 32, 3, protocol=protocol)
    store.evaluations.complete(job, [fid], NOW)


def test_without_the_weights_the_page_says_how_to_get_them(finished):
    app = open_page("compare")

    assert f"{SENTENCE}. To compute them, get the Inception weights: `" in texts(app)
    assert "weights fetch inception`" in texts(app)
    assert "Compute FID for this study" not in button_labels(app)
    assert not app.exception


def test_with_the_weights_the_page_offers_to_compute_the_metrics(computable):
    app = open_page("compare")
    assert f"{SENTENCE}. They can be computed now." in texts(app)
    assert app.button(key=COMPUTE).label == "Compute FID for this study"

    app.button(key=COMPUTE).click().run()

    (job,) = computable.jobs.read_all(RunState.QUEUED)
    assert (job.kind, job.subject) == ("evaluate", "1")
    assert not app.exception
    assert "Compute FID for this study" not in button_labels(app)
    assert app.button(key=CANCEL).label == "Cancel"


def progress_of(app):
    (bar,) = app.get("progress")
    return bar.proto.value, bar.proto.text.replace("\\", "")


def test_the_page_shows_the_progress_and_then_the_new_values(computable):
    job = computable.jobs.add("evaluate", "1", NOW)
    assert progress_of(open_page("compare")) == (
        0,
        "Waiting for a free training slot to compute FID",
    )
    job = computable.jobs.claim(NOW, "evaluate")
    complete(computable, job, 1)
    computable.jobs.set_progress(job, 0.4, NOW)
    app = open_page("compare")
    assert progress_of(app) == (40, "Computing FID, 1 of 3 evaluations are complete")

    for run_id in (2, 3):
        complete(computable, job, run_id)
    computable.jobs.finish(job, RunState.DONE, None, NOW)
    app.run()

    table = app.get("html")[1].proto.body
    assert all(f"<b>{CATALOG['fid'].format(40.0 + run_id)}</b>" in table for run_id in (1, 2, 3))
    assert not app.get("progress")
    assert "lack FID" not in texts(app)


def test_a_computation_can_be_cancelled_and_is_offered_again(computable):
    job = computable.jobs.add("evaluate", "1", NOW)
    computable.jobs.claim(NOW, "evaluate")
    app = open_page("compare")

    app.button(key=CANCEL).click().run()

    assert computable.jobs.read(job.id).state == RunState.STOPPING
    assert app.button(key=CANCEL).disabled
    stopping = computable.jobs.read(job.id)
    reason = "stopped by the user after 1 of 3 evaluations"
    computable.jobs.finish(stopping, RunState.STOPPED, reason, NOW)
    app.run()
    assert f"The last computation ended: {reason}." in texts(app)
    assert app.button(key=COMPUTE).label == "Compute FID for this study"


def test_the_leader_of_a_study_is_read_again_after_its_metrics_were_completed(computable):
    (card,) = studies.study_cards()
    before = studies.comparison_version(card.runs)
    computable.jobs.add("evaluate", "1", NOW)

    complete(computable, computable.jobs.claim(NOW, "evaluate"), 1)

    assert studies.comparison_version(card.runs) != before


def test_a_study_that_lacks_nothing_has_no_line(computable):
    computable.jobs.add("evaluate", "1", NOW)
    job = computable.jobs.claim(NOW, "evaluate")
    for run_id in (1, 2, 3):
        complete(computable, job, run_id)
    computable.jobs.finish(job, RunState.DONE, None, NOW)

    app = open_page("compare")

    assert "lack FID" not in texts(app)
    assert "Compute FID for this study" not in button_labels(app)
