"""A study in a real browser: started, watched, stopped, resumed, cloned and downloaded."""

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
from tests.dashboard.browser.driver import choose_smoke, drawn_points, end
from tests.support.runs import NOW, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_study_is_started_watched_and_downloaded(dashboard, page):
    _, address, log = dashboard()
    choose_smoke(page, address)

    page.get_by_role("button", name="Start").click()

    # The curve appears and grows as run after run trains.
    expect(page.get_by_role("heading", name="Live")).to_be_visible()
    assert "study=1" in page.url
    first_points = wait_for(lambda: drawn_points(page))
    expect(page.locator(".live-chart .scatterlayer .trace").first).to_be_visible()
    assert wait_for(lambda: drawn_points(page) > first_points)
    expect(page.get_by_role("button", name=re.compile("^standard of picture 1"))).to_be_visible()
    expect(page.get_by_text("All runs have ended")).to_be_visible()
    expect(page).to_have_title("done · openmoji smoke")
    wait_for(lambda: drawn_points(page) == 3 * 8)

    # The gallery has the pictures of every run; the CSV file has a row per configuration.
    page.get_by_role("link", name="Gallery").first.click()
    expect(page.get_by_role("button", name=re.compile("^regularized of picture 1"))).to_be_visible()
    page.get_by_role("link", name="Compare").first.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert [row["configuration"] for row in rows] == ["standard", "perceptual", "regularized"]
    assert all(float(row["psnr"]) > 0 for row in rows)
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
    dashboard, app_settings, page, store
):
    servers = [dashboard(), dashboard()]
    for _, address, _ in servers:
        choose_smoke(page, address)
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("heading", name="Live")).to_be_visible()
    wait_for(lambda: len(store.runs.read_all()) == 6)
    wait_for(lambda: any(run.state.is_active() for run in store.runs.read_all()))
    wait_for(lambda: len(supervisors(app_settings)) == 1, timeout_s=30)

    for server, _, _ in servers:
        end(server)

    assert len(supervisors(app_settings)) == 1
    # Without a dashboard, the runs continue one after another.
    wait_for(lambda: sum(str(run.state) == "done" for run in store.runs.read_all()) >= 2)


def test_a_run_is_stopped_resumed_and_cloned(dashboard, page, store):
    _, address, _ = dashboard()
    choose_smoke(page, address)
    page.get_by_role("spinbutton", name="Epochs").fill("60")
    page.get_by_role("spinbutton", name="Epochs").press("Enter")
    expect(page.get_by_text("of 60 epochs")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    wait_for(lambda: drawn_points(page) > 20)

    page.get_by_role("button", name="Stop").first.click()
    wait_for(lambda: str(store.runs.read(1).state) == "stopped")
    stopped_at = store.runs.read(1).step
    for run_id in (2, 3):  # so that run 1 is the next
        store.jobs.request_run_stop(run_id, NOW)
    wait_for(lambda: all(run.is_over for run in store.runs.read_all()))
    page.get_by_role("button", name="Resume").first.click()
    wait_for(lambda: store.runs.read(1).step > stopped_at)
    assert [attempt.from_step for attempt in store.runs.read_attempts([1])] == [0, stopped_at]

    page.get_by_role("link", name="Details").first.click()
    expect(page.get_by_role("heading", name="Run", exact=True)).to_be_visible()
    page.get_by_role("link", name="Clone").first.click()
    expect(page.get_by_text("Copied from run 1")).to_be_visible()
    expect(page.get_by_role("spinbutton", name="Epochs")).to_have_value("60")


def test_a_weight_can_be_edited_in_the_table_and_started(dashboard, page, store):
    _, address, _ = dashboard()
    choose_smoke(page, address)
    expect(page.get_by_text("standard: adversarial + 100 l1")).to_be_visible()

    # The table is a canvas, which is redrawn at times. The first number of its second row is the
    # weight of L1.
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
    expect(page.get_by_text("Changed presets: standard.")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    wait_for(lambda: store.runs.read_all())
    assert str(store.runs.read_all()[0].config.configuration.recipe) == "adversarial + 12.5 l1"


def run_with_port(settings, port):
    """Starts a dashboard that is expected to exit; returns the completed process."""
    return subprocess.run(
        [sys.executable, "-m", "dashboard", f"--port={port}"],
        env=child_environment.build_child_environment(settings),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("port", ["-1", "0", "99999", "x"])
def test_an_invalid_port_is_refused(app_settings, port):
    completed = run_with_port(app_settings, port)

    assert completed.returncode == 2
    assert completed.stderr == f"error: The port must be a number from 1 to 65535, not {port!r}.\n"


def test_a_port_in_use_is_refused_and_another_one_is_proposed(app_settings):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]

        completed = run_with_port(app_settings, port)

    assert completed.returncode == 1
    assert completed.stderr == (
        f"error: Port {port} is already in use. Choose another one: make app PORT={port + 1}.\n"
    )
