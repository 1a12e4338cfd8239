"""The missing metrics of a study are computed from its stored fakes, and nothing else changes."""

import csv
import io
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest

from engine.cli.main import main
from engine.jobs import missing_metrics, reaping, spawn
from engine.metrics.catalog import CATALOG
from engine.records.runs import RunState
from engine.report.comparison import compare
from engine.report.tables import to_csv
from engine.store import LostJobError, database_path
from engine.system import child_environment
from engine.workers import missing_metrics as worker
from engine.workers import worker_process
from tests.support.runs import NOW
from tests.support.weights import install_weights, random_inception, replace_in_processes

LITE2 = ("fd_lite2", "kd_lite2")
# A worker that is killed at the first image of its second checkpoint.
KILLED_WORKER = """
import os, signal, sys
from engine.evaluation.checkpoint_evaluator import CheckpointEvaluator
from engine.workers import missing_metrics, worker_process

evaluate_fakes, n_calls = CheckpointEvaluator.evaluate_fakes, []

def kill_second(*args):
    n_calls.append(1)
    if len(n_calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return evaluate_fakes(*args)

CheckpointEvaluator.evaluate_fakes = kill_second
worker_process.run(sys.argv[1:], missing_metrics.compute_missing_metrics)
"""


@pytest.fixture(autouse=True)
def empty_torch_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def erase(settings, names, last_run=2):
    """Removes values of the last epoch, as if the weights of their network had been missing.

    Args:
        settings: the settings of a copy of the trained study.
        names: the metrics.
        last_run: 1 for the first run only, 2 for both runs.
    """
    keys = ("extractor", "weights_sha256", "resize", "estimator")
    paths = ", ".join(f"'$.{key}'" for key in keys)
    marks = ", ".join("?" * len(names))
    with closing(sqlite3.connect(database_path(settings.database_url))) as database:
        database.execute(
            "UPDATE evaluations SET value = NULL, low = NULL, high = NULL, halves = NULL, "
            f"note = NULL, missing = 'no weights', protocol = json_remove(protocol, {paths}) "
            "WHERE split = 'test' AND epoch = 3 "
            f"AND run_id <= {last_run} AND name IN ({marks})",
            names,
        )
        database.commit()


def read_all(store):
    return store.evaluations.read([1, 2])


def n_incomplete(store, settings):
    missing = missing_metrics.find_missing_metrics(store, 1)
    return len(missing.limited_to(missing_metrics.available_networks(missing, settings)).incomplete)


def run_job(store, settings, should_stop=lambda: False):
    """Runs the evaluation of the study in this process; returns the ended job."""
    store.jobs.add("evaluate", "1", NOW)
    job = store.jobs.claim(NOW, "evaluate")
    worker_process.run_job(store, settings, job, should_stop, worker.compute_missing_metrics)
    return store.jobs.read(job.id)


def test_completed_values_equal_those_of_the_first_evaluation_to_the_last_digit(
    trained_copy, tiny_settings
):
    before = read_all(trained_copy)
    scores = trained_copy.evaluations.read_scores([1, 2], "test")
    erase(tiny_settings, LITE2, last_run=1)
    assert n_incomplete(trained_copy, tiny_settings) == 1

    job = run_job(trained_copy, tiny_settings)

    assert (job.state, job.reason) == (RunState.DONE, None)
    assert read_all(trained_copy) == before
    assert trained_copy.evaluations.read_scores([1, 2], "test") == scores


@pytest.mark.slow
def test_a_stored_value_is_not_replaced_if_another_metric_of_its_network_is_missing(
    trained_copy, tiny_settings
):
    erase(tiny_settings, ["kd_lite2"], last_run=1)
    with closing(sqlite3.connect(database_path(tiny_settings.database_url))) as database:
        database.execute("UPDATE evaluations SET value = 1.5 WHERE name = 'fd_lite2'")
        database.commit()

    run_job(trained_copy, tiny_settings)

    values = {(each.split, each.name): each.value for each in read_all(trained_copy)}
    assert values["test", "fd_lite2"] == 1.5
    assert values["test", "kd_lite2"] is not None


@pytest.mark.slow
def test_a_second_job_completes_what_a_killed_one_left(trained_copy, tiny_settings):
    before = read_all(trained_copy)
    erase(tiny_settings, LITE2)
    n_before = n_incomplete(trained_copy, tiny_settings)
    trained_copy.jobs.add("evaluate", "1", NOW)
    job = trained_copy.jobs.claim(NOW, "evaluate")

    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WORKER, str(job.id), str(job.token)],
        env=child_environment.build_child_environment(tiny_settings),
        check=False,
    )
    reaping.reap(trained_copy, tiny_settings, NOW, {str(job.token): killed.returncode})

    assert trained_copy.jobs.read(job.id).state == RunState.CRASHED
    assert n_incomplete(trained_copy, tiny_settings) == n_before - 1
    assert run_job(trained_copy, tiny_settings).state == RunState.DONE
    assert read_all(trained_copy) == before


@pytest.mark.slow
def test_a_cancelled_job_keeps_the_values_of_complete_checkpoints(trained_copy, tiny_settings):
    erase(tiny_settings, LITE2)
    n_before = n_incomplete(trained_copy, tiny_settings)

    def stop_after_one():
        job = trained_copy.jobs.read_newest("evaluate", "1")
        if n_incomplete(trained_copy, tiny_settings) == n_before:
            return False
        if job.stop_requested_at is None:
            trained_copy.jobs.request_stop(job.id, NOW)
        return True

    job = run_job(trained_copy, tiny_settings, stop_after_one)

    assert job.state == RunState.STOPPED
    assert job.reason == "stopped by the user after 3 of 4 evaluations"
    assert n_incomplete(trained_copy, tiny_settings) == n_before - 1


def test_a_worker_that_lost_its_job_stores_nothing(trained_copy, tiny_settings):
    erase(tiny_settings, LITE2)
    n_before = n_incomplete(trained_copy, tiny_settings)
    trained_copy.jobs.add("evaluate", "1", NOW)
    job = replace(trained_copy.jobs.claim(NOW, "evaluate"), token="stale")

    with pytest.raises(LostJobError):
        worker.compute_missing_metrics(trained_copy, tiny_settings, job, lambda: False)

    assert n_incomplete(trained_copy, tiny_settings) == n_before


def test_a_checkpoint_without_fakes_is_reported_and_the_others_are_completed(
    trained_copy, tiny_settings
):
    erase(tiny_settings, LITE2)
    for record in trained_copy.evaluations.read_predictions([1], "test"):
        (tiny_settings.artifacts / record.path).unlink()

    job = run_job(trained_copy, tiny_settings)

    incomplete = missing_metrics.find_missing_metrics(trained_copy, 1).incomplete
    assert job.state == RunState.FAILED
    assert "evaluations were not completed, the first is run 1, epoch" in job.reason
    assert "`python -m engine evaluate 1 --checkpoint last` makes them again" in job.reason
    assert {each.run_id for each in incomplete if "kd_lite2" in each.metrics} == {1}


def test_changed_pictures_are_refused(trained_copy, tiny_settings):
    erase(tiny_settings, LITE2)
    with closing(sqlite3.connect(database_path(tiny_settings.database_url))) as database:
        database.execute(
            "UPDATE runs SET environment = json_set(environment, '$.data_fingerprint', 'other')"
        )
        database.commit()

    job = run_job(trained_copy, tiny_settings)

    assert "The pictures of openmoji have changed since the run began" in job.reason
    assert n_incomplete(trained_copy, tiny_settings) > 0


@pytest.mark.slow
def test_a_study_gets_fid_in_its_table_by_one_command(
    trained_copy, tiny_settings, monkeypatch, capfd, supervise_with
):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", tiny_settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tiny_settings.artifacts))
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    before = [each for each in read_all(trained_copy) if CATALOG[each.name].network != "inception"]
    assert compare(trained_copy, 1).rows[0].cells["fid"].value is None
    assert main(["evaluate", "--study", "1"]) == 1
    assert "weights fetch inception`" in capfd.readouterr().err
    state = random_inception(monkeypatch)
    install_weights("inception", state, tiny_settings, monkeypatch)
    replace_in_processes(["inception"], monkeypatch)

    assert main(["evaluate", "--study", "1"]) == 0
    supervisor = supervise_with(tiny_settings, "--drain")
    assert main(["evaluate", "--study", "1", "--wait"]) == 0
    supervisor.wait()
    assert main(["evaluate", "--study", "1"]) == 0

    captured = capfd.readouterr()
    assert "The computation was started before" in captured.err
    assert "Nothing to compute for study 1" in captured.err
    assert "FID: 32 pictures in 2,048 dimensions: biased upward." in captured.out
    assert len(trained_copy.jobs.read_all(RunState.DONE)) == 3  # two runs and one evaluation
    comparison = compare(trained_copy, 1)
    rows = csv.DictReader(io.StringIO(to_csv(comparison)))
    for row, printed in zip(comparison.rows, rows, strict=True):
        assert row.cells["fid"].value > 0
        assert float(printed["fid"]) == row.cells["fid"].value
        assert row.cells["is_mean"].value > 1
    after = [each for each in read_all(trained_copy) if CATALOG[each.name].network != "inception"]
    assert after == before
