"""The photograph study from plan to table, on folders of image files."""

import pytest
from PIL import Image

from engine.config import RunConfig
from engine.data.sources.registry import parse_source
from engine.data.survey.survey import make_survey
from engine.errors import BadInputError
from engine.jobs import planning
from engine.overrides import apply_settings
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.records.runs import RunState
from engine.report.comparison import compare
from tests.support.image_files import write_pairs, write_photographs
from tests.support.runs import NOW
from tests.support.training_jobs import run_training_job


@pytest.fixture
def photographs(tmp_path):
    return write_photographs(tmp_path / "photos", 60)


def plan(data, names, changes, settings):
    return planning.plan_study(parse_source(data, settings), "smoke", names, 1, changes, settings)


def work_through(store, settings):
    while (job := store.jobs.claim(NOW)) is not None:
        run_training_job(store, settings, job, lambda: False)
    return store.runs.read_all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("output", "names"), [("rgb", ("gan", "ganv3")), ("lab_ab", ("gan", "ganv2"))]
)
def test_configurations_train_on_photographs_to_a_table(
    store, settings, photographs, output, names
):
    changes = {"output": output, "discriminator": "unconditional", "epochs": "2", "pretrain": "1"}
    changes |= {"batch": "4"}
    configs = plan(f"photos:{photographs}", names, changes, settings)
    store.studies.add("key", "photographs", configs, NOW)

    runs = work_through(store, settings)

    assert [(run.state, run.reason) for run in runs] == [(RunState.DONE, None)] * 2
    rows = compare(store, 1).rows
    assert [row.configuration for row in rows] == list(names)
    # With lab_ab even a grey fake has the lightness of its target.
    min_psnr_db = 12 if output == "lab_ab" else 5
    assert all(row.cells["psnr"].value > min_psnr_db for row in rows)


@pytest.mark.slow
def test_side_by_side_pairs_train_without_a_given_order(store, settings, tmp_path):
    folder = write_pairs(tmp_path / "pairs", 100, sketch_left=False)
    configs = plan(f"sidebyside:{folder}", ["standard"], {}, settings)
    store.studies.add("key", "pairs", configs, NOW)

    (run,) = work_through(store, settings)

    assert (run.state, run.reason) == (RunState.DONE, None)


@pytest.mark.slow
def test_a_changed_folder_ends_the_next_run_of_a_study_with_the_reason(
    store, settings, photographs
):
    configs = plan(f"photos:{photographs}", ["gan", "ganv2"], {"batch": "4"}, settings)
    store.studies.add("key", "photographs", configs, NOW)
    job = store.jobs.claim(NOW)
    run_training_job(store, settings, job, lambda: False)
    (photographs / "photo0001.jpg").unlink()

    _, second = work_through(store, settings)

    assert second.state == RunState.FAILED
    assert "have changed since run 1 of this study began" in second.reason


def test_output_of_colours_alone_is_refused_for_sketches(settings):
    with pytest.raises(
        BadInputError, match=r"output=lab_ab keeps the grey .* openmoji is a sketch"
    ):
        plan("openmoji", ["gan"], {"output": "lab_ab"}, settings)


def test_pretraining_must_leave_an_epoch_for_the_training_of_both_networks():
    config = RunConfig(
        data="openmoji", configuration=CONFIGURATIONS["gan"], budget=BUDGETS["study2"]
    )

    assert apply_settings(config, {"pretrain": "2"}).budget.evaluated_epochs == (3, 4, 5)
    with pytest.raises(BadInputError, match=r"pretrain must be less than epochs \(5\), not 5"):
        apply_settings(config, {"pretrain": "5"})


def test_an_odd_width_is_refused_at_the_start_even_after_a_scan(tmp_path, settings):
    folder = write_pairs(tmp_path / "pairs", 40)
    Image.new("RGB", (101, 50)).save(folder / "odd.png")
    source = parse_source(f"sidebyside:{folder}", settings)
    make_survey(source, settings, lambda done, total: None)

    with pytest.raises(BadInputError, match="odd width"):
        plan(source.text, ["gan"], {}, settings)


def test_a_run_that_is_stopped_while_packing_leaves_no_files(store, settings, photographs):
    store.studies.add(
        "key", "a", plan(f"photos:{photographs}", ["gan"], {"batch": "4"}, settings), NOW
    )
    job = store.jobs.claim(NOW)
    store.jobs.request_run_stop(job.run_id, NOW)

    run_training_job(store, settings, job, lambda: True)

    (run,) = store.runs.read_all()
    assert (run.state, run.reason) == (RunState.STOPPED, "stopped by the user while packing")
    assert [path for path in settings.data_dir.iterdir() if path.is_dir()] == []
