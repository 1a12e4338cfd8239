import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from engine.errors import BadInputError
from engine.records.curves import Alert, Cost, MetricPoint, Probe
from engine.records.runs import (
    Checkpoint,
    Evaluation,
    ImageScore,
    Judgement,
    Predictions,
    RunState,
    Sample,
)
from engine.store import LostJobError, Place, Store
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


def saved(epoch, step=None, is_whole=True, path=None):
    step = 8 * epoch if step is None else step
    return Checkpoint(1, epoch, step, is_whole, path or f"{step}.pt", "00", 1, is_best=False)


def kept(store):
    return [(it.step, it.is_best) for it in store.read_checkpoints(1)]


def test_the_newest_two_and_the_best_checkpoint_are_kept(store, job):
    forgotten = []
    for epoch, best in ((1, 1), (2, 2), (3, 2), (4, 2), (5, 2)):
        store.add_checkpoint(job, saved(epoch), NOW)
        store.choose_checkpoint(job, best, NOW)
        forgotten.append([it.epoch for it in store.forget_checkpoints(job, 2, 0, NOW)])

    assert forgotten == [[], [], [1], [], [3]]
    assert kept(store) == [(40, False), (32, False), (16, True)]
    assert store.read_run(1).best_epoch == 2


def test_every_so_manyth_epoch_keeps_its_checkpoint_one_in_its_midst_does_not(store, job):
    for epoch in range(1, 7):
        store.add_checkpoint(job, saved(epoch), NOW)
        store.add_checkpoint(job, saved(epoch, 8 * epoch + 3, is_whole=False), NOW)

    store.forget_checkpoints(job, newest=1, every=3, now=NOW)

    assert [step for step, _ in kept(store)] == [51, 48, 24]


def test_of_two_checkpoints_of_the_same_step_the_later_counts(store, job):
    store.add_checkpoint(job, saved(1, path="a.pt"), NOW)
    store.add_checkpoint(job, saved(1, path="b.pt"), NOW)

    assert [it.path for it in store.read_checkpoints(1)] == ["b.pt"]


def test_a_run_that_goes_on_from_an_earlier_step_forgets_what_was_judged_after_it(store, job):
    for epoch in (1, 2):
        store.add_checkpoint(job, saved(epoch), NOW)
        store.choose_checkpoint(job, epoch, NOW)
        judged = Evaluation(1, "val", "psnr", 9.0 + epoch, 8, epoch)
        store.add_judgement(job, Judgement((judged,)), NOW)

    (gone,) = store.rewind(job, 1, 8, NOW)

    assert gone.epoch == 2
    assert kept(store) == [(8, False)]
    assert [it.epoch for it in store.read_evaluations([1])] == [1]
    assert (store.read_run(1).epoch, store.read_run(1).best_epoch) == (1, None)


def test_a_checkpoint_that_is_not_kept_cannot_be_the_best(store, job):
    store.add_checkpoint(job, saved(1), NOW)

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
    assert [it.epoch for it in store.read_newest_samples([1])] == [2]
    assert store.read_newest_samples([2]) == []


def test_what_runs_needed_is_told_with_their_config(store, job):
    assert store.read_costs(10) == []
    store.add_metrics(job, 1, 1, [point(1, 1, 140.0, "images_per_second")], NOW)
    assert store.read_costs(10) == [Cost(tiny_config(), None, 140.0, None)]
    store.start_run(job, tiny_config(), 8, {"host": "here"}, NOW)
    store.add_metrics(job, 1, 1, [point(1, 1, 900.0, "peak_memory_mb")], NOW)
    assert store.read_costs(10) == [Cost(tiny_config(), "here", 140.0, 900.0)]


def test_a_curve_is_drawn_in_stretches_that_know_their_extremes(store, job):
    points = [point(1, step, float(step)) for step in (1, 2, 3, 4)]
    store.add_metrics(job, 1, 5, [*points, point(1, 5, None), point(1, 6, 0.0, "other")], NOW)

    first, second, third = store.read_stretches([1, 2], "l1", 2)

    assert (first.part, first.n, first.step) == (0, 2, 1.5)
    assert (first.value, first.low, first.high) == (1.5, 1, 2)
    assert first.at == NOW.timestamp()
    assert (second.last_step, second.value) == (4, 3.5)
    assert (third.n, third.value, third.low) == (0, None, None)
    assert third.id == max(it.id for it in store.read_metrics([1], names=["l1"]))


def test_new_points_are_those_after_each_run_s_own_cursor(store, job):
    other = store.claim_job(NOW)
    store.add_metrics(other, 1, 1, [point(2, 1, 0.1)], NOW)
    store.add_metrics(job, 1, 2, [point(1, 1, 0.2), point(1, 2, 0.3), point(1, 2, 1, "x")], NOW)
    mine = store.read_metrics([1], names=["l1"])

    assert store.read_points({1: mine[0].id, 2: 0}, "l1") == [
        *store.read_metrics([2]),
        mine[1],
    ]
    assert store.read_points({1: mine[1].id}, "l1") == []
    assert store.read_points({}, "l1") == []


def test_a_span_is_the_first_and_last_point_after_a_step(store, job):
    assert store.read_span(1, 0) is None
    points = [MetricPoint(1, step, 1, "l1", 0.5, at=100.0 + step) for step in (1, 2, 3)]
    store.add_metrics(job, 1, 3, points, NOW)

    first, last = store.read_span(1, 1)

    assert [(it.step, it.at) for it in (first, last)] == [(2, 102.0), (3, 103.0)]


def test_a_step_that_is_done_again_has_the_later_time_and_what_is_older_is_left_out(store, job):
    def points(steps, began):
        return [MetricPoint(1, step, 1, "l1", 0.5, at=began + step) for step in steps]

    store.add_metrics(job, 1, 9, points(range(1, 10), 100.0), NOW)
    store.add_metrics(job, 1, 6, points((5, 6), 9000.0), NOW)

    since = datetime.fromtimestamp(5000, UTC)
    first, last = store.read_span(1, 4, since)

    assert [(it.step, it.at) for it in (first, last)] == [(5, 9005.0), (6, 9006.0)]
    assert store.read_span(1, 6, since) is None


def test_alerts_are_kept_once_and_forgotten_with_the_steps_that_led_to_them(store, job):
    early, late = (Alert(1, step, "saturated", "won") for step in (5, 9))
    store.add_alerts(job, [early], NOW)
    store.add_alerts(job, [early, late], NOW)
    assert store.read_alerts([1, 2]) == [early, late]

    store.rewind(job, 0, 5, NOW)

    assert store.read_alerts([1]) == [early]


def test_a_probe_takes_the_place_of_the_one_before(store, study):
    probing = store.add_job("probe", "[]", NOW)
    held = store.claim_job(NOW, "probe")
    assert held.id == probing.id
    for speed in (10.0, 20.0):
        store.add_probe(held, Probe("here", "unet 64 px", speed, 500.0, NOW), NOW)

    assert store.read_probes("here")["unet 64 px"].images_per_second == 20.0
    assert store.read_probes("elsewhere") == {}


def test_what_people_write_is_kept(store, study):
    store.edit_study(study.id, "Ünder <b>", "why\nand how", ("good", "paper"))
    store.annotate_run(1, "look at the reds", ("best",))

    found = store.read_study(study.id)
    assert (found.name, found.note, found.tags) == ("Ünder <b>", "why\nand how", ("good", "paper"))
    assert (store.read_run(1).note, store.read_run(1).tags) == ("look at the reds", ("best",))
    assert (store.read_run(2).note, store.read_run(2).tags) == ("", ())


def test_the_end_of_a_study_is_announced_once_and_again_when_it_ends_again(store, study, job):
    hour = timedelta(hours=1)
    assert store.claim_announcement(NOW - hour, NOW) == []
    store.finish_job(job, RunState.DONE, None, NOW)
    assert store.claim_announcement(NOW - hour, NOW) == []  # one of its runs still waits
    store.finish_job(store.claim_job(NOW), RunState.STOPPED, None, NOW)

    assert store.claim_announcement(NOW - hour, NOW) == [study.id]
    assert store.claim_announcement(NOW - hour, NOW) == []
    store.requeue(2, NOW + hour)
    store.finish_job(store.claim_job(NOW + hour), RunState.DONE, None, NOW + hour)
    assert store.claim_announcement(NOW, NOW + hour) == [study.id]
    assert store.claim_announcement(NOW + 2 * hour, NOW + 3 * hour) == []


def test_a_reader_does_not_stop_a_writer(store, study, job, settings):
    other = sa.create_engine(settings.database_url)
    with other.connect() as reader:
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT * FROM runs").all()
        store.add_metrics(job, 1, 1, [point(1, 1, 0.5)], NOW + timedelta(seconds=1))
    other.dispose()

    assert len(store.read_metrics([1])) == 1


@pytest.fixture
def three(store):
    configs = [tiny_config(name) for name in ("standard", "gan", "ganv2")]
    return store.add_study("key", "a study", configs, NOW)[0]


def test_a_slot_is_given_to_one_job_at_a_time(store, three):
    place = Place("host", "0", "p")

    first = store.claim_job(NOW, place=place)
    assert store.claim_job(NOW, place=place) is None
    assert store.claim_job(NOW, place=Place("elsewhere", "0", "p")) is not None
    store.finish_job(first, RunState.DONE, None, NOW)

    assert store.claim_job(NOW, place=place) is not None


def test_a_run_moved_to_the_front_is_the_next(store, three):
    assert store.move_to_front(3)
    assert [it.run_id for it in store.read_jobs(RunState.QUEUED)] == [3, 1, 2]
    assert store.move_to_front(2)

    assert [store.claim_job(NOW).run_id for _ in range(3)] == [2, 3, 1]
    assert not store.move_to_front(1)


def test_a_job_about_a_subject_is_queued_once_however_many_ask(settings, store):
    def ask(_):
        own = Store(settings.database_url)
        job = own.add_job("check", "openmoji", NOW)
        own.close()
        return job.id

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(16))) == {1}


def test_the_second_wish_to_stop_is_one_to_kill(store, job):
    store.request_stop(1, NOW)
    assert store.read_job(job.id).kill_requested_at is None

    store.request_stop(1, NOW)

    assert store.read_job(job.id).kill_requested_at == NOW


def crash(store, step):
    """An attempt that saves a checkpoint of a step, if any, and crashes."""
    job = store.claim_job(NOW)
    if step:
        store.add_checkpoint(job, saved(1, step), NOW)
    store.finish_job(job, RunState.CRASHED, "killed", NOW, may_retry=True)
    return store.read_run(1).will_retry


def test_a_crashed_run_goes_on_by_itself_only_if_it_got_further(store):
    store.add_study("key", "a", [tiny_config()], NOW)

    assert crash(store, step=8)
    assert store.read_retries() == [1]
    assert not store.read_run(1).is_over
    assert store.retry_crashed(1, NOW)
    assert not crash(store, step=None)
    assert not store.retry_crashed(1, NOW)
    assert store.read_run(1).state == RunState.CRASHED


def test_a_crashed_run_goes_on_by_itself_three_times_and_after_a_persons_word_again(store):
    store.add_study("key", "a", [tiny_config()], NOW)

    for step in (8, 16, 24):
        assert crash(store, step)
        store.retry_crashed(1, NOW)
    assert not crash(store, 32)

    assert store.requeue(1, NOW)
    assert crash(store, 40)


def test_a_crashed_run_that_was_to_go_on_can_be_stopped(store):
    store.add_study("key", "a", [tiny_config()], NOW)
    crash(store, step=8)

    store.request_stop(1, NOW)

    assert store.read_run(1).is_over
    assert not store.retry_crashed(1, NOW)


def test_attempts_tell_what_happened_to_a_run(store):
    store.add_study("key", "a", [tiny_config()], NOW)
    crash(store, step=8)
    store.retry_crashed(1, NOW)
    job = store.claim_job(NOW, place=Place("host", "0", "p"))
    for note in ("one", "two", "one"):
        store.add_note(job, note, NOW)

    first, second = store.read_attempts([1])
    assert (first.number, first.from_step, first.state, first.reason) == (
        *(1, 0, RunState.CRASHED),
        "killed",
    )
    assert (second.host, second.from_step, second.state) == ("host", 8, None)
    assert second.note == "one\ntwo"


def test_only_runs_that_ended_too_early_are_resumed(store, study):
    job = store.claim_job(NOW)
    assert not store.requeue(job.run_id, NOW)
    store.finish_job(job, RunState.DONE, None, NOW)

    assert not store.requeue(job.run_id, NOW)


def test_a_run_that_begins_again_has_forgotten_everything(store, job):
    store.add_metrics(job, 1, 8, [point(1, 8, 0.5)], NOW)
    store.add_checkpoint(job, saved(1), NOW)
    assert not store.restart_run(1)
    store.finish_job(job, RunState.FAILED, "x", NOW)

    assert store.restart_run(1)

    run = store.read_run(1)
    assert (run.state, run.epoch, run.step, run.reason) == (RunState.QUEUED, 0, 0, None)
    assert store.read_metrics([1]) == store.read_checkpoints(1) == []


def test_deleted_runs_are_gone_with_all_they_recorded_and_their_numbers_are_not_used_again(
    store, three
):
    job = store.claim_job(NOW)
    store.add_metrics(job, 1, 8, [point(1, 8, 0.5)], NOW)
    for run_id in (2, 3):
        store.request_stop(run_id, NOW)
    last = store.read_metrics([1])[-1].id

    assert store.delete_runs([1, 3]) == [3]  # the first is at work
    store.finish_job(job, RunState.DONE, None, NOW)
    assert store.delete_runs([1, 2]) == [1, 2]

    assert store.read_studies() == []
    assert store.read_metrics([1]) == []
    _, runs = store.add_study("again", "a", [tiny_config()], NOW)
    assert (runs[0].id, runs[0].study_id) == (4, 2)
    again = store.claim_job(NOW)
    store.add_metrics(again, 1, 1, [point(4, 1, 0.5)], NOW)
    assert store.read_metrics([4])[0].id > last


def test_a_study_is_extended_by_runs_it_has_not(store, study):
    configs = [tiny_config(seed=seed) for seed in (0, 1)]

    store.extend_study(1, configs, NOW)
    store.extend_study(1, configs, NOW)

    assert [(it.configuration, it.seed) for it in store.read_runs(1)].count(("standard", 1)) == 1
    assert len(store.read_runs(1)) == 3


def test_a_study_is_lengthened_when_its_runs_have_ended(store):
    store.add_study("key", "a", [tiny_config(epochs=2)], NOW)
    job = store.claim_job(NOW)
    store.start_run(job, tiny_config(epochs=2), 16, {}, NOW)
    with pytest.raises(BadInputError, match="still at work"):
        store.lengthen_study(1, 5)
    store.finish_job(job, RunState.DONE, None, NOW)

    store.lengthen_study(1, 5)

    run = store.read_run(1)
    assert (run.state, run.epochs, run.steps) == (RunState.QUEUED, 5, 40)
    assert run.config.budget.epochs == run.resolved.budget.epochs == 5
    assert store.read_study(1).budget.epochs == 5


def test_what_is_archived_is_marked_and_comes_back(store, study):
    store.archive_study(1, NOW)
    store.archive_run(2, NOW)
    assert store.read_study(1).archived_at == store.read_run(2).archived_at == NOW

    store.archive_study(1, None)
    store.archive_run(2, None)

    assert store.read_study(1).archived_at is store.read_run(2).archived_at is None
