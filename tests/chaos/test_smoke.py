"""A little of `make chaos`, with the other tests."""

import pytest

from tests.chaos import concurrency, kills
from tests.chaos.installation import lab

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def few_processes(monkeypatch):
    monkeypatch.setattr(concurrency, "PROCESSES", 3)


@pytest.fixture
def shared(packed_settings):
    packed_settings.features_dir.mkdir(exist_ok=True)
    return packed_settings.artifacts


def test_killed_runs_end_as_if_nobody_had_killed_them(tmp_path, shared):
    def study(place):
        return place.submit(["standard", "ganv3"], 1, epochs="8", evaluations="2")

    found = kills.compare_with_peace(tmp_path, shared, study, 4, 1, lambda doing: None)

    assert found.kills.total() >= 3, found
    assert found.is_clean, found


def test_many_submits_with_few_keys_are_few_studies(tmp_path, shared):
    with lab(tmp_path / "a", shared) as place:
        assert concurrency.submit_much(place.settings, 40, 8) == 8


def test_many_claimers_share_a_queue_and_its_slots(tmp_path, shared):
    with lab(tmp_path / "a", shared) as place:
        claims = concurrency.claim_much(place.settings, 100, 3)

    assert (claims.claimed, claims.doubled) == (100, 0)
    assert claims.most_at_once <= 3
