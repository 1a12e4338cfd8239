"""The real app in headless Chromium: start, watch, take the table home."""

import csv
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest
from playwright.sync_api import expect, sync_playwright

from engine import starting
from engine.settings import PROJECT_ROOT
from tests.conftest import PATIENCE_S, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
PATIENCE_MS = PATIENCE_S * 1000

if CHROMIUM is None and not os.environ.get("CHROMABENCH_REQUIRE_BROWSER"):
    pytest.skip("there is no chromium on this machine", allow_module_level=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_dashboard(settings, log):
    port = free_port()
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "dashboard", "--port", str(port), "--headless"],
            env=starting.worker_environment(settings),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
        )
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                return server, address
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def end(server):
    server.send_signal(signal.SIGTERM)
    server.wait(timeout=60)


@pytest.fixture
def app_settings(tiny_settings):
    """The settings of the app; whatever the app started is ended with the test."""
    yield tiny_settings
    folder = str(tiny_settings.artifacts)
    for process in psutil.process_iter():
        try:
            if process.environ().get("CHROMABENCH_ARTIFACTS") == folder:
                process.kill()
        except psutil.Error:
            continue


@pytest.fixture
def dashboard(app_settings, tmp_path):
    """Starts dashboards: -> (process, address, log). Those still open end with the test."""
    started = []

    def start():
        log = tmp_path / f"server-{len(started)}.log"
        server, address = start_dashboard(app_settings, log)
        started.append(server)
        return server, address, log

    yield start
    for server in started:
        if server.poll() is None:
            end(server)


@pytest.fixture
def page():
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        context = browser.new_context(viewport={"width": 1280, "height": 1000})
        context.set_default_timeout(PATIENCE_MS)
        yield context.new_page()
        browser.close()


def choose_smoke(page, address):
    page.goto(f"{address}/launch")
    page.get_by_role("combobox", name="Budget").click()
    page.get_by_role("option", name=re.compile("^smoke")).click()
    expect(page.get_by_text("64 / 32 / 32")).to_be_visible()


def drawn_points(page):
    return int(page.locator(".live-chart").get_attribute("data-points") or 0)


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
    expect(page.get_by_alt_text(re.compile("standard"))).to_be_visible()
    expect(page.get_by_text("All runs have ended.")).to_be_visible()
    wait_for(lambda: drawn_points(page) == 3 * 8)

    # The gallery has every run's pictures; the table goes home as CSV with a row for each.
    page.get_by_role("link", name="Gallery").first.click()
    expect(page.get_by_alt_text(re.compile("regularized"))).to_be_visible()
    page.get_by_role("link", name="Compare").first.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert [row["configuration"] for row in rows] == ["standard", "perceptual", "regularized"]
    assert all(float(row["psnr"]) > 0 for row in rows)
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
    wait_for(lambda: {str(run.state) for run in store.read_runs()} == {"done"})


def test_a_zoom_survives_new_points(dashboard, page):
    _, address, _ = dashboard()
    choose_smoke(page, address)
    page.get_by_text("Change single values").click()
    page.get_by_role("spinbutton", name="Epochs").fill("40")
    page.get_by_role("spinbutton", name="Epochs").press("Enter")
    expect(page.get_by_text("of 40 epochs")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    wait_for(lambda: drawn_points(page) > 20)

    box = page.locator(".live-chart .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 220, steps=8)
    page.mouse.up()
    range_of = "() => document.querySelector('.live-chart')._fullLayout.xaxis.range.join()"
    zoomed, seen = page.evaluate(range_of), drawn_points(page)

    wait_for(lambda: drawn_points(page) > seen + 40)
    assert page.evaluate(range_of) == zoomed


def try_port(settings, port):
    """Starts a dashboard that is expected to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "dashboard", f"--port={port}"],
        env=starting.worker_environment(settings),
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
