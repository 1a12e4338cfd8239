import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from engine.errors import BadInputError, DatabaseUnavailableError, StoreError
from engine.records.curves import Alert, Cost, MetricPoint, Probe
from engine.records.runs import (
    CheckpointEvaluation,
    Evaluation,
    ImageScore,
    Predictions,
    RunState,
    Sample,
)
from engine.store import LostJobError, Store, WorkerSlot
from engine.store.schema import jobs
from engine.weights import CATALOG
from tests.support.old_databases import connected
from tests.support.records import checkpoint_of
from tests.support.runs import NOW, tiny_config


@pytest.fixture
def study(store):
    added, _ = store.studies.add("key", "a study", [tiny_config(), tiny_config("gan")], NOW)
    return added


@pytest.fixture
def job(store, study):
    return store.jobs.claim(NOW)


def point(run_id, step, value, name="l1", epoch=1):
    return MetricPoint(run_id, step, epoch, name, value)


def test_a_study_comes_back_as_it_was_stored(store):
    study, runs = store.studies.add("key", "Ünïcode = <b>", [tiny_config(seed=4)], NOW)

    assert store.studies.read(study.id) == study
    assert study.name == "Ünïcode = <b>"
    assert study.created_at == NOW
    assert runs[0].config == tiny_config(seed=4)
    assert runs[0].state == RunState.QUEUED
    assert store.runs.read(runs[0].id) == runs[0]


def test_adding_a_study_with_the_same_key_returns_the_first_study(store, study):
    again, runs = store.studies.add("key", "another name", [tiny_config()], NOW)

    assert again == study
    assert len(runs) == 2
    assert len(store.studies.read_all()) == 1


def test_an_unknown_id_is_refused(store):
    with pytest.raises(BadInputError, match="no study 7"):
        store.studies.read(7)
    with pytest.raises(BadInputError, match="no run 7"):
        store.runs.read(7)


def test_jobs_are_claimed_in_the_order_of_their_submission(store, study):
    first, second, third = (store.jobs.claim(NOW) for _ in range(3))

    assert (first.run_id, second.run_id, third) == (1, 2, None)
    assert first.token != second.token
    assert store.runs.read(1).state == RunState.RUNNING


def test_two_workers_never_claim_one_run(store, settings):
    store.studies.add("many", "many", [tiny_config(seed=seed) for seed in range(60)], NOW)
    claimed = []

    def work():
        own = Store(settings.database_url)
        while (job := own.jobs.claim(NOW)) is not None:
            claimed.append(job.run_id)
        own.close()

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sorted(claimed) == list(range(1, 61))


def test_a_metric_point_that_is_written_twice_is_stored_once(store, job):
    for _ in range(2):
        store.curves.add_points(job, 0, 2, [point(1, 1, 0.5), point(1, 2, 0.4)], NOW)

    assert [(point.step, point.value) for point in store.curves.read([1])] == [(1, 0.5), (2, 0.4)]


def test_a_cursor_selects_only_newer_points(store, job):
    store.curves.add_points(job, 0, 1, [point(1, 1, 0.5)], NOW)
    cursor = store.curves.read([1])[-1].id
    store.curves.add_points(job, 0, 2, [point(1, 2, 0.4), point(1, 2, 0.9, "g_loss")], NOW)

    assert [point.step for point in store.curves.read([1], cursor, ["l1"])] == [2]
    assert store.curves.read([2], cursor) == []


def test_summaries_hold_the_last_and_the_extreme_values(store, job):
    values = [0.5, 0.2, None, 0.4]
    for epoch, value in enumerate(values, start=1):
        store.curves.add_points(job, epoch, epoch, [point(1, epoch, value, epoch=epoch)], NOW)

    (summary,) = store.curves.read_summaries([1])

    assert (summary.last, summary.last_epoch) == (0.4, 4)
    assert (summary.lowest, summary.lowest_epoch) == (0.2, 2)
    assert (summary.highest, summary.highest_epoch) == (0.5, 1)


def test_a_missing_value_stays_missing(store, job):
    store.curves.add_points(job, 1, 1, [point(1, 1, None)], NOW)

    assert store.curves.read([1])[0].value is None


def test_a_worker_with_a_stale_token_writes_nothing(store, job):
    stale = replace(job, token="another attempt")
    evaluation = Evaluation(1, "test", "psnr", 10.0, 8, 1)

    for write in (
        lambda: store.curves.add_points(stale, 1, 1, [point(1, 1, 0.5)], NOW),
        lambda: store.evaluations.add(stale, CheckpointEvaluation((evaluation,)), NOW),
        lambda: store.jobs.finish(stale, RunState.DONE, None, NOW),
        lambda: store.runs.set_phase(stale, "training", NOW),
        lambda: store.jobs.heartbeat(stale, NOW),
    ):
        with pytest.raises(LostJobError):
            write()

    assert store.curves.read([1]) == []
    assert store.runs.read(1).state == RunState.RUNNING


def test_an_ended_job_cannot_be_written_to(store, job):
    store.jobs.finish(job, RunState.DONE, None, NOW)

    with pytest.raises(LostJobError):
        store.curves.add_points(job, 1, 1, [point(1, 1, 0.5)], NOW)


def test_a_queued_run_stops_at_once_and_is_never_claimed(store, study):
    assert store.jobs.request_run_stop(1, NOW) == RunState.STOPPED

    assert store.jobs.claim(NOW).run_id == 2
    assert store.runs.read(1).reason == "stopped by the user before it started"


def test_a_running_run_is_asked_to_stop(store, job):
    assert store.jobs.request_run_stop(1, NOW) == RunState.STOPPING

    (stopping,) = store.jobs.read_all(RunState.STOPPING)
    assert stopping.stop_requested_at == NOW
    store.curves.add_points(job, 1, 1, [point(1, 1, 0.5)], NOW)  # it may still write what it has


def stored_checkpoints(store):
    return [(checkpoint.step, checkpoint.is_best) for checkpoint in store.checkpoints.read(1)]


def test_the_newest_two_and_the_best_checkpoint_are_kept(store, job):
    forgotten = []
    for epoch, best in ((1, 1), (2, 2), (3, 2), (4, 2), (5, 2)):
        store.checkpoints.add(job, checkpoint_of(epoch), NOW)
        store.checkpoints.choose(job, best, NOW)
        forgotten.append(
            [checkpoint.epoch for checkpoint in store.checkpoints.delete_old(job, 2, 0, NOW)]
        )

    assert forgotten == [[], [], [1], [], [3]]
    assert stored_checkpoints(store) == [(40, False), (32, False), (16, True)]
    assert store.runs.read(1).best_epoch == 2


def test_every_third_epoch_keeps_its_checkpoint_but_not_those_inside_an_epoch(store, job):
    for epoch in range(1, 7):
        store.checkpoints.add(job, checkpoint_of(epoch), NOW)
        store.checkpoints.add(job, checkpoint_of(epoch, 8 * epoch + 3, is_whole=False), NOW)

    store.checkpoints.delete_old(job, keep_newest=1, keep_every=3, now=NOW)

    assert [step for step, _ in stored_checkpoints(store)] == [51, 48, 24]


def test_a_checkpoint_replaces_an_older_one_of_the_same_step(store, job):
    store.checkpoints.add(job, checkpoint_of(1, path="a.pt"), NOW)
    store.checkpoints.add(job, checkpoint_of(1, path="b.pt"), NOW)

    assert [checkpoint.path for checkpoint in store.checkpoints.read(1)] == ["b.pt"]


def test_rewinding_a_run_deletes_later_checkpoints_and_evaluations(store, job):
    for epoch in (1, 2):
        store.checkpoints.add(job, checkpoint_of(epoch), NOW)
        store.checkpoints.choose(job, epoch, NOW)
        judged = Evaluation(1, "val", "psnr", 9.0 + epoch, 8, epoch)
        store.evaluations.add(job, CheckpointEvaluation((judged,)), NOW)

    (gone,) = store.runs.rewind(job, 1, 8, NOW)

    assert gone.epoch == 2
    assert stored_checkpoints(store) == [(8, False)]
    assert [evaluation.epoch for evaluation in store.evaluations.read([1])] == [1]
    assert (store.runs.read(1).epoch, store.runs.read(1).best_epoch) == (1, None)


def test_a_checkpoint_that_is_not_kept_cannot_be_the_best(store, job):
    store.checkpoints.add(job, checkpoint_of(1), NOW)

    with pytest.raises(ValueError, match="epoch 2 is not kept"):
        store.checkpoints.choose(job, 2, NOW)


@pytest.mark.parametrize("does_replace", [False, True])
def test_a_missing_value_never_replaces_a_stored_value_or_its_scores(store, job, does_replace):
    score = ImageScore(1, "test", 1, "1F600", "psnr", 9.0)
    measured = Evaluation(1, "test", "psnr", 9.0, 8, 1, low=8.0, high=10.0, protocol={"px": 32})
    store.evaluations.add(job, CheckpointEvaluation((measured,), (score,)), NOW)
    absent = Evaluation(1, "test", "psnr", None, 0, 1, missing="refused")
    absent_score = replace(score, value=None)
    evaluated_again = CheckpointEvaluation((absent,), (absent_score,))

    if does_replace:
        store.jobs.finish(job, RunState.DONE, None, NOW)
        store.evaluations.replace(1, evaluated_again)
    else:
        store.evaluations.add(job, evaluated_again, NOW)

    assert store.evaluations.read([1]) == [measured]
    assert store.evaluations.read_scores([1], "test") == [score]


def with_inception(name, value, missing=None):
    digest = {} if missing else {"weights_sha256": CATALOG["inception"].sha256}
    n_pictures = 0 if missing else 8
    return Evaluation(1, "test", name, value, n_pictures, 1, missing=missing, protocol=digest)


def test_only_missing_values_are_completed(store, job):
    psnr = Evaluation(1, "test", "psnr", 9.0, 8, 1, protocol={"px": 32})
    stored = (psnr, with_inception("fid", 40.0), with_inception("kid", None, "no weights"))
    store.evaluations.add(job, CheckpointEvaluation(stored), NOW)

    kid = with_inception("kid", 0.02)
    completed = [with_inception("fid", 41.0), kid, with_inception("is_mean", 2.0)]
    store.evaluations.complete(job, completed, NOW)

    assert store.evaluations.read([1]) == [psnr, with_inception("fid", 40.0), kid]


def test_a_worker_with_a_stale_token_completes_nothing(store, job):
    absent = with_inception("kid", None, "no weights")
    store.evaluations.add(job, CheckpointEvaluation((absent,)), NOW)

    with pytest.raises(LostJobError):
        store.evaluations.complete(replace(job, token="other"), [with_inception("kid", 0.1)], NOW)

    assert store.evaluations.read([1]) == [absent]


def test_the_version_of_evaluations_changes_with_each_added_or_changed_value(store, job):
    versions = [store.evaluations.read_version([1])]
    for evaluation in (
        with_inception("kid", None, "no weights"),
        with_inception("kid", 0.1),
        with_inception("kid", 0.2),
        with_inception("fid", 9.0),
    ):
        store.evaluations.add(job, CheckpointEvaluation((evaluation,)), NOW)
        versions.append(store.evaluations.read_version([1]))

    assert len(set(versions)) == 5
    assert store.evaluations.read_version([2]) == versions[0]


def test_evaluations_replace_older_ones(store, study, job):
    def measured(value):
        return Evaluation(1, "test", "psnr", value, 8, 1, low=1.0, high=2.0, protocol={"px": 32})

    score = ImageScore(1, "test", 1, "1F600", "psnr", 9.0)
    fakes = Predictions(1, "test", 1, "fakes.npy", ("1F600",))
    store.evaluations.add(job, CheckpointEvaluation((measured(1.0),), (score,)), NOW)
    store.evaluations.add(job, CheckpointEvaluation((measured(2.0),), (score,), fakes), NOW)

    assert store.evaluations.read([1], "test") == store.evaluations.read([1]) == [measured(2.0)]
    assert store.evaluations.read([1], "val") == []
    assert store.evaluations.read_scores([1], "test") == [score]
    assert store.evaluations.read_scores([1], "test", ["ssim"]) == []
    assert store.evaluations.read_predictions([1], "test") == [fakes]


def test_each_epoch_keeps_its_own_evaluation(store, study, job):
    for epoch in (1, 2):
        evaluation = Evaluation(1, "val", "psnr", 10.0 + epoch, 8, epoch)
        store.evaluations.add(job, CheckpointEvaluation((evaluation,)), NOW)

    assert [evaluation.value for evaluation in store.evaluations.read([1], "val")] == [11.0, 12.0]


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
    impossible = Evaluation(1, "test", name, value, 8, 1, protocol={"weights_sha256": digest})

    with pytest.raises(ValueError, match=reason):
        store.evaluations.add(job, CheckpointEvaluation((impossible,)), NOW)

    assert store.evaluations.read([1]) == []


def test_an_evaluation_is_replaced_only_after_the_run_has_ended(store, job):
    again = CheckpointEvaluation((Evaluation(1, "test", "psnr", 10.0, 8, 1),))

    with pytest.raises(BadInputError, match="Run 1 is running"):
        store.evaluations.replace(1, again)
    store.jobs.finish(job, RunState.DONE, None, NOW)
    store.evaluations.replace(1, again)

    assert store.evaluations.read([1]) == list(again.evaluations)


def test_curves_are_thinned_to_the_means_of_equal_parts_of_the_run(store, job):
    store.runs.start(job, tiny_config(), 8, {}, NOW)
    points = [point(1, step, float(step)) for step in (1, 2, 3, 4)]
    store.curves.add_points(job, 1, 4, [*points, point(1, 5, None)], NOW)

    assert store.curves.read_thinned([1], ["l1"], 4) == {(1, "l1"): [(1.5, 1.5), (3.5, 3.5)]}
    assert len(store.curves.read_thinned([1], ["l1"], 100)[1, "l1"]) == 4


def test_a_step_outside_the_bounds_of_two_curves_counts_once(store, job):
    points = [point(1, step, value, "d_loss") for step, value in enumerate((0.5, 0.001, 0.001), 1)]
    points += [point(1, step, value, "a") for step, value in enumerate((0.99, 0.99, 0.5), 1)]
    store.curves.add_points(job, 1, 3, [*points, point(1, 4, 0.5, "d_loss")], NOW)

    assert store.curves.read_step_shares([1], {"a": 0.95}, {"d_loss": 0.01}) == {1: 0.75}


def test_samples_are_read_by_epoch_or_only_the_newest_of_each_run(store, job):
    for epoch in (1, 2):
        store.runs.add_sample(job, Sample(1, epoch, epoch, "g", "s", "t", "f", "n"), NOW)

    assert [sample.epoch for sample in store.runs.read_samples([1])] == [1, 2]
    assert [sample.epoch for sample in store.runs.read_newest_samples([1])] == [2]
    assert store.runs.read_newest_samples([2]) == []


def test_measured_costs_are_read_with_the_config_of_their_run(store, job):
    assert store.machines.read_costs(10) == []
    store.curves.add_points(job, 1, 1, [point(1, 1, 140.0, "images_per_second")], NOW)
    assert store.machines.read_costs(10) == [Cost(tiny_config(), None, 140.0, None)]
    store.curves.add_points(job, 1, 1, [point(1, 1, 900.0, "peak_memory_mb")], NOW)
    assert store.machines.read_costs(10) == [Cost(tiny_config(), None, 140.0, 900.0)]

    store.jobs.finish(job, RunState.CRASHED, "killed", NOW)
    store.jobs.requeue(1)
    store.jobs.claim(NOW, "train", WorkerSlot("here", "0"))
    assert store.machines.read_costs(10) == [Cost(tiny_config(), "here", 140.0, 900.0)]


def test_curve_buckets_have_mean_lowest_and_highest_value(store, job):
    points = [point(1, step, float(step)) for step in (1, 2, 3, 4)]
    store.curves.add_points(job, 1, 5, [*points, point(1, 5, None), point(1, 6, 0.0, "other")], NOW)

    first, second, third = store.curves.read_buckets([1, 2], "l1", 2)

    assert (first.part, first.n, first.step) == (0, 2, 1.5)
    assert (first.value, first.low, first.high) == (1.5, 1, 2)
    assert first.at == NOW.timestamp()
    assert (second.last_step, second.value) == (4, 3.5)
    assert (third.n, third.value, third.low) == (0, None, None)
    assert third.id == max(point.id for point in store.curves.read([1], names=["l1"]))


def test_new_points_are_those_after_the_cursor_of_their_run(store, job):
    other = store.jobs.claim(NOW)
    store.curves.add_points(other, 1, 1, [point(2, 1, 0.1)], NOW)
    store.curves.add_points(
        job, 1, 2, [point(1, 1, 0.2), point(1, 2, 0.3), point(1, 2, 1, "x")], NOW
    )
    mine = store.curves.read([1], names=["l1"])

    assert store.curves.read_new_points({1: mine[0].id, 2: 0}, "l1") == [
        *store.curves.read([2]),
        mine[1],
    ]
    assert store.curves.read_new_points({1: mine[1].id}, "l1") == []
    assert store.curves.read_new_points({}, "l1") == []


def test_the_first_and_the_last_point_after_a_step_are_read(store, job):
    assert store.curves.read_first_and_last(1, 0) is None
    points = [MetricPoint(1, step, 1, "l1", 0.5, at=100.0 + step) for step in (1, 2, 3)]
    store.curves.add_points(job, 1, 3, points, NOW)

    first, last = store.curves.read_first_and_last(1, 1)

    assert [(point.step, point.at) for point in (first, last)] == [(2, 102.0), (3, 103.0)]


def test_a_repeated_step_has_the_newer_time_and_older_points_are_excluded(store, job):
    def points(steps, began):
        return [MetricPoint(1, step, 1, "l1", 0.5, at=began + step) for step in steps]

    store.curves.add_points(job, 1, 9, points(range(1, 10), 100.0), NOW)
    store.curves.add_points(job, 1, 6, points((5, 6), 9000.0), NOW)

    since = datetime.fromtimestamp(5000, UTC)
    first, last = store.curves.read_first_and_last(1, 4, since)

    assert [(point.step, point.at) for point in (first, last)] == [(5, 9005.0), (6, 9006.0)]
    assert store.curves.read_first_and_last(1, 6, since) is None


def test_an_alert_is_stored_once_and_deleted_when_its_step_is_rewound(store, job):
    early, late = (Alert(1, step, "saturated", "won") for step in (5, 9))
    store.curves.add_alerts(job, [early], NOW)
    store.curves.add_alerts(job, [early, late], NOW)
    assert store.curves.read_alerts([1, 2]) == [early, late]

    store.runs.rewind(job, 0, 5, NOW)

    assert store.curves.read_alerts([1]) == [early]


def test_a_probe_replaces_the_older_one(store, study):
    probing = store.jobs.add("probe", "[]", NOW)
    held = store.jobs.claim(NOW, "probe")
    assert held.id == probing.id
    for speed in (10.0, 20.0):
        store.machines.add_probe(held, Probe("here", "unet 64 px", speed, 500.0, NOW), NOW)

    assert store.machines.read_probes(["here"])["unet 64 px"].images_per_second == 20.0
    assert store.machines.read_probes(["elsewhere"]) == {}


def test_the_newest_probe_of_several_hosts_is_read(store):
    store.jobs.add("probe", "[]", NOW)
    held = store.jobs.claim(NOW, "probe")
    for host, speed, minutes in (("a", 10.0, 2), ("b", 20.0, 3), ("c", 30.0, 1)):
        at = NOW + timedelta(minutes=minutes)
        store.machines.add_probe(held, Probe(host, "unet 64 px", speed, 500.0, at), NOW)

    newest = store.machines.read_probes({"a", "b", "c"})

    assert newest["unet 64 px"].host == "b"


def test_the_hosts_of_the_queue_are_those_of_the_newest_attempts(store):
    for host in ("old", "new", "newer", None):
        store.jobs.add("check", f"source {host}", NOW)
        store.jobs.claim(NOW, "check", WorkerSlot(host, "0" if host else None))

    assert store.machines.read_queue_hosts(3) == {"new", "newer"}


def test_names_notes_and_tags_are_stored(store, study):
    store.studies.annotate(study.id, "Ünder <b>", "why\nand how", ("good", "paper"))
    store.runs.annotate(1, "look at the reds", ("best",))

    stored = store.studies.read(study.id)
    assert (stored.name, stored.note, stored.tags) == (
        "Ünder <b>",
        "why\nand how",
        ("good", "paper"),
    )
    assert (store.runs.read(1).note, store.runs.read(1).tags) == ("look at the reds", ("best",))
    assert (store.runs.read(2).note, store.runs.read(2).tags) == ("", ())


def test_the_end_of_a_study_is_notified_once_and_again_after_an_extension(store, study, job):
    hour = timedelta(hours=1)
    assert store.studies.claim_notifications(NOW - hour, NOW) == []
    store.jobs.finish(job, RunState.DONE, None, NOW)
    assert store.studies.claim_notifications(NOW - hour, NOW) == []  # one of its runs still waits
    store.jobs.finish(store.jobs.claim(NOW), RunState.STOPPED, None, NOW)

    assert store.studies.claim_notifications(NOW - hour, NOW) == [study.id]
    assert store.studies.claim_notifications(NOW - hour, NOW) == []
    store.jobs.requeue(2)
    store.jobs.finish(store.jobs.claim(NOW + hour), RunState.DONE, None, NOW + hour)
    assert store.studies.claim_notifications(NOW, NOW + hour) == [study.id]
    assert store.studies.claim_notifications(NOW + 2 * hour, NOW + 3 * hour) == []


def test_a_reader_does_not_block_a_writer(store, study, job, settings):
    other = sa.create_engine(settings.database_url)
    with other.connect() as reader:
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT * FROM runs").all()
        store.curves.add_points(job, 1, 1, [point(1, 1, 0.5)], NOW + timedelta(seconds=1))
    other.dispose()

    assert len(store.curves.read([1])) == 1


@pytest.fixture
def three(store):
    configs = [tiny_config(name) for name in ("standard", "gan", "ganv2")]
    return store.studies.add("key", "a study", configs, NOW)[0]


def test_a_slot_is_assigned_to_one_job_at_a_time(store, three):
    slot = WorkerSlot("host", "0", "p")

    first = store.jobs.claim(NOW, worker_slot=slot)
    assert store.jobs.claim(NOW, worker_slot=slot) is None
    assert store.jobs.claim(NOW, worker_slot=WorkerSlot("elsewhere", "0", "p")) is not None
    store.jobs.finish(first, RunState.DONE, None, NOW)

    assert store.jobs.claim(NOW, worker_slot=slot) is not None


def test_a_run_moved_to_the_front_is_claimed_next(store, three):
    assert store.jobs.move_to_front(3)
    assert [job.run_id for job in store.jobs.read_all(RunState.QUEUED)] == [3, 1, 2]
    assert store.jobs.move_to_front(2)

    assert [store.jobs.claim(NOW).run_id for _ in range(3)] == [2, 3, 1]
    assert not store.jobs.move_to_front(1)


def test_a_job_about_a_subject_is_queued_once_for_concurrent_requests(settings, store):
    def ask(_):
        own = Store(settings.database_url)
        job = own.jobs.add("check", "openmoji", NOW)
        own.close()
        return job.id

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(16))) == {1}


def test_the_second_stop_request_is_a_kill_request(store, job):
    store.jobs.request_run_stop(1, NOW)
    assert store.jobs.read(job.id).kill_requested_at is None

    store.jobs.request_run_stop(1, NOW)

    assert store.jobs.read(job.id).kill_requested_at == NOW


def crash(store, step):
    """An attempt that saves a checkpoint of a step, if any, and crashes."""
    job = store.jobs.claim(NOW)
    if step:
        store.checkpoints.add(job, checkpoint_of(1, step), NOW)
    store.jobs.finish(job, RunState.CRASHED, "killed", NOW, may_retry=True)
    return store.runs.read(1).will_retry


def test_a_crashed_run_is_retried_only_if_it_wrote_a_newer_checkpoint(store):
    store.studies.add("key", "a", [tiny_config()], NOW)

    assert crash(store, step=8)
    assert store.runs.read_retrying() == [1]
    assert not store.runs.read(1).is_over
    assert store.jobs.retry_crashed(1)
    assert not crash(store, step=None)
    assert not store.jobs.retry_crashed(1)
    assert store.runs.read(1).state == RunState.CRASHED


def test_a_crashed_run_is_retried_three_times_and_again_after_a_user_resumes_it(store):
    store.studies.add("key", "a", [tiny_config()], NOW)

    for step in (8, 16, 24):
        assert crash(store, step)
        store.jobs.retry_crashed(1)
    assert not crash(store, 32)

    assert store.jobs.requeue(1)
    assert crash(store, 40)


def test_the_pending_retry_of_a_crashed_run_can_be_stopped(store):
    store.studies.add("key", "a", [tiny_config()], NOW)
    crash(store, step=8)

    store.jobs.request_run_stop(1, NOW)

    assert store.runs.read(1).is_over
    assert not store.jobs.retry_crashed(1)


def test_attempts_record_the_history_of_a_run(store):
    store.studies.add("key", "a", [tiny_config()], NOW)
    crash(store, step=8)
    store.jobs.retry_crashed(1)
    job = store.jobs.claim(NOW, worker_slot=WorkerSlot("host", "0", "p"))
    for note in ("one", "two", "one"):
        store.runs.add_note(job, note, NOW)

    first, second = store.runs.read_attempts([1])
    assert (first.number, first.from_step, first.state, first.reason) == (
        *(1, 0, RunState.CRASHED),
        "killed",
    )
    assert (second.host, second.from_step, second.state) == ("host", 8, None)
    assert second.note == "one\ntwo"


def test_only_runs_that_ended_before_done_are_resumed(store, study):
    job = store.jobs.claim(NOW)
    assert not store.jobs.requeue(job.run_id)
    store.jobs.finish(job, RunState.DONE, None, NOW)

    assert not store.jobs.requeue(job.run_id)


def test_restarting_a_run_deletes_all_its_results(store, job):
    store.curves.add_points(job, 1, 8, [point(1, 8, 0.5)], NOW)
    store.checkpoints.add(job, checkpoint_of(1), NOW)
    assert not store.runs.restart(1)
    store.jobs.finish(job, RunState.FAILED, "x", NOW)

    assert store.runs.restart(1)

    run = store.runs.read(1)
    assert (run.state, run.epoch, run.step, run.reason) == (RunState.QUEUED, 0, 0, None)
    assert store.curves.read([1]) == store.checkpoints.read(1) == []


def test_deleting_runs_deletes_their_results_and_their_ids_are_not_reused(store, three):
    job = store.jobs.claim(NOW)
    store.curves.add_points(job, 1, 8, [point(1, 8, 0.5)], NOW)
    for run_id in (2, 3):
        store.jobs.request_run_stop(run_id, NOW)
    last = store.curves.read([1])[-1].id

    assert store.runs.delete([1, 3]) == [3]  # the first is at work
    store.jobs.finish(job, RunState.DONE, None, NOW)
    assert store.runs.delete([1, 2]) == [1, 2]

    assert store.studies.read_all() == []
    assert store.curves.read([1]) == []
    _, runs = store.studies.add("again", "a", [tiny_config()], NOW)
    assert (runs[0].id, runs[0].study_id) == (4, 2)
    again = store.jobs.claim(NOW)
    store.curves.add_points(again, 1, 1, [point(4, 1, 0.5)], NOW)
    assert store.curves.read([4])[0].id > last


def test_extending_a_study_adds_only_missing_runs(store, study):
    configs = [tiny_config(seed=seed) for seed in (0, 1)]

    store.studies.extend(1, configs, NOW)
    store.studies.extend(1, configs, NOW)

    assert [(run.configuration, run.seed) for run in store.runs.read_all(1)].count(
        ("standard", 1)
    ) == 1
    assert len(store.runs.read_all(1)) == 3


def test_epochs_are_added_only_after_all_runs_have_ended(store):
    store.studies.add("key", "a", [tiny_config(epochs=2)], NOW)
    job = store.jobs.claim(NOW)
    store.runs.start(job, tiny_config(epochs=2), 16, {}, NOW)
    with pytest.raises(BadInputError, match="still running"):
        store.studies.extend_epochs(1, 5)
    store.jobs.finish(job, RunState.DONE, None, NOW)

    store.studies.extend_epochs(1, 5)

    run = store.runs.read(1)
    assert (run.state, run.epochs, run.steps) == (RunState.QUEUED, 5, 40)
    assert run.config.budget.epochs == run.resolved.budget.epochs == 5
    assert store.studies.read(1).budget.epochs == 5


def test_a_run_that_gets_more_epochs_does_not_keep_the_reason_of_its_last_end(store):
    store.studies.add("key", "a", [tiny_config(epochs=2)], NOW)
    store.jobs.finish(store.jobs.claim(NOW), RunState.FAILED, "the disk is full", NOW)

    store.studies.extend_epochs(1, 5)

    run = store.runs.read(1)
    assert (run.state, run.reason) == (RunState.QUEUED, None)


def test_archiving_can_be_undone(store, study):
    store.studies.archive(1, NOW)
    store.runs.archive(2, NOW)
    assert store.studies.read(1).archived_at == store.runs.read(2).archived_at == NOW

    store.studies.archive(1, None)
    store.runs.archive(2, None)

    assert store.studies.read(1).archived_at is store.runs.read(2).archived_at is None


def test_a_row_that_breaks_a_constraint_is_not_a_temporary_failure(store, job):
    alert = Alert(1, None, "plateau", "a NULL in a column that must not be NULL")

    with pytest.raises(StoreError, match=r"(?i)not.null") as failure:
        store.curves.add_alerts(job, [alert], NOW)

    assert not isinstance(failure.value, DatabaseUnavailableError)


def test_a_missing_table_is_not_a_temporary_failure(store, job, settings):
    with connected(settings.database_url) as connection:
        connection.execute(sa.text("DROP TABLE alerts"))

    with pytest.raises(StoreError, match="alerts") as failure:
        store.curves.read_alerts([1])

    assert not isinstance(failure.value, DatabaseUnavailableError)


def test_a_database_that_is_locked_for_too_long_is_unavailable(store, job, settings):
    with (
        closing(Store(settings.database_url, lock_timeout_s=0.1)) as other,
        connected(settings.database_url) as connection,
    ):
        connection.execute(sa.update(jobs).values(priority=1))

        with pytest.raises(DatabaseUnavailableError, match="lock"):
            other.jobs.heartbeat(job, NOW)
