"""A decoding that is changed after training is the one that is evaluated, stored and used."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from engine.cli.main import main
from engine.errors import BadInputError
from engine.records.runs import RunState
from engine.report.comparison import compare
from engine.serve import model_cache
from engine.store import Store, database_path
from engine.workers import missing_metrics, reevaluate, worker_process
from tests.support.runs import NOW

DEFAULT, CHANGED = "median:1+flat", "mean"


@pytest.fixture(autouse=True)
def no_inception(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.fixture
def evaluate(palettes, tiny_settings):
    """A function that evaluates a checkpoint of run 1 again."""

    def evaluate(decoding=None, choice="best", split="test", features="all"):
        run = palettes.runs.read(1)
        return reevaluate.evaluate_again(
            *(palettes, tiny_settings, run, choice, split, features),
            lambda done, total: None,
            decoding,
        )

    return evaluate


def stored(store, run_id=1, split="test"):
    """The stored evaluations of a run's best checkpoint by name, without timings."""
    epoch = store.runs.read(run_id).best_epoch
    return {
        each.name: each
        for each in store.evaluations.read([run_id], split)
        if each.epoch == epoch and not each.name.startswith("inference")
    }


def fakes_of(store, settings):
    epoch = store.runs.read(1).best_epoch
    (record,) = (
        each for each in store.evaluations.read_predictions([1], "test") if each.epoch == epoch
    )
    return np.load(settings.artifacts / record.path).copy()


def test_a_changed_decoding_is_used_stored_and_kept_after_a_restart(
    evaluate, palettes, tiny_settings
):
    before, fakes = stored(palettes), fakes_of(palettes, tiny_settings)

    result = evaluate(CHANGED)

    assert (result.is_stored, str(result.decoding)) == (True, CHANGED)
    with closing(Store(tiny_settings.database_url)) as restarted:
        after = stored(restarted)
        assert str(restarted.runs.read(1).resolved.decoding) == CHANGED
        assert str(restarted.runs.read(1).config.decoding) == DEFAULT, "the request is unchanged"
    assert after.keys() == before.keys()
    assert {each.decoding for each in before.values()} == {DEFAULT}
    assert {each.decoding for each in after.values()} == {CHANGED}
    assert after["psnr"].value != before["psnr"].value
    changed_fakes = fakes_of(palettes, tiny_settings)
    assert not np.array_equal(fakes, changed_fakes)

    again = evaluate()
    assert str(again.decoding) == CHANGED
    assert not again.is_new_decoding
    assert stored(palettes)["psnr"].value == after["psnr"].value

    evaluate(DEFAULT)
    restored = stored(palettes)
    assert {name: each.value for name, each in restored.items()} == {
        name: each.value for name, each in before.items()
    }
    assert np.array_equal(fakes_of(palettes, tiny_settings), fakes)


def test_the_evaluated_pictures_are_those_that_the_served_model_paints(
    evaluate, palettes, tiny_settings
):
    evaluate("sample:1+flat", features="none")

    model = model_cache.load_model(palettes, tiny_settings, 1, "cpu")
    assert str(model.config.decoding) == "sample:1+flat"
    assert model.generator.decoding == model.config.decoding


def test_values_of_the_former_decoding_do_not_stand_beside_those_of_the_new(evaluate, palettes):
    assert stored(palettes)["kd_lite2"].value is not None
    scores = palettes.evaluations.read_scores([1], "test", ["psnr"])

    evaluate(CHANGED, features="none")

    assert "kd_lite2" not in stored(palettes)
    changed = palettes.evaluations.read_scores([1], "test", ["psnr"])
    assert len(changed) == len(scores)
    assert [each.value for each in changed] != [each.value for each in scores]


def test_only_the_best_checkpoint_on_the_test_split_changes_the_decoding(
    evaluate, palettes, tiny_settings
):
    file = tiny_settings.artifacts / palettes.checkpoints.read_best(1).path
    before = palettes.evaluations.read([1])

    for choice, split in (("last", "test"), ("best", "val"), (file, "test")):
        result = evaluate(CHANGED, choice, split, "none")
        assert not result.is_stored
        assert {each.decoding for each in result.evaluations} == {CHANGED}

    assert palettes.evaluations.read([1]) == before
    assert str(palettes.runs.read(1).resolved.decoding) == DEFAULT


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        ("vivid", r"decoding must be one of mean, sharp, .* not 'vivid'\.$"),
        ("median:1+steer", r"needs source_features=efficientnet_lite0.*; remove \+steer\.$"),
    ],
)
def test_a_decoding_that_cannot_be_computed_is_refused_in_one_sentence(evaluate, decoding, message):
    with pytest.raises(BadInputError, match=message):
        evaluate(decoding)


def test_a_run_without_a_palette_refuses_a_decoding(trained):
    with pytest.raises(BadInputError, match=r"standard has no palette.* 'mean'"):
        reevaluate.evaluate_again(
            *(trained.store, trained.settings, trained.store.runs.read(1), "best", "test", "none"),
            lambda done, total: None,
            "mean",
        )


def test_seeds_with_different_decodings_are_not_averaged(evaluate, palettes):
    both = compare(palettes, 1).rows[0].cells["psnr"]
    evaluate(CHANGED, features="none")

    one = compare(palettes, 1).rows[0].cells["psnr"]

    assert both.n_seeds == 2
    assert one.n_seeds == 1


def test_missing_metrics_have_the_decoding_of_the_stored_pictures(
    evaluate, palettes, tiny_settings
):
    evaluate(CHANGED)
    before = stored(palettes)
    keys = ", ".join(f"'$.{key}'" for key in ("extractor", "weights_sha256", "resize", "estimator"))
    with closing(sqlite3.connect(database_path(tiny_settings.database_url))) as database:
        database.execute(
            "UPDATE evaluations SET value = NULL, low = NULL, high = NULL, halves = NULL, "
            f"missing = 'no weights', protocol = json_remove(protocol, {keys}) "
            "WHERE split = 'test' AND run_id = 1 AND name IN ('kd_lite2', 'fd_lite2')"
        )
        database.commit()

    palettes.jobs.add("evaluate", "1", NOW)
    job = palettes.jobs.claim(NOW, "evaluate")
    worker_process.run_job(
        palettes, tiny_settings, job, lambda: False, missing_metrics.compute_missing_metrics
    )

    assert palettes.jobs.read(job.id).state == RunState.DONE
    after = stored(palettes)
    for name in ("kd_lite2", "fd_lite2"):
        assert after[name].value == before[name].value
        assert after[name].protocol == before[name].protocol
    epochs = {
        each.epoch: each.decoding
        for each in palettes.evaluations.read([1], "test")
        if each.name == "kd_lite2"
    }
    best = palettes.runs.read(1).best_epoch
    assert all(epochs[epoch] == (CHANGED if epoch == best else DEFAULT) for epoch in epochs)


def test_the_command_changes_the_decoding_and_says_so(palettes, tiny_settings, monkeypatch, capsys):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", tiny_settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tiny_settings.artifacts))

    assert main(["evaluate", "1", "--decoding", "mean", "--features", "none"]) == 0
    assert "Run 1 decoded as mean: stored, and used from now on." in capsys.readouterr().err

    assert main(["evaluate", "--study", "1", "--decoding", "mean"]) == 2
    assert "--decoding cannot be chosen" in capsys.readouterr().err
