"""`make screenshots`: every page of the real app in both themes, for the README.

A study is trained once (about eight minutes on two cores) and kept under build/screenshots; a
second one is started anew each time, so that Live shows runs that are really at work.
"""

import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing

from playwright.sync_api import Browser, sync_playwright

from engine import starting
from engine.records import Run, RunState
from engine.settings import PROJECT_ROOT, Settings
from engine.store import Store, utc_now

FOLDER = PROJECT_ROOT / "build" / "screenshots"
OUT = PROJECT_ROOT / "docs" / "img"
THEMES = ("light", "dark")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
WIDTH = 1280
TRAINED, STARTED = "Three losses on drawings", "Weaker and stronger L1"
SETTLED_MS = 5000  # until pictures and charts are drawn
FAR_ENOUGH = 0.45  # of the first run of the second study


def main() -> None:
    """Trains what is missing, drives the app, writes the pictures."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit(
            "error: there is no chromium on this machine; `apt-get install chromium` brings it."
        )
    settings = Settings(f"sqlite:///{FOLDER}/runs.db", FOLDER / "artifacts")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with closing(Store(settings.database_url)) as store:
        trained = train_once(store, settings)
        started = start_anew(store, settings)
        server, address = serve(settings)
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
                for theme in THEMES:
                    take_all(browser, address, theme, trained, started)
                browser.close()
        finally:
            end(store, started)
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)


def engine(settings: Settings, *arguments: str) -> None:
    """One command of the engine on this store."""
    environment = starting.worker_environment(settings)
    command = [sys.executable, "-m", "engine", *arguments]
    subprocess.run(command, env=environment, check=True, cwd=PROJECT_ROOT)


def study_named(store: Store, name: str) -> int | None:
    """The newest study of that name."""
    return next((it.id for it in store.read_studies() if it.name == name), None)


def train_once(store: Store, settings: Settings) -> int:
    """Three configurations with two seeds; trained at the first call."""
    if study_named(store, TRAINED) is None:
        engine(
            *(settings, "study", "--data", "openmoji", "--budget", "demo", "--seeds", "2"),
            *("--name", TRAINED, "--wait"),
        )
    found = study_named(store, TRAINED)
    assert found is not None
    store.edit_study(found, TRAINED, "Does a perceptual term cost colour?", ["drawings", "paper"])
    return found


def start_anew(store: Store, settings: Settings) -> int:
    """Two configurations, the first of them half-way when this returns."""
    before = study_named(store, STARTED)
    if before is not None:
        store.delete_runs([run.id for run in store.read_runs(before)])
    engine(
        *(settings, "study", "--data", "openmoji", "--budget", "demo", "--name", STARTED),
        *("--configurations", "ganv2,ganv3", "--set", "epochs=8"),
    )
    found = study_named(store, STARTED)
    assert found is not None
    wait(lambda: store.read_runs(found)[0].progress > FAR_ENOUGH, 600)
    return found


def end(store: Store, study_id: int) -> None:
    """Stops what was started only to be looked at."""
    for run in store.read_runs(study_id):
        if not run.is_over:
            store.request_stop(run.id, utc_now())
    wait(lambda: all(_is_over(run) for run in store.read_runs(study_id)), 120)


def _is_over(run: Run) -> bool:
    return run.is_over or run.state == RunState.QUEUED


def serve(settings: Settings) -> tuple[subprocess.Popen[bytes], str]:
    """The dashboard on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dashboard", "--port", str(port), "--headless"]
    environment = starting.worker_environment(settings)
    server = subprocess.Popen(command, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    wait(lambda: _answers(address), 90)
    return server, address


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
            return True
    except OSError:
        return False


def take_all(browser: Browser, address: str, theme: str, trained: int, started: int) -> None:
    """One picture of every page."""
    pages = {
        "overview": ("/", 900, None),
        "live": (f"/live?study={started}", 1500, "Newest samples"),
        "launch": ("/launch", 1150, "What Start will do"),
        "gallery": (f"/gallery?study={trained}", 1150, None),
        "compare": (f"/compare?study={trained}", 1500, None),
        "run": (f"/run?run={trained_run(trained)}", 1300, None),
        "data": ("/data", 1000, None),
    }
    context = browser.new_context(
        viewport={"width": WIDTH, "height": 900}, color_scheme=theme, device_scale_factor=1.5
    )  # type: ignore[arg-type]
    for name, (path, height, text) in pages.items():
        page = context.new_page()
        page.set_viewport_size({"width": WIDTH, "height": height})
        page.goto(f"{address}{path}")
        if text is not None:
            page.get_by_text(text, exact=True).first.wait_for(timeout=60_000)
        page.wait_for_timeout(SETTLED_MS)
        page.screenshot(path=OUT / f"{name}-{theme}.png")
        page.close()
    context.close()


def trained_run(study_id: int) -> int:
    """The run that the Run page shows: the study's first."""
    with closing(Store(f"sqlite:///{FOLDER}/runs.db")) as store:
        return store.read_runs(study_id)[0].id


def wait(condition: Callable[[], object], patience_s: float) -> None:
    """Until it is true; an error where that takes too long."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.3)


if __name__ == "__main__":
    main()
