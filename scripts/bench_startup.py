"""Measures the time from Start to the first loss on the screen, in a real browser (`make bench`).

Pairs are packed and the processor is measured before the first start. In an installation, this is
the case for every study after the first one.
"""

import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import torch
from playwright.sync_api import Browser
from rich.console import Console

from engine.data import packing
from engine.data.sources.openmoji import OpenMoji
from engine.presets import BUDGETS
from engine.settings import Settings
from engine.store import Store
from engine.system import processes
from engine.training import machine_profile
from scripts.browser import chromium, running_dashboard, stop_study, wait_until

N_STARTS = 5
TARGET_S = 8.0


def main() -> None:
    """Starts and stops studies of the demo budget one after the other, and prints the times."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(f"sqlite:///{folder}/runs.db", Path(folder) / "artifacts")
        settings.require_writable_artifacts()
        packing.prepare(OpenMoji(), BUDGETS["demo"].px, settings)
        machine_profile.fastest_thread_count(processes.count_cores(), settings)
        machine_profile.should_use_bf16(torch.device("cpu"), settings)
        with (
            closing(Store(settings.database_url)) as store,
            running_dashboard(settings) as address,
            chromium() as browser,
        ):
            seconds = [start_once(browser, address, store) for _ in range(N_STARTS)]
    Console().print(
        f"from Start to the first loss on the screen: median {statistics.median(seconds):.1f} s, "
        f"maximum {max(seconds):.1f} s of {N_STARTS} starts (target: {TARGET_S:.0f} s)"
    )


def start_once(browser: Browser, address: str, store: Store) -> float:
    """Returns the seconds from the click until the chart has its first points."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(f"{address}/launch")
    start = page.get_by_role("button", name="Start study", exact=True)
    start.wait_for()
    wait_until(start.is_enabled, 30)
    page.wait_for_timeout(1000)  # the form may still be updating
    began = time.monotonic()
    start.click()
    chart = page.locator(".live-chart")
    chart.wait_for(timeout=60_000)
    wait_until(lambda: int(chart.get_attribute("data-points") or 0) > 0, 60)
    seconds = time.monotonic() - began
    page.close()
    stop_study(store, store.studies.read_all()[0].id)
    for run in store.runs.read_all():
        store.runs.delete([run.id])
    return seconds


if __name__ == "__main__":
    main()
