"""`make screenshots`: every page of the real app in both themes, for the README.

A study is trained once (about eight minutes on two cores) and kept under build/screenshots; a
second one is started anew each time, so that Live shows runs that are really at work.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

from playwright.sync_api import Browser

from engine.serve import client
from engine.settings import PROJECT_ROOT, Settings
from engine.store import Store
from engine.system.child_environment import worker_environment
from scripts.browser import chromium, end, engine, served, wait

FOLDER = PROJECT_ROOT / "build" / "screenshots"
OUT = PROJECT_ROOT / "docs" / "img"
THEMES = ("light", "dark")
WIDTH = 1280
TRAINED, STARTED = "Three losses on drawings", "Weaker and stronger L1"
FOX = "1F98A"  # a validation picture
SETTLED_MS = 5000  # until pictures and charts are drawn
FAR_ENOUGH = 0.45  # of the first run of the second study


def main() -> None:
    """Trains what is missing, drives the app, writes the pictures."""
    settings = Settings(f"sqlite:///{FOLDER}/runs.db", FOLDER / "artifacts")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with closing(Store(settings.database_url)) as store:
        trained = train_once(store, settings)
        started = start_anew(store, settings)
        try:
            with model_server(settings), served(settings) as address, chromium() as browser:
                for theme in THEMES:
                    take_all(browser, address, theme, trained, started)
        finally:
            end(store, started)


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
        "colorize": (f"/colorize?{colorize(trained)}", 1000, "target · what was wanted"),
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


def colorize(study_id: int) -> str:
    """The first seed of each configuration, on a validation picture."""
    with closing(Store(f"sqlite:///{FOLDER}/runs.db")) as store:
        first = [run.id for run in store.read_runs(study_id) if run.seed == 0]
    return f"models={'.'.join(map(str, first))}&picture=Validation+set&pair_{study_id}={FOX}"


@contextmanager
def model_server(settings: Settings) -> Iterator[None]:
    """A server for the Colorize page."""
    command = [sys.executable, "-m", "engine", "serve", "--port", "0"]
    process = subprocess.Popen(command, env=worker_environment(settings))
    try:
        wait(lambda: client.look(settings).state == "ready", 120)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def trained_run(study_id: int) -> int:
    """The run that the Run page shows: the study's first."""
    with closing(Store(f"sqlite:///{FOLDER}/runs.db")) as store:
        return store.read_runs(study_id)[0].id


if __name__ == "__main__":
    main()
