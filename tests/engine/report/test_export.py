"""An export contains every number, and its report shows those of the Compare page."""

import csv
import json
import re
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.cli.main import main
from engine.errors import BadInputError, EngineError
from engine.jobs import spawn
from engine.metrics.catalog import CATALOG
from engine.records.curves import MetricPoint
from engine.records.runs import CheckpointEvaluation, ImageScore
from engine.report import cases, tables
from engine.report.comparison import build_comparison, compare
from engine.report.export import csv_files, png
from engine.report.export.writer import export_study, export_zip
from engine.settings import Settings
from tests.support.comparisons import measured, study_of
from tests.support.runs import NOW

TABLES = ("summary", "evaluations", "training_log", "stability", "image_scores")


@pytest.fixture(scope="module")
def store_and_settings(trained):
    return trained.store, trained.settings


@pytest.fixture(scope="module")
def exported(store_and_settings, tmp_path_factory):
    """The folder, without PNG figures, which have their own test."""
    out = tmp_path_factory.mktemp("out") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "find_browser", lambda: None)
        remarks = export_study(*store_and_settings, 1, out)
    return out, remarks


def test_every_file_exists_and_the_tables_load_in_pandas(exported):
    out, _ = exported

    for name in TABLES:
        table = pd.read_csv(out / f"{name}.csv")
        assert len(table), name
        assert "configuration" in table
    assert (out / "results.json").is_file()
    assert (out / "figures" / "worst-cases.png").is_file()
    assert (out / "figures" / "metric-psnr.html").is_file()
    assert (out / "figures" / "plotly.min.js").is_file()


def test_every_number_is_that_of_the_comparison(exported, store_and_settings):
    out, _ = exported
    comparison = compare(store_and_settings[0], 1)
    page = (out / "report.html").read_text()
    lines = (out / "summary.csv").read_text().splitlines()
    summary = {row["configuration"]: row for row in csv.DictReader(lines)}
    document = json.loads((out / "results.json").read_text())["comparison"]

    for row, written in zip(comparison.rows, document, strict=True):
        for name in ("psnr", "ssim", "kd_lite2", "fd_lite2", "delta_e", "diversity"):
            value = row.cells[name].value
            assert float(summary[row.configuration][name]) == value
            assert written["metrics"][name]["value"] == value
            assert f"<b>{CATALOG[name].format(value)}</b>" in page


def test_negative_numbers_are_numbers_in_every_table_and_formulas_are_guarded(store, tmp_path):
    study, runs = study_of(store, seeds=1)
    job = store.jobs.claim(NOW)
    values = (measured(runs[0], -1.5), replace(measured(runs[0], -2.0, epoch=2), note="-1+1"))
    scores = (ImageScore(1, "test", 3, "@picture", "psnr", -3.5),)
    store.evaluations.add(job, CheckpointEvaluation(values, scores), NOW)
    store.curves.add_points(job, 1, 1, [MetricPoint(1, 1, 1, "g_loss", -4.5)], NOW)

    evaluations = read_rows(csv_files.evaluations_csv(store, runs))
    summary = read_rows(tables.to_csv(build_comparison(study, runs, values[:1], [])))

    assert sorted(row["value"] for row in evaluations) == ["-1.5", "-2.0"]
    assert {row["note"] for row in evaluations} == {"", "'-1+1"}
    assert summary[0]["psnr"] == "-1.5"
    (score,) = read_rows(csv_files.scores_csv(store, runs))
    assert (score["picture"], score["value"]) == ("'@picture", "-3.5")
    assert read_rows(csv_files.training_csv(store, runs))[0]["value"] == "-4.5"


def read_rows(text):
    return list(csv.DictReader(text.splitlines()))


def test_a_value_in_the_summary_is_the_mean_of_the_single_pictures(exported):
    out, _ = exported
    scores = pd.read_csv(out / "image_scores.csv")
    summary = pd.read_csv(out / "summary.csv").set_index("configuration")

    chosen = scores.epoch == summary.loc["gan", "best_epoch"]
    of_gan = (scores.metric == "ssim") & (scores.configuration == "gan") & chosen
    mean = scores[of_gan]["value"].mean()

    assert summary.loc["gan", "ssim"] == pytest.approx(mean, rel=1e-12)


def test_the_report_needs_no_other_file_and_escapes_text_of_users(exported):
    page = (exported[0] / "report.html").read_text()
    html = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)

    assert not re.findall(r'(?:src|href)="(?!data:)', html)
    assert "two &lt;b&gt;alike&lt;/b&gt;" in html
    assert "<b>alike" not in html


def test_the_report_names_the_artists_and_the_licence_of_the_included_drawings(exported):
    page = (exported[0] / "report.html").read_text()

    assert "Drawings: OpenMoji (https://openmoji.org), licensed under CC BY-SA 4.0" in page


def test_without_a_browser_the_figures_are_html_only_and_a_remark_gives_the_reason(exported):
    out, remarks = exported

    assert remarks == [
        "Figures were exported as HTML only: PNG needs Chrome or Chromium on this machine, for "
        "example `apt-get install chromium`."
    ]
    assert not (out / "figures" / "metric-psnr.png").exists()


@pytest.mark.browser
def test_with_a_browser_the_figures_are_drawn_as_png(store_and_settings, tmp_path):
    if not png.find_browser():
        pytest.skip("no Chrome or Chromium on this machine")

    remarks = export_study(*store_and_settings, 1, tmp_path / "out")

    assert remarks == []
    for name in ("metric-psnr", "training-curves", "stability"):
        assert (tmp_path / "out" / "figures" / f"{name}.png").stat().st_size > 5_000


def test_an_export_replaces_an_earlier_export_and_no_other_files(
    store_and_settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(png, "find_browser", lambda: None)
    out, other = tmp_path / "out", tmp_path / "other"
    export_study(*store_and_settings, 1, out)
    (out / "notes.md").write_text("written by a user")
    (out / "figures" / "metric-gone.png").write_bytes(b"of an earlier export")
    other.mkdir()
    (other / "thesis.txt").write_text("written by a user")

    export_study(*store_and_settings, 1, out)

    assert (out / "notes.md").read_text() == "written by a user"
    assert not (out / "figures" / "metric-gone.png").exists()
    assert not list(out.glob(".*"))
    with pytest.raises(BadInputError, match="is no export"):
        export_study(*store_and_settings, 1, other)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_an_export_can_replace_that_in_the_current_folder(
    store_and_settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(png, "find_browser", lambda: None)
    export_study(*store_and_settings, 1, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    before = sorted(path.name for path in tmp_path.joinpath("out").iterdir())

    export_study(*store_and_settings, 1, Path())

    assert sorted(path.name for path in tmp_path.joinpath("out").iterdir()) == before


def test_a_failed_export_leaves_the_earlier_export_unchanged(
    store_and_settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(png, "find_browser", lambda: None)
    out = tmp_path / "out"
    export_study(*store_and_settings, 1, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    monkeypatch.setattr("engine.report.export.writer.draw_pngs", no_space)

    with pytest.raises(EngineError, match="No space left"):
        export_study(*store_and_settings, 1, out)

    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def no_space(*_):
    raise OSError(28, "No space left on device")


def test_a_failed_export_to_a_new_folder_leaves_no_files(store_and_settings, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.report.export.writer.draw_pngs", no_space)

    with pytest.raises(EngineError, match="No space left"):
        export_study(*store_and_settings, 1, tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


def test_the_zip_contains_the_files_of_the_folder(store_and_settings, exported, monkeypatch):
    monkeypatch.setattr(png, "find_browser", lambda: None)

    with zipfile.ZipFile(BytesIO(export_zip(*store_and_settings, 1))) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}

    out, _ = exported
    assert names == {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


def test_an_exported_study_can_be_repeated_from_its_results(
    exported, trained_copy, tiny_settings, monkeypatch, capsys
):
    store = trained_copy
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", tiny_settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tiny_settings.artifacts))
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)

    assert main(["study", "--from", str(exported[0] / "results.json"), "--json"]) == 0

    study = json.loads(capsys.readouterr().out)["study"]
    new_runs = store.runs.read_all(study)
    assert [run.config.configuration for run in new_runs] == [
        run.config.configuration for run in store.runs.read_all(1)
    ]
    assert store.studies.read(study).name == "two <b>alike</b> (again)"
    status = main(["study", "--from", "x", "--seeds", "3"])
    assert status == 2
    assert "--seeds cannot change it" in capsys.readouterr().err


def test_the_worst_pictures_are_those_with_the_worst_mean_scores(store_and_settings):
    store, settings = store_and_settings
    best_epochs = {run.id: run.best_epoch for run in store.runs.read_all(1)}
    scores = store.evaluations.read_scores([1, 2], "test", ["psnr"])
    of_chosen = [score for score in scores if score.epoch == best_epochs[score.run_id]]
    table = pd.DataFrame(vars(score) for score in of_chosen)
    expected = table.groupby("picture")["value"].mean().sort_values()

    study = store.studies.read(1)
    worst = cases.load_cases(store, settings, study, "psnr", "worst", 4)
    best = cases.load_cases(store, settings, study, "psnr", "best", 4)

    assert list(worst.names) == list(expected.index[:4])
    assert list(best.names) == list(expected.index[::-1][:4])
    assert set(worst.fakes) == {"standard", "gan"}
    assert worst.source.shape == worst.fakes["gan"].shape == (4, 32, 32, 3)
    # The loaded fake is the fake that has the score.
    error = (worst.fakes["gan"][0] / 255 - worst.target[0] / 255) ** 2
    assert -10 * np.log10(error.mean()) == pytest.approx(worst.scores["gan"][0], abs=1e-4)


def test_pictures_can_be_chosen_by_the_scores_of_one_configuration(store_and_settings):
    store, settings = store_and_settings
    epoch = store.runs.read(2).best_epoch
    scores = {
        score.picture: score.value
        for score in store.evaluations.read_scores([2], "test", ["ssim"])
        if score.epoch == epoch
    }

    study = store.studies.read(1)
    worst = cases.load_cases(store, settings, study, "ssim", "worst", 3, by_configuration="gan")

    assert list(worst.names) == sorted(scores, key=scores.get)[:3]


def test_missing_pictures_are_an_error_with_the_way_out(store_and_settings, monkeypatch, tmp_path):
    store, settings = store_and_settings
    moved = Settings(settings.database_url, tmp_path, settings.slots)
    (tmp_path / "data").symlink_to(settings.data_dir)

    with pytest.raises(EngineError, match="python -m engine evaluate 1"):
        cases.load_cases(store, moved, store.studies.read(1), "psnr", "worst", 3)


@pytest.mark.parametrize("content", [b"", b"junk", "other shape"])
def test_damaged_pictures_are_an_error_with_the_way_out(store_and_settings, tmp_path, content):
    store, settings = store_and_settings
    epoch = store.runs.read(1).best_epoch
    all_predictions = store.evaluations.read_predictions([1], "test")
    predictions = next(each for each in all_predictions if each.epoch == epoch)
    broken = Settings(settings.database_url, tmp_path, settings.slots)
    (tmp_path / "data").symlink_to(settings.data_dir)
    path = tmp_path / predictions.path
    path.parent.mkdir(parents=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, np.zeros((32, 16, 16, 3), np.uint8))

    with pytest.raises(EngineError, match=r"cannot be read.*python -m engine evaluate 1"):
        cases.load_cases(store, broken, store.studies.read(1), "psnr", "worst", 3)
