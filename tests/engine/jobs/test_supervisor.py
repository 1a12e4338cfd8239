"""Real supervisors; the runs that they start are tested in `launchers/test_contract.py`."""

import pytest

from engine.jobs import lifecycle, reaping, spawn
from engine.records.runs import RunState
from engine.store import Store, utc_now
from tests.support.runs import TIMEOUT_S, kill_processes_of, tiny_config, wait_for
from tests.support.supervisors import prepare_installation, supervisors_of
from tests.support.webhook_listener import webhook_listener

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("supervisor")]


@pytest.fixture(scope="module")
def drained(tmp_path_factory, packed_settings):
    """A study of two runs after a supervisor with `--drain`: (store, return code, messages)."""
    folder = tmp_path_factory.mktemp("drained")
    configs = [tiny_config(name, n_val=8, n_test=8) for name in ("standard", "gan")]
    with webhook_listener() as (address, messages, _):
        settings = prepare_installation(folder, packed_settings, webhook=address)
        store = Store(settings.database_url)
        store.studies.add("key", "reds", configs, utc_now())
        with supervisors_of(settings) as supervise:
            returncode = supervise("--drain").wait(timeout=TIMEOUT_S)
    yield store, returncode, messages
    store.close()


def test_a_supervisor_with_drain_exits_after_all_runs_are_done(drained):
    store, returncode, _ = drained

    assert returncode == 0
    assert [run.state for run in store.runs.read_all()] == [RunState.DONE] * 2
    points = store.curves.read([1, 2])
    assert len({(point.run_id, point.step, point.name) for point in points}) == len(points)


def test_the_supervisor_posts_to_the_webhook_when_the_last_run_has_ended(drained):
    _, _, messages = drained

    assert [message["text"] for message in messages] == ["Study 1, reds, has ended: 2 done."]


def test_a_second_supervisor_exits(tiny_settings):
    with supervisors_of(tiny_settings) as supervise:
        first = supervise()
        wait_for(lambda: spawn.is_supervisor_running(tiny_settings))

        second = supervise()

        assert second.wait(timeout=TIMEOUT_S) == 0
        assert first.poll() is None


def test_submitting_starts_a_supervisor_that_runs_the_study(store, tiny_settings):
    configs = [tiny_config()]

    lifecycle.submit(store, tiny_settings, configs, "a", "key", utc_now())
    lifecycle.submit(store, tiny_settings, configs, "a", "key", utc_now())

    def is_worker_started():
        jobs = store.jobs.read_all(RunState.RUNNING)
        return any(reaping.process_of(job).role != reaping.CLAIMING for job in jobs)

    try:
        wait_for(is_worker_started)
    finally:
        kill_processes_of(tiny_settings)
