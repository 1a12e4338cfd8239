"""A few of the stress tests of `make chaos`, with the other tests."""

import pytest

from tests.chaos import concurrency, kills
from tests.chaos.installation import temporary_installation
from tests.support.runs import NOW
from tests.support.training_jobs import run_training_job

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def two_processes(monkeypatch):
    monkeypatch.setattr(concurrency, "PROCESSES", 2)


@pytest.fixture
def shared(packed_settings):
    packed_settings.features_dir.mkdir(exist_ok=True)
    return packed_settings.artifacts


def train_here(installation):
    """Trains all runs in the process of the test."""
    while (job := installation.store.jobs.claim(NOW)) is not None:
        run_training_job(installation.store, installation.settings, job)


def test_a_killed_run_ends_like_an_undisturbed_run(tmp_path, shared):
    def study(installation):
        return installation.submit(["standard"], 1, epochs="4", evaluations="2")

    outcome = kills.compare_with_undisturbed(
        tmp_path, shared, study, kills.kill_in_each_phase, lambda activity: None, train_here
    )

    assert outcome.kills == {"training": 1, "supervisor": 1, "evaluating": 1}
    assert outcome.is_clean, outcome
    assert outcome.attempts == [3]


def test_concurrent_submits_add_one_study_for_each_key(tmp_path, shared):
    with temporary_installation(tmp_path / "a", shared) as installation:
        assert concurrency.submit_concurrently(installation.settings, 40, 8) == 8


def test_concurrent_claimers_share_a_queue_and_its_slots(tmp_path, shared):
    with temporary_installation(tmp_path / "a", shared) as installation:
        claims = concurrency.claim_concurrently(installation.settings, 100, 3)

    assert (claims.claimed, claims.doubled) == (100, 0)
    assert claims.max_concurrent <= 3
