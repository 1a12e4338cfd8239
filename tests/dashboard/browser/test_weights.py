"""The weights for FID are downloaded from the Launch page, and the study that waits records FID."""

import csv
import io
import re
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from engine import weights
from tests.dashboard.browser.driver import choose_smoke, wait_for_run_end
from tests.support.runs import kill_processes_of
from tests.support.weights import as_file, random_inception, replace_entry, replace_in_processes
from tests.support.weights_server import running_weights_server

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server with an Inception network of random weights, which all processes accept."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    content = as_file(random_inception(monkeypatch))
    replace_entry("inception", content, monkeypatch)
    replace_in_processes(["inception"], monkeypatch)
    with running_weights_server() as running:
        running.files[weights.CATALOG["inception"].file] = content
        yield running


@pytest.fixture
def app_settings(tiny_settings, server):
    """The settings of the app; processes that the app has started are killed after the test."""
    settings = replace(tiny_settings, weights_url=server.url)
    yield settings
    kill_processes_of(settings)


def choose_one_run(page, address):
    """Fills the form with the smoke budget and one of the default configurations."""
    choose_smoke(page, address)
    for count in ("3 runs", "2 runs", "1 run"):
        page.get_by_role("combobox", name="Configurations").press("Backspace")
        expect(page.get_by_text(f"{count} of")).to_be_visible()


def test_launch_downloads_the_weights_and_the_study_that_waits_has_fid(dashboard, page, server):
    _, address, log = dashboard()
    server.hold_at = weights.CATALOG["inception"].n_bytes // 2
    choose_one_run(page, address)

    # The progress survives a reload of the page.
    page.get_by_role("button", name="Download Inception weights (91 MB)").click()
    progress = page.get_by_text(re.compile(r"Downloading Inception weights: 4[0-9] of 91 MB"))
    expect(progress).to_be_visible()
    page.reload()
    expect(progress).to_be_visible()

    # The study is queued at once, and its run waits for the file.
    choose_one_run(page, address)
    page.get_by_role("button", name="Start study after the download").click()
    expect(page.get_by_role("heading", name="Live")).to_be_visible()
    expect(page.get_by_text("downloading the Inception weights").first).to_be_visible()
    server.release.set()
    wait_for_run_end(page)

    # FID is in the table and in the CSV.
    page.get_by_role("link", name="Compare").first.click()
    expect(page.get_by_role("columnheader", name=re.compile("^FID")).first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    (row,) = csv.DictReader(io.StringIO(download.value.path().read_text()))
    assert float(row["fid"]) > 0
    page.get_by_role("link", name="Launch").first.click()
    expect(page.get_by_text("FID will be recorded")).to_be_visible()
    assert server.ranges == [None]
    assert "Traceback" not in log.read_text()
