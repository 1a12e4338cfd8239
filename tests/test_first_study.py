"""The path of a first study: command line, supervisor, worker, evaluation, table and pages."""

import csv
import io

import pytest
import streamlit as st

from engine.cli.main import main
from tests.support.pages import open_page, texts
from tests.support.runs import kill_processes_of


@pytest.fixture
def installation(tiny_settings, monkeypatch):
    """An empty installation that commands and pages use; its processes are killed afterwards."""
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", tiny_settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tiny_settings.artifacts))
    monkeypatch.setenv("CHROMABENCH_SLOTS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    st.cache_resource.clear()
    yield tiny_settings
    kill_processes_of(tiny_settings)


def test_a_study_is_trained_evaluated_compared_and_shown(installation, capsys):
    status = main([
        *("study", "--data", "openmoji", "--budget", "smoke", "--configurations", "standard"),
        *("--set", "threads=1", "--set", "precision=fp32", "--wait"),
    ])  # fmt: skip
    output = capsys.readouterr()
    assert status == 0, output.err

    assert main(["table", "1", "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["configuration"] == "standard"
    assert float(row["psnr"]) > 5
    assert float(row["kd_lite2"]) > 0
    live, compare = (open_page(page, study=1) for page in ("live", "compare"))
    assert not live.exception
    assert not compare.exception
    assert "standard" in texts(compare)
