import math
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from engine.errors import BadInputError, StoreError
from engine.records import (
    Checkpoint,
    Evaluation,
    ImageScore,
    Judgement,
    MetricPoint,
    Predictions,
    RunState,
    Sample,
)
from engine.store import LostJobError, Store
from engine.weights import CATALOG
from tests.conftest import NOW, tiny_config


@pytest.fixture
def study(store):
    found, _ = store.add_study("key", "a study", [tiny_config(), tiny_config("gan")], NOW)
    return found


@pytest.fixture
def job(store, study):
    return store.claim_job(NOW)


def point(run_id, step, value, name="l1", epoch=1):
    return MetricPoint(run_id, step, epoch, name, value)


def test_a_study_comes_back_as_it_was_stored(store):
    study, runs = store.add_study("key", "Ünïcode = <b>", [tiny_config(seed=4)], NOW)

    assert store.read_study(study.id) == study
    assert study.name == "Ünïcode = <b>"
    assert study.created_at == NOW
    assert runs[0].config == tiny_config(seed=4)
    assert runs[0].state == RunState.QUEUED
    assert store.read_run(runs[0].id) == runs[0]


def test_the_same_key_again_is_the_same_study(store, study):
    again, runs = store.add_study("key", "another name", [tiny_config()], NOW)

    assert again == study
    assert len(runs) == 2
    assert len(store.read_studies()) == 1


def test_what_is_not_there_is_refused(store):
    with pytest.raises(BadInputError, match="no study 7"):
        store.read_study(7)
    with pytest.raises(BadInputError, match="no run 7"):
        store.read_run(7)


def test_jobs_are_claimed_in_the_order_of_their_submission(store, study):
    first, second, third = (store.claim_job(NOW) for _ in range(3))

    assert (first.run_id, second.run_id, third) == (1, 2, None)
    assert first.token != second.token
    assert store.read_run(1).state == RunState.RUNNING


def test_no_two_workers_ever_claim_one_run(store, settings):
    store.add_study("many", "many", [tiny_config(seed=seed) for seed in range(60)], NOW)
    claimed = []

    def work():
        own = Store(settings.database_url)
        while (job := own.claim_job(NOW)) is not None:
            claimed.append(job.run_id)
        own.close()

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sorted(claimed) == list(range(1, 61))


def test_writing_a_metric_twice_is_the_same_as_once(store, job):
    for _ in range(2):
        store.add_metrics(job, 0, 2, [point(1, 1, 0.5), point(1, 2, 0.4)], NOW)

    assert [(it.step, it.value) for it in store.read_metrics([1])] == [(1, 0.5), (2, 0.4)]


def test_the_cursor_gives_only_what_is_new(store, job):
    store.add_metrics(job, 0, 1, [point(1, 1, 0.5)], NOW)
    cursor = store.read_metrics([1])[-1].id
    store.add_metrics(job, 0, 2, [point(1, 2, 0.4), point(1, 2, 0.9, "g_loss")], NOW)

    assert [it.step for it in store.read_metrics([1], cursor, ["l1"])] == [2]
    assert store.read_metrics([2], cursor) == []


def test_summaries_hold_the_last_and_the_extreme_values(store, job):
    values = [0.5, 0.2, None, 0.4]
    for epoch, value in enumerate(values, start=1):
        store.add_metrics(job, epoch, epoch, [point(1, epoch, value, epoch=epoch)], NOW)

    (summary,) = store.read_metric_summaries([1])

    assert (summary.last, summary.last_epoch) == (0.4, 4)
    assert (summary.lowest, summary.lowest_epoch) == (0.2, 2)
    assert (summary.highest, summary.highest_epoch) == (0.5, 1)


def test_a_value_that_is_missing_stays_missing(store, job):
    store.add_metrics(job, 1, 1, [point(1, 1, None)], NOW)

    assert store.read_metrics([1])[0].value is None


def test_who_lost_the_job_writes_nothing(store, job):
    stale = replace(job, token="another attempt")
    evaluation = Evaluation(1, "test", "psnr", 10.0, 8, 1)

    for write in (
        lambda: store.add_metrics(stale, 1, 1, [point(1, 1, 0.5)], NOW),
        lambda: store.add_judgement(stale, Judgement((evaluation,)), NOW),
        lambda: store.finish_job(stale, RunState.DONE, None, NOW),
        lambda: store.set_phase(stale, "training", NOW),
        lambda: store.beat(stale, NOW),
    ):
        with pytest.raises(LostJobError):
            write()

    assert store.read_metrics([1]) == []
    assert store.read_run(1).state == RunState.RUNNING


def test_an_ended_job_cannot_be_written_to(store, job):
    store.finish_job(job, RunState.DONE, None, NOW)

    with pytest.raises(LostJobError):
        store.add_metrics(job, 1, 1, [point(1, 1, 0.5)], NOW)


def test_a_queued_run_stops_at_once_and_is_never_claimed(store, study):
    assert store.request_stop(1, NOW) == RunState.STOPPED

    assert store.claim_job(NOW).run_id == 2
    assert store.read_run(1).reason == "stopped by the user before it began"


def test_a_running_run_is_asked_to_stop(store, job):
    assert store.request_stop(1, NOW) == RunState.STOPPING

    (asked,) = store.read_jobs(RunState.STOPPING)
    assert asked.stop_requested_at == NOW
    store.add_metrics(job, 1, 1, [point(1, 1, 0.5)], NOW)  # it may still write what it has


def test_only_the_newest_and_the_best_checkpoint_are_kept(store, job):
    forgotten = []
    for epoch, best in ((1, 1), (2, 2), (3, 2), (4, 2)):
        saved = Checkpoint(1, epoch, f"{epoch}.pt", "00", 1, is_best=False)
        gone = store.add_checkpoint(job, saved, NOW) + store.choose_checkpoint(job, best, NOW)
        forgotten.append([it.epoch for it in gone])

    assert forgotten == [[], [1], [], [3]]
    assert [(it.epoch, it.is_best) for it in store.read_checkpoints(1)] == [(4, False), (2, True)]
    assert store.read_run(1).best_epoch == 2


def test_a_checkpoint_that_is_not_kept_cannot_be_the_best(store, job):
    store.add_checkpoint(job, Checkpoint(1, 1, "1.pt", "00", 1, is_best=False), NOW)

    with pytest.raises(ValueError, match="epoch 2 is not kept"):
        store.choose_checkpoint(job, 2, NOW)


def test_scores_of_a_metric_that_is_missing_by_now_are_gone(store, job):
    score = ImageScore(1, "test", 1, "1F600", "psnr", 9.0)
    store.add_judgement(job, Judgement((Evaluation(1, "test", "psnr", 9.0, 8, 1),), (score,)), NOW)
    absent = Evaluation(1, "test", "psnr", None, 0, 1, missing="refused")
    store.add_judgement(job, Judgement((absent,)), NOW)

    assert store.read_scores([1], "test") == []


def test_evaluations_replace_older_ones(store, study, job):
    def measured(value):
        return Evaluation(1, "test", "psnr", value, 8, 1, low=1.0, high=2.0, protocol={"px": 32})

    score = ImageScore(1, "test", 1, "1F600", "psnr", 9.0)
    fakes = Predictions(1, "test", 1, "fakes.npy", ("1F600",))
    store.add_judgement(job, Judgement((measured(1.0),), (score,)), NOW)
    store.add_judgement(job, Judgement((measured(2.0),), (score,), fakes), NOW)

    assert store.read_evaluations([1], "test") == store.read_evaluations([1]) == [measured(2.0)]
    assert store.read_evaluations([1], "val") == []
    assert store.read_scores([1], "test") == [score]
    assert store.read_scores([1], "test", ["ssim"]) == []
    assert store.read_predictions([1], "test") == [fakes]


def test_each_epoch_keeps_its_own_evaluation(store, study, job):
    for epoch in (1, 2):
        found = Evaluation(1, "val", "psnr", 10.0 + epoch, 8, epoch)
        store.add_judgement(job, Judgement((found,)), NOW)

    assert [it.value for it in store.read_evaluations([1], "val")] == [11.0, 12.0]


@pytest.mark.parametrize(
    ("name", "value", "weights", "reason"),
    [
        ("fid", -0.00137, "6726825d", "fid cannot be -0.00137"),
        ("fid", math.inf, "6726825d", "fid cannot be inf"),
        ("fid", 12.0, "9656183e", "made with other weights"),
        ("fid", 12.0, "", "made with other weights"),
        ("kd_lite2", math.nan, "9656183e", "kd_lite2 cannot be nan"),
        ("ssim", 1.2, "", "ssim cannot be 1.2"),
        ("psnr", None, "", "neither a value nor a reason"),
    ],
)
def test_an_impossible_number_is_never_stored(store, job, name, value, weights, reason):
    digest = CATALOG["efficientnet_lite2"].sha256 if weights == "9656183e" else weights
    found = Evaluation(1, "test", name, value, 8, 1, protocol={"weights_sha256": digest})

    with pytest.raises(ValueError, match=reason):
        store.add_judgement(job, Judgement((found,)), NOW)

    assert store.read_evaluations([1]) == []


def test_an_evaluation_is_repeated_only_when_the_run_has_ended(store, job):
    again = Judgement((Evaluation(1, "test", "psnr", 10.0, 8, 1),))

    with pytest.raises(BadInputError, match="Run 1 is running"):
        store.repeat_judgement(1, again)
    store.finish_job(job, RunState.DONE, None, NOW)
    store.repeat_judgement(1, again)

    assert store.read_evaluations([1]) == list(again.evaluations)


def test_curves_are_thinned_to_the_means_of_equal_parts_of_the_run(store, job):
    store.start_run(job, tiny_config(), 8, {}, NOW)
    points = [point(1, step, float(step)) for step in (1, 2, 3, 4)]
    store.add_metrics(job, 1, 4, [*points, point(1, 5, None)], NOW)

    assert store.read_curves([1], ["l1"], 4) == {(1, "l1"): [(1.5, 1.5), (3.5, 3.5)]}
    assert len(store.read_curves([1], ["l1"], 100)[1, "l1"]) == 4


def test_steps_beyond_a_bound_are_counted_once_for_all_curves(store, job):
    points = [point(1, step, value, "d_loss") for step, value in enumerate((0.5, 0.001, 0.001), 1)]
    points += [point(1, step, value, "a") for step, value in enumerate((0.99, 0.99, 0.5), 1)]
    store.add_metrics(job, 1, 3, [*points, point(1, 4, 0.5, "d_loss")], NOW)

    assert store.read_step_shares([1], {"a": 0.95}, {"d_loss": 0.01}) == {1: 0.75}


def test_samples_come_by_epoch_and_the_newest_of_each_run_alone(store, job):
    for epoch in (1, 2):
        store.add_sample(job, Sample(1, epoch, epoch, "g", "s", "t", "f", "n"), NOW)

    assert [it.epoch for it in store.read_samples([1])] == [1, 2]
    assert [it.epoch for it in store.read_newest_samples()] == [2]


def test_speeds_are_by_configuration_and_size(store, job):
    store.add_metrics(job, 1, 1, [point(1, 1, 140.0, "images_per_second")], NOW)

    work = tiny_config().budget.work
    assert store.read_speeds() == {("standard", work): 140.0}


def test_lists_and_polls_never_scan_the_metrics(store, settings):
    engine = sa.create_engine(settings.database_url)
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT * FROM metrics"
            " WHERE run_id IN (1, 2) AND id > 5 AND name IN ('l1') ORDER BY id"
        ).all()
    engine.dispose()

    assert not [row for row in plan if "SCAN" in row[-1]]
    assert "metrics_by_curve (run_id=? AND name=? AND id>?)" in plan[0][-1]


def test_a_reader_does_not_stop_a_writer(store, study, job, settings):
    other = sa.create_engine(settings.database_url)
    with other.connect() as reader:
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT * FROM runs").all()
        store.add_metrics(job, 1, 1, [point(1, 1, 0.5)], NOW + timedelta(seconds=1))
    other.dispose()

    assert len(store.read_metrics([1])) == 1


def test_another_programs_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "theirs.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE cakes (id INTEGER)")
    engine.dispose()

    content = path.read_bytes()

    with pytest.raises(StoreError, match="another program's database"):
        Store(f"sqlite:///{path}")

    assert path.read_bytes() == content
    assert [it.name for it in tmp_path.iterdir()] == ["theirs.db"]


def test_a_newer_database_is_refused(store, settings):
    engine = sa.create_engine(settings.database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA user_version=99")
    engine.dispose()

    with pytest.raises(StoreError, match="newer Chromabench"):
        Store(settings.database_url)


@pytest.mark.parametrize(
    "url",
    [
        *("mysql://host/db", "not an address", "sqlite://", "sqlite:///:memory:"),
        *("sqlite:////tmp/x.db?mode=ro", "postgresql://host:notaport/x", "sqlite+nope:////x.db"),
    ],
)
def test_a_database_of_no_supported_kind_is_refused(url):
    with pytest.raises(BadInputError):
        Store(url)


def test_a_database_where_none_can_be_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(f"sqlite:///{tmp_path}/no/such/folder/runs.db")
