"""A few of the stress tests of `make chaos`, with the other tests."""

import pytest

from tests.chaos import concurrency, kills
from tests.chaos.installation import temporary_installation

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def three_processes(monkeypatch):
    monkeypatch.setattr(concurrency, "PROCESSES", 3)


@pytest.fixture
def shared(packed_settings):
    packed_settings.features_dir.mkdir(exist_ok=True)
    return packed_settings.artifacts


def test_killed_runs_end_like_undisturbed_runs(tmp_path, shared):
    def study(installation):
        return installation.submit(["standard", "ganv3"], 1, epochs="8", evaluations="2")

    outcome = kills.compare_with_undisturbed(tmp_path, shared, study, 4, 1, lambda activity: None)

    assert outcome.kills.total() >= 3, outcome
    assert outcome.is_clean, outcome


def test_concurrent_submits_add_one_study_for_each_key(tmp_path, shared):
    with temporary_installation(tmp_path / "a", shared) as installation:
        assert concurrency.submit_concurrently(installation.settings, 40, 8) == 8


def test_concurrent_claimers_share_a_queue_and_its_slots(tmp_path, shared):
    with temporary_installation(tmp_path / "a", shared) as installation:
        claims = concurrency.claim_concurrently(installation.settings, 100, 3)

    assert (claims.claimed, claims.doubled) == (100, 0)
    assert claims.max_concurrent <= 3
