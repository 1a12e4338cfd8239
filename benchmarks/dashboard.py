"""How fast the dashboard is: first answer of the server, page scripts with 20 runs, commands.

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

import numpy as np
import streamlit as st
from rich.console import Console
from rich.table import Table
from streamlit.testing.v1 import AppTest

from engine import grids, starting
from engine.config import RunConfig
from engine.data.sources import read_source
from engine.data.summary import draw_all_examples
from engine.data.survey import make_survey
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.records import Checkpoint, Evaluation, Judgement, MetricPoint, RunState, Sample
from engine.settings import PROJECT_ROOT, Settings
from engine.store import Store, utc_now

N_RUNS = 20
N_EPOCHS = 10
STEPS_PER_EPOCH = 100
REPEATS = 10
PAGES = ("overview", "launch", "live", "gallery", "compare")
PAGE_LIMIT_S = 0.5
DATA_LIMIT_S = 1.0
SERVER_LIMIT_S = 3.0
COMMAND_LIMIT_S = 0.7


def main() -> None:
    """Fills a store of its own, measures, prints."""
    table = Table(title="Dashboard", title_justify="left", box=None)
    for heading in ("what", "median s", "worst s", "asked for"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(f"sqlite:///{folder}/runs.db", Path(folder) / "artifacts")
        os.environ["CHROMABENCH_DATABASE_URL"] = settings.database_url
        os.environ["CHROMABENCH_ARTIFACTS"] = str(settings.artifacts)
        fill(settings)
        for page in PAGES:
            add(table, f"{page} page, {N_RUNS} runs", measure_page(page), PAGE_LIMIT_S)
        source = read_source("openmoji", settings)
        make_survey(source, settings, lambda done, total: None)
        draw_all_examples(source, settings, lambda done, total: None)
        add(table, f"data page, {len(source.names()):,} pairs", measure_page("data"), DATA_LIMIT_S)
        add(table, "server's first page", repeat(lambda: start_server(settings), 3), SERVER_LIMIT_S)
        add(table, "python -m engine runs", repeat(list_runs, 5), COMMAND_LIMIT_S)
        add(table, f"a live tick's new rows, {N_RUNS} runs", measure_poll(settings), 0.1)
    Console().print(table)


def fill(settings: Settings) -> None:
    """A store of 20 finished runs, as workers would have recorded them."""
    settings.require_writable_artifacts()
    store = Store(settings.database_url)
    configs = [
        RunConfig(data="openmoji", configuration=it, budget=BUDGETS["demo"], seed=seed)
        for it in list(CONFIGURATIONS.values())[:4]
        for seed in range(N_RUNS // 4)
    ]
    store.add_study("bench", "twenty runs", configs, utc_now())
    while (job := store.claim_job(utc_now())) is not None:
        run_id, steps = job.run_id, N_EPOCHS * STEPS_PER_EPOCH
        store.start_run(job, store.read_run(run_id).config, steps, {}, utc_now())
        for epoch in range(1, N_EPOCHS + 1):
            last = epoch * STEPS_PER_EPOCH
            points = [
                MetricPoint(run_id, step, epoch, name, 1 / step)
                for step in range(last - STEPS_PER_EPOCH + 1, last + 1)
                for name in ("g_loss", "d_loss", "adversarial", "l1")
            ]
            points.append(MetricPoint(run_id, last, epoch, "val_psnr", 10.0 + epoch))
            store.add_metrics(job, epoch, last, points, utc_now())
            pictures = np.full((8, 64, 64, 3), 25 * epoch, np.uint8)
            folder = settings.run_dir(run_id) / "samples"
            files = grids.save_samples(folder, epoch, pictures, pictures, pictures)
            paths = {name: settings.relative(path) for name, path in vars(files).items()}
            store.add_sample(job, Sample(run_id, epoch, last, **paths), utc_now())
        store.add_checkpoint(
            job, Checkpoint(run_id, N_EPOCHS, last, True, "x", "0", 1, False), utc_now()
        )
        store.choose_checkpoint(job, N_EPOCHS, utc_now())
        value = Evaluation(run_id, "test", "psnr", 16.0, 232, N_EPOCHS, 15.0, 17.0)
        store.add_judgement(job, Judgement((value,)), utc_now())
        store.finish_job(job, RunState.DONE, None, utc_now())
    store.close()


def measure_page(page: str) -> list[float]:
    """Script times of a page, warm: the first run is not counted."""
    st.cache_resource.clear()
    app = AppTest.from_file(str(PROJECT_ROOT / "dashboard" / "app.py"), default_timeout=60)
    app.run().switch_page(f"app_pages/{page}.py").run()
    return repeat(lambda: timed(app.run), REPEATS)


def measure_poll(settings: Settings) -> list[float]:
    """A question for rows after the last one, as a live tick asks it."""
    store = Store(settings.database_url)
    ids = [run.id for run in store.read_runs()]
    last = store.read_metrics(ids)[-1].id
    found = repeat(lambda: timed(lambda: store.read_metrics(ids, last, ["l1"])), REPEATS)
    store.close()
    return found


def start_server(settings: Settings) -> float:
    """Seconds from the start of the process to its first answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "dashboard", "--port", str(port), "--headless"],
        env=starting.worker_environment(settings),
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
    table.add_row(what, f"{statistics.median(seconds):.3f}", f"{max(seconds):.3f}", f"< {limit}")


if __name__ == "__main__":
    main()
