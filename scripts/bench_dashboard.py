"""Measures the dashboard: start of the server, page scripts with 200 runs, commands, live chart.

`make bench` prints a table. For each measurement, the table has the median and the 95th percentile
of several repetitions, and the target.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import streamlit as st
from rich.console import Console
from rich.table import Table
from streamlit.testing.v1 import AppTest

from dashboard.queries import access, curves, studies
from engine.data.sources.registry import parse_source
from engine.data.survey.summary import render_all_examples
from engine.data.survey.survey import make_survey
from engine.jobs import spawn
from engine.records.curves import MetricPoint
from engine.settings import PROJECT_ROOT, Settings
from engine.store import utc_now
from engine.system import child_environment
from scripts import crowded_store
from scripts.browser import chromium, running_dashboard

N_RUNS = sum(configurations * seeds for configurations, seeds in crowded_store.STUDIES)
N_REPEATS = 20
N_CHARTED_RUNS = 12
PAGES = ("overview", "launch", "live", "gallery", "compare", "run")
PAGE_TARGET_S = 0.3
TICK_TARGET_S = 0.1
DATA_TARGET_S = 1.0
DRAWN_TARGET_S = 1.5
SERVER_TARGET_S = 3.0
COMMAND_TARGET_S = 0.7


def main() -> None:
    """Fills a temporary store, measures and prints the table."""
    table = Table(title="Dashboard", title_justify="left", box=None)
    for heading in ("measurement", "median s", "p95 s", "target"):
        table.add_column(heading, justify="left" if heading == "measurement" else "right")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(f"sqlite:///{folder}/runs.db", Path(folder) / "artifacts")
        os.environ["CHROMABENCH_DATABASE_URL"] = settings.database_url
        os.environ["CHROMABENCH_ARTIFACTS"] = str(settings.artifacts)
        crowded_store.fill(settings)
        for page in PAGES:
            add_row(table, f"{page} page, {N_RUNS} runs", measure_page(page), PAGE_TARGET_S)
        source = parse_source("openmoji", settings)
        make_survey(source, settings, lambda done, total: None)
        render_all_examples(source, settings, lambda done, total: None)
        pairs = f"{len(source.names()):,} pairs"
        add_row(table, f"data page, {pairs}", measure_page("data"), DATA_TARGET_S)
        first_pages = repeat(lambda: start_server(settings), 3)
        add_row(table, "first page of the server", first_pages, SERVER_TARGET_S)
        add_row(table, "python -m engine runs", repeat(list_runs, 5), COMMAND_TARGET_S)
        no_new_points, cards = measure_no_new_points(), measure_cards()
        add_row(table, "live update: curve without new points", no_new_points, TICK_TARGET_S)
        add_row(table, "live update: cards of twelve runs", cards, TICK_TARGET_S)
        add_row(table, "first points of a live chart", measure_first_points(), PAGE_TARGET_S)
        drawn = measure_drawing(settings)
        add_row(
            table, "from the record of a point to the chart in a browser", drawn, DRAWN_TARGET_S
        )
    Console().print(table)


def measure_page(page: str) -> list[float]:
    """Measures the script time of a page; the first run fills the caches and is not counted."""
    st.cache_resource.clear()
    app = AppTest.from_file(str(PROJECT_ROOT / "dashboard" / "app.py"), default_timeout=60)
    app.run().switch_page(f"app_pages/{page}.py").run()
    return repeat(lambda: timed(app.run), N_REPEATS)


def charted_run_ids() -> list[int]:
    """Returns the first twelve runs of the measured study."""
    runs = access.store().runs.read_all(crowded_store.MEASURED_STUDY)
    return [run.id for run in runs][:N_CHARTED_RUNS]


def measure_no_new_points() -> list[float]:
    """Measures the request of a live chart that already has all points of twelve runs."""
    curve = curves.curve("l1", dict.fromkeys(charted_run_ids(), 0))
    assert curve is not None
    cursors = {run_id: line["buckets"][-1][-1] for run_id, line in curve["lines"].items()}
    return repeat(lambda: timed(lambda: curves.curve("l1", cursors)), N_REPEATS)


def measure_cards() -> list[float]:
    """Measures all reads of a Live page update with twelve runs, except for the curve."""

    def read_cards() -> None:
        members = studies.runs(crowded_store.MEASURED_STUDY)
        runs = members[:N_CHARTED_RUNS]
        curves.snapshot(runs, members, utc_now())
        studies.newest_samples([run.id for run in runs])

    return repeat(lambda: timed(read_cards), N_REPEATS)


def measure_first_points() -> list[float]:
    """Measures the request of a live chart of twelve runs before it has any points."""
    cursors = dict.fromkeys(charted_run_ids(), 0)
    return repeat(lambda: timed(lambda: curves.curve("l1", cursors)), N_REPEATS)


def measure_drawing(settings: Settings) -> list[float]:
    """Measures the time from the record of a point until an open Live page has drawn it."""
    store = access.store()
    config = store.runs.read_all(crowded_store.MEASURED_STUDY)[0].config
    study, (run,) = store.studies.add("drawing", "drawing", [config], utc_now())
    job = store.jobs.claim(utc_now())
    assert job is not None
    store.runs.start(job, config, 2 * N_REPEATS, {}, utc_now())
    is_drawn = "step => document.querySelector('.live-chart')?.dataset.points === String(step)"
    with (
        spawn.supervisor_lock(settings),  # no supervisor ends the run, which has no process
        running_dashboard(settings) as address,
        chromium() as browser,
    ):
        page = browser.new_page()
        page.goto(f"{address}/live?study={study.id}")

        def draw(step: int) -> None:
            points = [MetricPoint(run.id, step, 1, "l1", 1 / step)]
            store.curves.add_points(job, 1, step, points, utc_now())
            page.wait_for_function(is_drawn, arg=step, polling=20)

        draw(1)
        seconds = []
        for step in range(2, N_REPEATS + 2):
            page.wait_for_timeout(130 * (step % 7))  # at different times between two requests
            seconds.append(timed(lambda step=step: draw(step)))
        return seconds


def start_server(settings: Settings) -> float:
    """Returns the seconds from the start of the process to its first answer."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    started = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "dashboard", "--port", str(port), "--headless"],
        env=child_environment.build_child_environment(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1) as response:
                    response.read()
                return time.perf_counter() - started
            except OSError:
                time.sleep(0.02)
    finally:
        server.terminate()
        server.wait()


def list_runs() -> float:
    """Returns the seconds that the command `runs` takes, including the start of its process."""
    command = [sys.executable, "-m", "engine", "runs", "--json"]
    return timed(lambda: subprocess.run(command, capture_output=True, check=True))


def timed(action: Callable[[], object]) -> float:
    """Returns the seconds that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def repeat(measure: Callable[[], float], count: int) -> list[float]:
    """Repeats a measurement and returns all results."""
    return [measure() for _ in range(count)]


def add_row(table: Table, name: str, seconds: list[float], target: float) -> None:
    """Adds a measurement to the table."""
    p95 = sorted(seconds)[max(0, round(0.95 * len(seconds)) - 1)]
    table.add_row(name, f"{statistics.median(seconds):.3f}", f"{p95:.3f}", f"< {target}")


if __name__ == "__main__":
    main()
