"""How fast the dashboard is: first answer of the server, page scripts with 200 runs, commands.

`make bench` prints a table: median and worst of several repeats, beside what was asked for.
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

from dashboard.queries import curves, studies
from engine.data.sources.registry import read_source
from engine.data.survey.summary import draw_all_examples
from engine.data.survey.survey import make_survey
from engine.settings import PROJECT_ROOT, Settings
from engine.store import utc_now
from engine.system import child_environment
from scripts import crowded_store

N_RUNS = sum(configurations * seeds for configurations, seeds in crowded_store.STUDIES)
REPEATS = 20
PAGES = ("overview", "launch", "live", "gallery", "compare", "run")
PAGE_LIMIT_S = 0.3
TICK_LIMIT_S = 0.1
DATA_LIMIT_S = 1.0
SERVER_LIMIT_S = 3.0
COMMAND_LIMIT_S = 0.7


def main() -> None:
    """Fills a store of its own, measures, prints."""
    table = Table(title="Dashboard", title_justify="left", box=None)
    for heading in ("what", "median s", "p95 s", "asked for"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(f"sqlite:///{folder}/runs.db", Path(folder) / "artifacts")
        os.environ["CHROMABENCH_DATABASE_URL"] = settings.database_url
        os.environ["CHROMABENCH_ARTIFACTS"] = str(settings.artifacts)
        crowded_store.fill(settings)
        for page in PAGES:
            add(table, f"{page} page, {N_RUNS} runs", measure_page(page), PAGE_LIMIT_S)
        source = read_source("openmoji", settings)
        make_survey(source, settings, lambda done, total: None)
        draw_all_examples(source, settings, lambda done, total: None)
        add(table, f"data page, {len(source.names()):,} pairs", measure_page("data"), DATA_LIMIT_S)
        add(table, "server's first page", repeat(lambda: start_server(settings), 3), SERVER_LIMIT_S)
        add(table, "python -m engine runs", repeat(list_runs, 5), COMMAND_LIMIT_S)
        add(table, "a live chart's question, nothing new", measure_tick(), TICK_LIMIT_S)
        add(table, "a live tick's other questions", measure_cards(), TICK_LIMIT_S)
        add(table, "a live chart's first question", measure_whole_curve(), PAGE_LIMIT_S)
    Console().print(table)


def measure_page(page: str) -> list[float]:
    """Script times of a page, warm: the first run is not counted."""
    st.cache_resource.clear()
    app = AppTest.from_file(str(PROJECT_ROOT / "dashboard" / "app.py"), default_timeout=60)
    app.run().switch_page(f"app_pages/{page}.py").run()
    return repeat(lambda: timed(app.run), REPEATS)


def measure_tick() -> list[float]:
    """What the live chart asks of the server, nothing being new: twelve runs, one curve."""
    (study,) = [it for it in studies.store().read_studies() if it.id == len(crowded_store.STUDIES)]
    ids = [run.id for run in studies.store().read_runs(study.id)][:12]
    found = curves.curve("l1", dict.fromkeys(ids, 0)) or {"lines": {}}
    cursors = {run_id: line["stretches"][-1][-1] for run_id, line in found["lines"].items()}
    return repeat(lambda: timed(lambda: curves.curve("l1", cursors)), REPEATS)


def measure_cards() -> list[float]:
    """What a tick of the Live page reads beside the curve: twelve runs of the study."""

    def ask() -> None:
        members = studies.runs(len(crowded_store.STUDIES))
        runs = members[:12]
        ids = [run.id for run in runs]
        attempts = studies.attempts(runs)
        curves.alerts(runs)
        curves.goings(members, attempts, utc_now())
        studies.summaries(ids)
        studies.queue()
        studies.newest_samples(ids)

    return repeat(lambda: timed(ask), REPEATS)


def measure_whole_curve() -> list[float]:
    """The same for a chart that has nothing yet."""
    ids = [run.id for run in studies.store().read_runs(len(crowded_store.STUDIES))][:12]
    return repeat(lambda: timed(lambda: curves.curve("l1", dict.fromkeys(ids, 0))), REPEATS)


def start_server(settings: Settings) -> float:
    """Seconds from the start of the process to its first answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "dashboard", "--port", str(port), "--headless"],
        env=child_environment.worker_environment(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1) as answer:
                    answer.read()
                return time.perf_counter() - started
            except OSError:
                time.sleep(0.02)
    finally:
        server.terminate()
        server.wait()


def list_runs() -> float:
    """Seconds of a whole command."""
    command = [sys.executable, "-m", "engine", "runs", "--json"]
    return timed(lambda: subprocess.run(command, capture_output=True, check=True))


def timed(action: Callable[[], object]) -> float:
    """Seconds that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def repeat(measure: Callable[[], float], count: int) -> list[float]:
    """Several measurements of the same."""
    return [measure() for _ in range(count)]


def add(table: Table, what: str, seconds: list[float], limit: float) -> None:
    """A row of the table."""
    p95 = sorted(seconds)[max(0, round(0.95 * len(seconds)) - 1)]
    table.add_row(what, f"{statistics.median(seconds):.3f}", f"{p95:.3f}", f"< {limit}")


if __name__ == "__main__":
    main()
