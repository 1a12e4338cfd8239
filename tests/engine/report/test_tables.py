import csv
import io
import re
from dataclasses import replace

import pytest

from engine.metrics.catalog import CATALOG
from engine.records.runs import Evaluation
from engine.report import tables
from engine.report.comparison import build_comparison
from tests.support.comparisons import NAMES, by_run, measured, noise, study_of


@pytest.fixture
def comparison(store):
    study, runs = study_of(store, seeds=1)
    values = [measured(run, 10.0 + run.id, halves=noise()) for run in runs]
    values += [measured(run, 29.0, "colorfulness") for run in runs]
    values = [
        replace(each, reference=50.25) if each.name == "colorfulness" else each for each in values
    ]
    values.append(Evaluation(runs[0].id, "test", "fid", None, 0, 3, missing="<no> weights"))
    study = replace(study, name="=SUM(A1)")
    return build_comparison(study, runs, values, [])


def test_the_csv_has_a_row_per_configuration_and_escapes_formulas(comparison):
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(comparison))))

    assert [row["configuration"] for row in rows] == list(NAMES)
    assert rows[0]["study"] == "'=SUM(A1)"
    assert float(rows[0]["psnr"]) == 11.0
    assert rows[0]["fid"] == ""
    assert rows[0]["fid_missing"] == "<no> weights"
    assert rows[1]["fid_missing"] == "not evaluated yet"


def test_the_csv_uses_the_names_of_the_sketch_study_for_its_metrics(comparison):
    heads = next(csv.reader(io.StringIO(tables.to_csv(comparison))))

    with_our_name = {"mse", "mae", "psnr", "ssim", "fid", "is_mean", "is_std"}
    assert with_our_name | {"real_accuracy", "fake_accuracy", "overall_accuracy"} <= set(heads)
    assert len(heads) == len(set(heads))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\tx", "\rx"])
def test_text_that_a_spreadsheet_would_run_is_escaped(text):
    assert tables.escape_formula(text) == f"'{text}"


@pytest.mark.parametrize("value", ["a=1", "", None, -1.5, -1])
def test_other_text_numbers_and_none_are_not_escaped(value):
    assert tables.escape_formula(value) is value


def test_the_json_has_the_documented_keys(comparison):
    (first, *_) = comparison.as_json()

    assert set(first) == {"configuration", "seeds", "metrics"}
    assert set(first["metrics"]["fid"]) >= {
        *("value", "low", "high", "n_seeds", "n_pictures", "rank", "best_epoch", "last"),
        *("missing", "mark"),
    }


def test_the_page_shows_the_numbers_of_the_csv(comparison):
    page = tables.to_html(comparison)

    for row in csv.DictReader(io.StringIO(tables.to_csv(comparison))):
        shown = CATALOG["psnr"].format(float(row["psnr"]))
        assert f"<b>{shown}</b>" in page
    assert "targets 50.2" in page


def test_text_of_users_is_escaped_in_html(comparison):
    page = tables.to_html(comparison)

    assert "<no>" not in page
    assert "&lt;no&gt; weights" in page


def test_the_page_has_protocols_as_tooltips_and_a_foldable_row_per_seed(store):
    study, runs = study_of(store, seeds=2)
    page = tables.to_html(build_comparison(study, runs, by_run(runs, [1, 2, 3, 4, 5, 6.25]), []))

    assert re.search(r'title="[^"]*px: 32', page)
    assert page.count('type="checkbox"') == 3  # in the only group with values
    assert "<td>6.25</td>" in page


def test_a_reason_that_all_configurations_share_appears_once(comparison):
    reasons = tables.reasons_by_metric(comparison, ["fid", "kid", "psnr"])

    assert reasons["fid"] == "standard: <no> weights; perceptual, regularized: not evaluated yet"
    assert reasons["kid"] == "not evaluated yet"
    assert "psnr" not in reasons


def test_markdown_leaves_out_columns_without_a_value(comparison):
    text = tables.to_markdown(comparison)

    assert "| Pixels, picture by picture | PSNR (dB) ↑ |" in text
    assert "| `standard` | 11.00 ± 1.00 #3 |" in text
    assert "SSIM" not in text
    assert "Colourfulness (targets 50.2)" in text
