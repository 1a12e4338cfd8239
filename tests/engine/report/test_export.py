"""An export holds every number, and its page shows the same ones as the Compare page."""

import csv
import json
import re
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.cli import parser
from engine.errors import BadInputError, EngineError
from engine.jobs import lifecycle
from engine.metrics.catalog import CATALOG
from engine.report import cases
from engine.report.comparison import compare
from engine.report.export import png
from engine.report.export.writer import export_study, export_zip
from engine.settings import Settings

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


def test_every_file_is_there_and_the_tables_load_in_pandas(exported):
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


def test_a_mean_in_the_summary_is_that_of_its_single_pictures(exported):
    out, _ = exported
    scores = pd.read_csv(out / "image_scores.csv")
    summary = pd.read_csv(out / "summary.csv").set_index("configuration")

    chosen = scores.epoch == summary.loc["gan", "best_epoch"]
    of_gan = (scores.metric == "ssim") & (scores.configuration == "gan") & chosen
    mean = scores[of_gan]["value"].mean()

    assert summary.loc["gan", "ssim"] == pytest.approx(mean, rel=1e-12)


def test_the_page_needs_nothing_else_and_runs_no_word_of_a_user(exported):
    page = (exported[0] / "report.html").read_text()
    words = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)

    assert not re.findall(r'(?:src|href)="(?!data:)', words)
    assert "two &lt;b&gt;alike&lt;/b&gt;" in words
    assert "<b>alike" not in words


def test_without_a_browser_the_figures_stay_html_and_it_is_said(exported):
    out, remarks = exported

    assert remarks == [
        "Figures are there as HTML only: PNG needs a Chrome or Chromium on this machine, for "
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


def test_an_export_replaces_an_export_and_nothing_else(store_and_settings, tmp_path, monkeypatch):
    monkeypatch.setattr(png, "find_browser", lambda: None)
    out, other = tmp_path / "out", tmp_path / "other"
    export_study(*store_and_settings, 1, out)
    (out / "notes.md").write_text("dear to somebody")
    (out / "figures" / "metric-gone.png").write_bytes(b"of an earlier export")
    other.mkdir()
    (other / "thesis.txt").write_text("dear to somebody")

    export_study(*store_and_settings, 1, out)

    assert (out / "notes.md").read_text() == "dear to somebody"
    assert not (out / "figures" / "metric-gone.png").exists()
    assert not list(out.glob(".*"))
    with pytest.raises(BadInputError, match="is no export"):
        export_study(*store_and_settings, 1, other)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_the_folder_one_stands_in_can_be_exported_to_again(
    store_and_settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(png, "find_browser", lambda: None)
    export_study(*store_and_settings, 1, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    before = sorted(path.name for path in tmp_path.joinpath("out").iterdir())

    export_study(*store_and_settings, 1, Path())

    assert sorted(path.name for path in tmp_path.joinpath("out").iterdir()) == before


def test_a_failed_export_leaves_the_one_before_it(store_and_settings, tmp_path, monkeypatch):
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


def test_an_export_that_fails_leaves_nothing(store_and_settings, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.report.export.writer.draw_pngs", no_space)

    with pytest.raises(EngineError, match="No space left"):
        export_study(*store_and_settings, 1, tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


def test_the_zip_holds_the_same_files(store_and_settings, exported, monkeypatch):
    monkeypatch.setattr(png, "find_browser", lambda: None)

    with zipfile.ZipFile(BytesIO(export_zip(*store_and_settings, 1))) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}

    out, _ = exported
    assert names == {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


def test_an_exported_study_is_repeated_from_its_results(
    exported, store_and_settings, monkeypatch, capsys
):
    store, settings = store_and_settings
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(settings.artifacts))
    monkeypatch.setattr(lifecycle, "ensure_supervisor", lambda settings: None)

    assert parser.main(["study", "--from", str(exported[0] / "results.json"), "--json"]) == 0

    study = json.loads(capsys.readouterr().out)["study"]
    again = store.read_runs(study)
    assert [run.config.configuration for run in again] == [
        run.config.configuration for run in store.read_runs(1)
    ]
    assert store.read_study(study).name == "two <b>alike</b> (again)"
    status = parser.main(["study", "--from", "x", "--seeds", "3"])
    assert status == 2
    assert "--seeds cannot change it" in capsys.readouterr().err


def test_the_worst_pictures_are_those_with_the_worst_scores_of_all(store_and_settings):
    store, settings = store_and_settings
    best_epochs = {run.id: run.best_epoch for run in store.read_runs(1)}
    found = store.read_scores([1, 2], "test", ["psnr"])
    scores = pd.DataFrame(vars(it) for it in found if it.epoch == best_epochs[it.run_id])
    wanted = scores.groupby("picture")["value"].mean().sort_values()

    study = store.read_study(1)
    worst = cases.load_cases(store, settings, study, "psnr", "worst", 4)
    best = cases.load_cases(store, settings, study, "psnr", "best", 4)

    assert list(worst.names) == list(wanted.index[:4])
    assert list(best.names) == list(wanted.index[::-1][:4])
    assert set(worst.fakes) == {"standard", "gan"}
    assert worst.source.shape == worst.fakes["gan"].shape == (4, 32, 32, 3)
    # The picture shown is the picture that was scored.
    error = (worst.fakes["gan"][0] / 255 - worst.target[0] / 255) ** 2
    assert -10 * np.log10(error.mean()) == pytest.approx(worst.scores["gan"][0], abs=1e-4)


def test_pictures_can_be_chosen_by_one_configuration(store_and_settings):
    store, settings = store_and_settings
    epoch = store.read_run(2).best_epoch
    found = store.read_scores([2], "test", ["ssim"])
    scores = {it.picture: it.value for it in found if it.epoch == epoch}

    found = cases.load_cases(store, settings, store.read_study(1), "ssim", "worst", 3, by="gan")

    assert list(found.names) == sorted(scores, key=scores.get)[:3]


def test_pictures_that_are_gone_are_said_to_be(store_and_settings, monkeypatch, tmp_path):
    store, settings = store_and_settings
    moved = Settings(settings.database_url, tmp_path, settings.slots)
    (tmp_path / "data").symlink_to(settings.data_dir)

    with pytest.raises(EngineError, match="python -m engine evaluate 1"):
        cases.load_cases(store, moved, store.read_study(1), "psnr", "worst", 3)


@pytest.mark.parametrize("content", [b"", b"junk", "other shape"])
def test_pictures_that_are_damaged_are_said_to_be(store_and_settings, tmp_path, content):
    store, settings = store_and_settings
    epoch = store.read_run(1).best_epoch
    kept = next(it for it in store.read_predictions([1], "test") if it.epoch == epoch)
    broken = Settings(settings.database_url, tmp_path, settings.slots)
    (tmp_path / "data").symlink_to(settings.data_dir)
    path = tmp_path / kept.path
    path.parent.mkdir(parents=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, np.zeros((32, 16, 16, 3), np.uint8))

    with pytest.raises(EngineError, match=r"cannot be read.*python -m engine evaluate 1"):
        cases.load_cases(store, broken, store.read_study(1), "psnr", "worst", 3)
