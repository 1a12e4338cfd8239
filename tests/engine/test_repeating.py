import pytest

from engine import repeating, worker
from engine.errors import BadInputError, EngineError
from engine.settings import Settings
from engine.store import Store
from tests.conftest import NOW, share_what_is_drawn, tiny_config


def untold(done, total):
    pass


@pytest.fixture(scope="module")
def places(tmp_path_factory, packed_settings):
    """A store and settings with a run of two epochs that has ended; no Inception there."""
    folder = tmp_path_factory.mktemp("repeating")
    settings = Settings(f"sqlite:///{folder}/runs.db", folder / "artifacts", slots=1)
    share_what_is_drawn(packed_settings, settings)
    store = Store(settings.database_url)
    store.add_study("key", "a", [tiny_config(epochs=2, evaluations=2)], NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder))
        worker.run_job(store, settings, store.claim_job(NOW), lambda: False)
        yield store, settings
    store.close()


@pytest.fixture
def run(places):
    return places[0].read_run(1)


def numbers(evaluations):
    return {(it.epoch, it.name): (it.value, it.low, it.high, it.halves) for it in evaluations}


@pytest.mark.parametrize("role", ["best", "last"])
def test_the_same_checkpoint_and_protocol_give_the_same_numbers_to_the_last_digit(
    places, run, role
):
    store, settings = places
    before = numbers(store.read_evaluations([1], "test"))
    scores = store.read_scores([1], "test")

    again = repeating.evaluate_again(store, settings, run, role, "test", "all", untold)

    found = numbers(again.evaluations)
    assert len(found) > 15
    assert found == {key: before[key] for key in found}
    assert numbers(store.read_evaluations([1], "test")) == before
    key = lambda it: (it.epoch, it.name, it.picture)  # noqa: E731
    assert sorted(store.read_scores([1], "test"), key=key) == sorted(scores, key=key)


def test_another_split_and_no_features_can_be_asked_for(places, run):
    store, settings = places
    found = repeating.evaluate_again(store, settings, run, "best", "val", "none", untold)

    names = {it.name for it in found.evaluations}
    assert "psnr" in names
    assert "kd_lite2" not in names
    assert {it.split for it in found.evaluations} == {"val"}


def test_a_checkpoint_file_is_measured_and_not_recorded(places, run):
    store, settings = places
    path = settings.artifacts / store.read_checkpoints(1)[0].path
    before = store.read_evaluations([1])

    found = repeating.evaluate_again(store, settings, run, str(path), "test", "none", untold)

    assert found.evaluations
    assert store.read_evaluations([1]) == before


def test_what_cannot_be_evaluated_is_said(places, run, tmp_path):
    store, settings = places

    def again(wanted):
        return repeating.evaluate_again(store, settings, run, wanted, "test", "none", untold)

    with pytest.raises(BadInputError, match="there is no file 'nowhere'"):
        again("nowhere")
    junk = tmp_path / "junk.pt"
    junk.write_bytes(b"junk")
    with pytest.raises(EngineError, match="is no checkpoint"):
        again(str(junk))
    store.requeue(1, NOW)
    with pytest.raises(BadInputError, match="Run 1 is queued"):
        repeating.evaluate_again(store, settings, store.read_run(1), "best", "test", "none", untold)
