"""The photograph study as a whole: real processes' work on real folders."""

import pytest
from PIL import Image

from engine.config import RunConfig
from engine.data.sources.registry import read_source
from engine.data.survey.survey import make_survey
from engine.errors import BadInputError
from engine.jobs import planning
from engine.overrides import apply_settings
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.records.runs import RunState
from engine.report.comparison import compare
from engine.workers import train
from tests.conftest import NOW
from tests.support.image_files import write_pairs, write_photographs


@pytest.fixture
def photographs(tmp_path):
    return write_photographs(tmp_path / "photos", 60)


def plan(data, names, changes, settings):
    return planning.plan_study(read_source(data, settings), "smoke", names, 1, changes, settings)


def work(store, settings):
    while (job := store.claim_job(NOW)) is not None:
        train.run_job(store, settings, job, lambda: False)
    return store.read_runs()


@pytest.mark.slow
@pytest.mark.parametrize("output", ["rgb", "lab_ab"])
def test_three_configurations_train_on_photographs_to_a_table(store, settings, photographs, output):
    names = ("gan", "ganv2", "ganv3")
    changes = {"output": output, "discriminator": "unconditional", "epochs": "2", "pretrain": "1"}
    changes |= {"batch": "4"}
    configs = plan(f"photos:{photographs}", names, changes, settings)
    store.add_study("key", "photographs", configs, NOW)

    runs = work(store, settings)

    assert [(run.state, run.reason) for run in runs] == [(RunState.DONE, None)] * 3
    rows = compare(store, 1).rows
    assert [row.configuration for row in rows] == list(names)
    least = 12 if output == "lab_ab" else 5  # dB; a grey answer already has the lightness
    assert all(row.cells["psnr"].value > least for row in rows)


@pytest.mark.slow
def test_side_by_side_pairs_train_without_being_told_the_order(store, settings, tmp_path):
    folder = write_pairs(tmp_path / "pairs", 100, sketch_left=False)
    configs = plan(f"sidebyside:{folder}", ["standard"], {}, settings)
    store.add_study("key", "pairs", configs, NOW)

    (run,) = work(store, settings)

    assert (run.state, run.reason) == (RunState.DONE, None)


@pytest.mark.slow
def test_a_folder_that_changes_under_a_study_ends_its_next_run_with_the_reason(
    store, settings, photographs
):
    configs = plan(f"photos:{photographs}", ["gan", "ganv2"], {"batch": "4"}, settings)
    store.add_study("key", "photographs", configs, NOW)
    job = store.claim_job(NOW)
    train.run_job(store, settings, job, lambda: False)
    (photographs / "photo0001.jpg").unlink()

    _, second = work(store, settings)

    assert second.state == RunState.FAILED
    assert "have changed since run 1 of this study began" in second.reason


def test_colours_alone_are_refused_where_the_source_is_a_sketch(settings):
    with pytest.raises(
        BadInputError, match=r"output=lab_ab keeps the grey .* openmoji is a sketch"
    ):
        plan("openmoji", ["gan"], {"output": "lab_ab"}, settings)


def test_pretraining_must_leave_an_epoch_for_both_networks():
    config = RunConfig(
        data="openmoji", configuration=CONFIGURATIONS["gan"], budget=BUDGETS["study2"]
    )

    assert apply_settings(config, {"pretrain": "2"}).budget.evaluated_epochs == (3, 4, 5)
    with pytest.raises(BadInputError, match=r"pretrain must be less than epochs \(5\), not 5"):
        apply_settings(config, {"pretrain": "5"})


def test_an_odd_width_is_refused_at_the_start_after_a_look_too(tmp_path, settings):
    folder = write_pairs(tmp_path / "pairs", 40)
    Image.new("RGB", (101, 50)).save(folder / "odd.png")
    source = read_source(f"sidebyside:{folder}", settings)
    make_survey(source, settings, lambda done, total: None)

    with pytest.raises(BadInputError, match="odd width"):
        plan(source.text, ["gan"], {}, settings)


def test_a_run_that_is_stopped_while_its_pictures_are_packed_leaves_nothing(
    store, settings, photographs
):
    store.add_study(
        "key", "a", plan(f"photos:{photographs}", ["gan"], {"batch": "4"}, settings), NOW
    )
    job = store.claim_job(NOW)
    store.request_stop(job.run_id, NOW)

    train.run_job(store, settings, job, lambda: True)

    (run,) = store.read_runs()
    assert (run.state, run.reason) == (RunState.STOPPED, "stopped by the user while packing")
    assert [it for it in settings.data_dir.iterdir() if it.is_dir()] == []
