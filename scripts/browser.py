"""The real app in a real browser, for what is measured and photographed there."""

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
    """A browser without a window; ends the program where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        sys.exit(
            "error: there is no chromium on this machine; `apt-get install chromium` brings it."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The dashboard on a free port: its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dashboard", "--port", str(port), "--headless"]
    environment = child_environment.worker_environment(settings)
    server = subprocess.Popen(command, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        wait(lambda: _answers(address), 90)
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


def engine(settings: Settings, *arguments: str) -> None:
    """One command of the engine on this store."""
    environment = child_environment.worker_environment(settings)
    command = [sys.executable, "-m", "engine", *arguments]
    subprocess.run(command, env=environment, check=True, cwd=PROJECT_ROOT)


def end(store: Store, study_id: int) -> None:
    """Stops what was started only to be looked at."""
    for run in store.read_runs(study_id):
        if not run.is_over:
            store.request_stop(run.id, utc_now())
    wait(lambda: all(_is_over(run) for run in store.read_runs(study_id)), 120)


def _is_over(run: Run) -> bool:
    return run.is_over or run.state == RunState.QUEUED


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
            return True
    except OSError:
        return False


def wait(condition: Callable[[], object], patience_s: float) -> None:
    """Until it is true; an error where that takes too long."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.05)
