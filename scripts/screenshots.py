"""Takes screenshots of every page in both themes, for the documentation (`make screenshots`).

The first call trains a study (about 10 minutes on two cores), which is kept in build/screenshots.
Every call starts a second study, so that the Live page shows runs that are training.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Literal

from playwright.sync_api import Browser

from engine.serve import client
from engine.settings import PROJECT_ROOT, Settings
from engine.store import Store
from engine.system.child_environment import build_child_environment
from scripts.browser import chromium, run_engine, running_dashboard, stop_study, wait_until
from scripts.drawings import write_drawings

FOLDER = PROJECT_ROOT / "build" / "screenshots"
OUT = PROJECT_ROOT / "docs" / "img"
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTH = 1280
TRAINED_STUDY, LIVE_STUDY = "Four recipes on drawings", "Weaker and stronger L1"
FOX_PICTURE = "1F98A"
DRAWING_MS = 5000
# The screenshots are taken when the live study's first run has made this progress.
LIVE_PROGRESS = 0.45


def main() -> None:
    """Trains the studies, opens all pages and writes the screenshots."""
    settings = Settings(f"sqlite:///{FOLDER}/runs.db", FOLDER / "artifacts")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with closing(Store(settings.database_url)) as store:
        trained_id = train_once(store, settings)
        write_drawings(store, settings, trained_id, OUT / "drawings.png")
        live_id = start_live_study(store, settings)
        try:
            with (
                model_server(settings),
                running_dashboard(settings) as address,
                chromium() as browser,
            ):
                for theme in THEMES:
                    take_screenshots(browser, address, theme, trained_id, live_id)
        finally:
            stop_study(store, live_id)


def find_study(store: Store, name: str) -> int | None:
    """Returns the id of the newest study with a name; None if there is none."""
    return next((study.id for study in store.studies.read_all() if study.name == name), None)


def train_once(store: Store, settings: Settings) -> int:
    """Trains the default configurations with two seeds, once; returns the study id."""
    if find_study(store, TRAINED_STUDY) is None:
        run_engine(
            *(settings, "study", "--data", "openmoji", "--budget", "demo", "--seeds", "2"),
            *("--name", TRAINED_STUDY, "--wait"),
        )
    study_id = find_study(store, TRAINED_STUDY)
    assert study_id is not None
    note, tags = "Does a perceptual term cost colour?", ["drawings", "paper"]
    store.studies.annotate(study_id, TRAINED_STUDY, note, tags)
    return study_id


def start_live_study(store: Store, settings: Settings) -> int:
    """Starts two configurations, waits until the first has progressed, returns the study id."""
    previous_id = find_study(store, LIVE_STUDY)
    if previous_id is not None:
        store.runs.delete([run.id for run in store.runs.read_all(previous_id)])
    run_engine(
        *(settings, "study", "--data", "openmoji", "--budget", "demo", "--name", LIVE_STUDY),
        *("--configurations", "ganv2,ganv3", "--set", "epochs=8"),
    )
    study_id = find_study(store, LIVE_STUDY)
    assert study_id is not None
    wait_until(lambda: store.runs.read_all(study_id)[0].progress > LIVE_PROGRESS, 600)
    return study_id


def take_screenshots(
    browser: Browser,
    address: str,
    theme: Literal["light", "dark"],
    trained_id: int,
    live_id: int,
) -> None:
    """Takes a screenshot of every page."""
    # name -> (address, height of the window, text to wait for)
    pages = {
        "overview": ("/", 900, None),
        "live": (f"/live?study={live_id}", 1500, "Newest samples"),
        "launch": ("/launch", 1150, "Summary"),
        "gallery": (f"/gallery?study={trained_id}", 1150, None),
        "compare": (f"/compare?study={trained_id}", 1500, None),
        "run": (f"/run?run={first_run(trained_id)}", 1300, None),
        "data": ("/data", 1000, None),
        "colorize": (f"/colorize?{colorize_query(trained_id)}", 1000, "target · ground truth"),
    }
    context = browser.new_context(
        viewport={"width": WIDTH, "height": 900}, color_scheme=theme, device_scale_factor=1.5
    )
    for name, (path, height, text) in pages.items():
        page = context.new_page()
        page.set_viewport_size({"width": WIDTH, "height": height})
        page.goto(f"{address}{path}")
        if text is not None:
            page.get_by_text(text, exact=True).first.wait_for(timeout=60_000)
        page.wait_for_timeout(DRAWING_MS)
        page.screenshot(path=OUT / f"{name}-{theme}.png")
        page.close()
    context.close()


def colorize_query(study_id: int) -> str:
    """Returns a query of the Colorize page: one model per configuration, a validation picture."""
    with closing(Store(f"sqlite:///{FOLDER}/runs.db")) as store:
        run_ids = [str(run.id) for run in store.runs.read_all(study_id) if run.seed == 0]
    models = ".".join(run_ids)
    return f"models={models}&picture=Validation+set&pair_{study_id}={FOX_PICTURE}"


@contextmanager
def model_server(settings: Settings) -> Iterator[None]:
    """Runs a model server for the Colorize page."""
    command = [sys.executable, "-m", "engine", "serve", "--port", "0"]
    process = subprocess.Popen(command, env=build_child_environment(settings))
    try:
        wait_until(lambda: client.server_status(settings).state == "ready", 120)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def first_run(study_id: int) -> int:
    """Returns the id of the study's first run."""
    with closing(Store(f"sqlite:///{FOLDER}/runs.db")) as store:
        return store.runs.read_all(study_id)[0].id


if __name__ == "__main__":
    main()
