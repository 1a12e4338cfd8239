"""Starts the dashboard and a browser for the other scripts."""

import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from engine.records.runs import Run, RunState
from engine.settings import PROJECT_ROOT, Settings
from engine.store import Store, utc_now
from engine.system import child_environment

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Runs Chromium without a window; exits the program if Chromium is not installed."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        sys.exit("error: Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def running_dashboard(settings: Settings) -> Iterator[str]:
    """Runs the dashboard on a free port; yields its address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = [sys.executable, "-m", "dashboard", "--port", str(port), "--headless"]
    environment = child_environment.build_child_environment(settings)
    server = subprocess.Popen(command, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(address), 90)
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


def run_engine(settings: Settings, *arguments: str) -> None:
    """Runs a command of the engine."""
    environment = child_environment.build_child_environment(settings)
    command = [sys.executable, "-m", "engine", *arguments]
    subprocess.run(command, env=environment, check=True, cwd=PROJECT_ROOT)


def stop_study(store: Store, study_id: int) -> None:
    """Stops all runs of a study and waits until no process trains any more."""
    for run in store.runs.read_all(study_id):
        if not run.is_over:
            store.jobs.request_run_stop(run.id, utc_now())
    wait_until(lambda: all(_is_inactive(run) for run in store.runs.read_all(study_id)), 120)


def _is_inactive(run: Run) -> bool:
    return run.is_over or run.state == RunState.QUEUED


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
            return True
    except OSError:
        return False


def wait_until(condition: Callable[[], object], timeout_s: float) -> None:
    """Waits until a condition is true.

    Raises:
        TimeoutError: the condition was not true in time.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"a condition was not met within {timeout_s:g} s")
        time.sleep(0.05)
