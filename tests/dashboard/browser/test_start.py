"""A study in a real browser: started, watched, stopped, resumed, cloned and downloaded."""

import csv
import io
import re
import zipfile
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import expect

from tests.dashboard.browser.driver import (
    choose_one_fast_run,
    choose_smoke,
    drawn_points,
    end,
    open_tab,
    remove_configuration,
    wait_for_run_end,
)
from tests.support.runs import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]

MANY_EPOCHS = 1000  # so that a run trains until it is stopped


def set_epochs(page, epochs):
    field = page.get_by_role("spinbutton", name="Epochs")
    field.fill(str(epochs))
    field.press("Enter")
    expect(page.get_by_text(f"of {epochs} epoch")).to_be_visible()


def test_a_run_is_started_watched_stopped_and_resumed_and_its_clone_is_downloaded(
    dashboard, page, store
):
    _, address, log = dashboard()
    choose_one_fast_run(page, address)
    set_epochs(page, MANY_EPOCHS)
    page.get_by_role("button", name="Start").click()

    # The curve appears and grows while the run trains, and its newest samples are shown.
    expect(page.get_by_role("heading", name="Live")).to_be_visible()
    assert "study=1" in page.url
    first_points = wait_for(lambda: drawn_points(page))
    expect(page.locator(".live-chart .scatterlayer .trace").first).to_be_visible()
    assert wait_for(lambda: drawn_points(page) > first_points)
    expect(page.get_by_role("button", name=re.compile("^standard of picture 1"))).to_be_visible()

    # The run is stopped, and resumed where it was stopped.
    page.get_by_role("button", name="Stop").first.click()
    wait_for(lambda: str(store.runs.read(1).state) == "stopped")
    stopped_at = store.runs.read(1).step
    page.get_by_role("button", name="Resume").first.click()
    wait_for(lambda: store.runs.read(1).step > stopped_at)
    assert [attempt.from_step for attempt in store.runs.read_attempts([1])] == [0, stopped_at]
    page.get_by_role("button", name="Stop").first.click()
    wait_for_run_end(page)

    # A clone fills the form, and is started with another number of epochs.
    page.get_by_role("link", name="Details").first.click()
    expect(page.get_by_role("heading", name="Run", exact=True)).to_be_visible()
    page.get_by_role("link", name="Clone").first.click()
    expect(page.get_by_text("Copied from run 1")).to_be_visible()
    expect(page.get_by_role("spinbutton", name="Epochs")).to_have_value(str(MANY_EPOCHS))
    set_epochs(page, 1)
    page.get_by_role("button", name="Start").click()
    wait_for_run_end(page)
    expect(page).to_have_title("done · openmoji smoke (again)")
    wait_for(lambda: drawn_points(page) == 8)

    # The gallery has the pictures of the run; the CSV file has a row for its configuration.
    page.get_by_role("link", name="Gallery").first.click()
    expect(page.get_by_role("button", name=re.compile("^standard of picture 1"))).to_be_visible()
    page.get_by_role("link", name="Compare").first.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    (row,) = csv.DictReader(io.StringIO(download.value.path().read_text()))
    assert row["configuration"] == "standard"
    assert float(row["psnr"]) > 0
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all results").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {"summary.csv", "report.html"} <= {Path(name).name for name in archive.namelist()}
    assert "Traceback" not in log.read_text()


def supervisors(settings):
    """The ids of the running supervisors with these settings."""
    pids = []
    for process in psutil.process_iter():
        try:
            is_own = process.environ().get("CHROMABENCH_ARTIFACTS") == str(settings.artifacts)
            if is_own and process.cmdline()[-1] == "supervise":
                pids.append(process.pid)
        except psutil.Error:
            continue
    return pids


def test_two_dashboards_start_one_supervisor_that_outlives_them(
    dashboard, app_settings, chromium, page, store
):
    servers = [dashboard(), dashboard()]
    for _, address, _ in servers:
        tab = open_tab(chromium)
        choose_one_fast_run(tab, address)
        tab.get_by_role("button", name="Start").click()
        expect(tab.get_by_role("heading", name="Live")).to_be_visible()
    wait_for(lambda: len(store.runs.read_all()) == 2)
    wait_for(lambda: store.runs.read(1).state.is_active())
    wait_for(lambda: len(supervisors(app_settings)) == 1, timeout_s=30)

    for server, _, _ in servers:
        end(server)

    assert len(supervisors(app_settings)) == 1
    # Without a dashboard, the first run ends and the second one starts.
    wait_for(lambda: str(store.runs.read(1).state) == "done")
    wait_for(lambda: str(store.runs.read(2).state) != "queued")


def test_a_weight_can_be_edited_in_the_table_and_started(app, page):
    choose_smoke(page, app.address)
    remove_configuration(page, "vivid")
    expect(page.get_by_text("standard: adversarial + 100 l1")).to_be_visible()

    # The table is a canvas, which is redrawn at times. The first number of its second row is the
    # weight of L1. The locator clicks only when the table has stopped moving.
    table = page.get_by_test_id("stDataFrame").first
    editor = page.locator("#portal input")

    def open_editor():
        width = table.bounding_box()["width"]
        table.dblclick(position={"x": width * 0.35, "y": 35 * 2 + 17})
        return editor.is_visible()

    wait_for(open_editor)
    editor.fill("12.5")
    editor.press("Enter")
    expect(page.get_by_text("standard: adversarial + 12.5 l1")).to_be_visible()
    expect(page.get_by_text("Changed presets: standard.")).to_be_visible()
    # A press of a key: the button may move while the table is drawn again.
    page.get_by_role("button", name="Start").press("Enter")

    expect(page.get_by_role("heading", name="Live")).to_be_visible()
    run = app.store.runs.read_all(app.store.studies.read_all()[0].id)[0]
    assert str(run.config.configuration.recipe) == "adversarial + 12.5 l1"
