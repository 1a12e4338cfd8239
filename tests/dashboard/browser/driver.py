"""Helpers of the browser tests: servers and actions on pages."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from playwright.sync_api import TimeoutError as PlaywrightTimeoutError
from playwright.sync_api import expect

from engine.system import child_environment
from tests.support.runs import TIMEOUT_S, wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
TIMEOUT_MS = TIMEOUT_S * 1000
OPTION_TIMEOUT_MS = 5_000
VIEWPORT = {"width": 1280, "height": 1000}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_dashboard(settings, log):
    """Starts a dashboard on a free port; returns its process and address."""
    port = free_port()
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "dashboard", "--port", str(port), "--headless"],
            env=child_environment.build_child_environment(settings),
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
    """Ends a server as a user does: on a busy machine uvicorn may wait for the connections of open
    pages until it is interrupted once more."""
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(timeout=20)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)


def wait_until_idle(page):
    """Waits until the script of the page has ended."""
    app = page.get_by_test_id("stApp")
    expect(app).to_have_attribute("data-test-script-state", "notRunning")


def wait_for_run_end(page):
    """Waits on the Live page until the only run has ended.

    The page then reruns once. A click on a link during this rerun has no effect.
    """
    expect(page.get_by_text("The run has ended")).to_be_visible()
    wait_until_idle(page)


def choose_smoke(page, address):
    page.goto(f"{address}/launch")
    expect(page.get_by_role("combobox", name="Budget")).to_be_visible()
    wait_until_idle(page)  # a running script closes an open list of options
    wait_for(lambda: _choose_option(page, "Budget", re.compile("^smoke")))
    expect(page.get_by_text("64 / 32 / 32")).to_be_visible()


def _choose_option(page, list_name, option_name):
    """Opens a list and clicks an option; returns False if a script closed the list before."""
    page.get_by_role("combobox", name=list_name).click()
    try:
        page.get_by_role("option", name=option_name).click(timeout=OPTION_TIMEOUT_MS)
    except PlaywrightTimeoutError:
        page.keyboard.press("Escape")
        return False
    return True


def choose_one_fast_run(page, address):
    """Fills the form with the smallest study, whose run measures nothing before it starts."""
    choose_smoke(page, address)
    for name in ("vivid", "regularized", "perceptual"):
        remove_configuration(page, name)
    page.get_by_text("More settings").click()
    settings = page.get_by_role("textbox", name="Settings as key=value")
    settings.fill("threads=1 precision=fp32")
    settings.press("Enter")


def remove_configuration(page, name):
    """Removes a configuration from the form."""
    # While a list of options is open, all other elements are hidden from screen readers.
    page.get_by_role("button", name=f"Remove {name}", include_hidden=True).click()
    expect(page.get_by_text(re.compile(f"^{name}: "))).to_be_hidden()


def drawn_points(page):
    return int(page.locator(".live-chart").get_attribute("data-points") or 0)


def drag_zoom(page):
    """Drags a rectangle on the chart; returns the horizontal range after that."""
    box = page.locator(".live-chart .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 220, steps=8)
    page.mouse.up()
    return shown_range(page)


def shown_range(page):
    return page.evaluate(
        "() => document.querySelector('.live-chart')._fullLayout.xaxis.range.join()"
    )


def wait_for_url(page, part):
    """Waits until the URL contains a text; `page.url` changes only with the next event."""
    page.wait_for_function("part => location.href.includes(part)", arg=part)


def open_tab(chromium):
    """Opens a page with its own session of the dashboard."""
    return chromium.new_page()
