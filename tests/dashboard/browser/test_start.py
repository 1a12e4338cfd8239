"""A study is started in a real browser, watched, stopped, resumed, and taken home."""

import csv
import io
import re
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import expect

from engine.settings import PROJECT_ROOT
from engine.system import child_environment
from tests.conftest import NOW, wait_for
from tests.dashboard.browser.driver import choose_smoke, drawn_points, end

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_study_is_started_watched_and_taken_home(dashboard, page):
    _, address, log = dashboard()
    choose_smoke(page, address)

    page.get_by_role("button", name="Start").click()

    # The curve appears and grows as run after run trains.
    expect(page.get_by_role("heading", name="Live")).to_be_visible()
    assert "study=1" in page.url
    seen = wait_for(lambda: drawn_points(page))
    expect(page.locator(".live-chart .scatterlayer .trace").first).to_be_visible()
    assert wait_for(lambda: drawn_points(page) > seen)
    expect(page.get_by_role("button", name=re.compile("^standard of picture 1"))).to_be_visible()
    expect(page.get_by_text("All runs have ended")).to_be_visible()
    expect(page).to_have_title("done · openmoji smoke")
    wait_for(lambda: drawn_points(page) == 3 * 8)

    # The gallery has every run's pictures; the table goes home as CSV with a row for each.
    page.get_by_role("link", name="Gallery").first.click()
    expect(page.get_by_role("button", name=re.compile("^regularized of picture 1"))).to_be_visible()
    page.get_by_role("link", name="Compare").first.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert [row["configuration"] for row in rows] == ["standard", "perceptual", "regularized"]
    assert all(float(row["psnr"]) > 0 for row in rows)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export everything").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {"summary.csv", "report.html"} <= {Path(it).name for it in archive.namelist()}
    assert "Traceback" not in log.read_text()


def supervisors(settings):
    """The living supervisors of these settings."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("CHROMABENCH_ARTIFACTS") == str(settings.artifacts)
            if ours and process.cmdline()[-1] == "supervise":
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_two_dashboards_start_one_supervisor_and_their_end_stops_no_run(
    dashboard, app_settings, page, store
):
    servers = [dashboard(), dashboard()]
    for _, address, _ in servers:
        choose_smoke(page, address)
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("heading", name="Live")).to_be_visible()
    wait_for(lambda: len(store.read_runs()) == 6)
    wait_for(lambda: any(run.state.is_active() for run in store.read_runs()))
    wait_for(lambda: len(supervisors(app_settings)) == 1, patience_s=30)

    for server, _, _ in servers:
        end(server)

    assert len(supervisors(app_settings)) == 1
    # Nobody looks, and run follows run.
    wait_for(lambda: sum(str(run.state) == "done" for run in store.read_runs()) >= 2)


def test_a_run_is_stopped_resumed_and_cloned(dashboard, page, store):
    _, address, _ = dashboard()
    choose_smoke(page, address)
    page.get_by_role("spinbutton", name="Epochs").fill("60")
    page.get_by_role("spinbutton", name="Epochs").press("Enter")
    expect(page.get_by_text("of 60 epochs")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    wait_for(lambda: drawn_points(page) > 20)

    page.get_by_role("button", name="Stop").first.click()
    wait_for(lambda: str(store.read_run(1).state) == "stopped")
    stopped_at = store.read_run(1).step
    for run_id in (2, 3):  # out of its way
        store.request_stop(run_id, NOW)
    wait_for(lambda: all(run.is_over for run in store.read_runs()))
    page.get_by_role("button", name="Resume").first.click()
    wait_for(lambda: store.read_run(1).step > stopped_at)
    assert [it.from_step for it in store.read_attempts([1])] == [0, stopped_at]

    page.get_by_role("link", name="Details").first.click()
    expect(page.get_by_role("heading", name="Run", exact=True)).to_be_visible()
    page.get_by_role("link", name="Clone").first.click()
    expect(page.get_by_text("As run 1 was")).to_be_visible()
    expect(page.get_by_role("spinbutton", name="Epochs")).to_have_value("60")


def test_a_weight_is_changed_in_the_table_and_started(dashboard, page, store):
    _, address, _ = dashboard()
    choose_smoke(page, address)
    expect(page.get_by_text("standard: adversarial + 100 l1")).to_be_visible()

    # The table is a canvas, drawn anew now and then: its second row's first number is L1's weight.
    def type_weight():
        box = page.locator("[data-testid=stDataFrame] canvas").first.bounding_box()
        page.mouse.dblclick(box["x"] + box["width"] * 0.45, box["y"] + 35 * 2 + 17)
        page.wait_for_timeout(500)
        page.keyboard.press("Control+a")
        page.keyboard.type("12.5")
        page.keyboard.press("Enter")
        page.wait_for_timeout(1500)
        return page.get_by_text("standard: adversarial + 12.5 l1").is_visible()

    wait_for(type_weight)
    expect(page.get_by_text("Not as published: standard.")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    wait_for(lambda: store.read_runs())
    assert str(store.read_runs()[0].config.configuration.recipe) == "adversarial + 12.5 l1"


def try_port(settings, port):
    """Starts a dashboard that is expected to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "dashboard", f"--port={port}"],
        env=child_environment.worker_environment(settings),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("port", ["-1", "0", "99999", "x"])
def test_a_port_that_is_none_is_refused(app_settings, port):
    done = try_port(app_settings, port)

    assert done.returncode == 2
    assert done.stderr == f"error: The port must be a number from 1 to 65535, not {port!r}.\n"


def test_a_taken_port_is_one_sentence_with_the_way_out(app_settings):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = try_port(app_settings, port)

    assert done.returncode == 1
    assert done.stderr == (
        f"error: Port {port} is taken, perhaps by another dashboard. "
        f"Choose another: make app PORT={port + 1}.\n"
    )
