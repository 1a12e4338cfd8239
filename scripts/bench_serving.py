"""Measures throughput and latency of the model server with 1 and with 8 clients (`make bench`).

The script first trains one epoch of the demo budget in a temporary folder, which takes about half a
minute.
"""

import io
import itertools
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import requests
from PIL import Image
from rich.console import Console
from rich.table import Table

from engine.data.pairs import split_channels
from engine.data.sources.openmoji import OpenMoji
from engine.serve import discovery
from engine.settings import Settings
from engine.system.child_environment import build_child_environment

N_CLIENTS, PICTURES_PER_CLIENT = 8, 25
SIDES_PX = (64, 512, 2048)
P95_TARGET_S = 1.0
TIMEOUT_S = 120


def main() -> None:
    """Measures and prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(f"sqlite:///{folder}/runs.db", Path(folder) / "artifacts")
        train(settings)
        table = Table("pictures", "clients", "median", "95 %", "pictures/s", "pictures per call")
        with running_server(settings) as (url, process):
            for side in SIDES_PX:
                is_largest = side == SIDES_PX[-1]
                files = drawings(side, N_CLIENTS * (3 if is_largest else PICTURES_PER_CLIENT))
                colorize(url, files[0])
                for n_clients in (1, N_CLIENTS):
                    table.add_row(f"{side} px", str(n_clients), *measure(url, files, n_clients))
            memory_mb = psutil.Process(process.pid).memory_info().rss / 2**20
    Console().print(table)
    Console().print(
        f"A 64 px model on the CPU. Target: {P95_TARGET_S:g} s for 95 % of 64 px pictures with "
        f"{N_CLIENTS} clients. Memory of the server: {memory_mb:,.0f} MB."
    )


def train(settings: Settings) -> None:
    """Trains a model of the demo budget for one epoch; more epochs would not change its speed."""
    options = ["--data", "openmoji", "--budget", "demo", "--configurations", "standard"]
    command = [sys.executable, "-m", "engine", "study", *options, "--set", "epochs=1", "--wait"]
    environment = build_child_environment(settings)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def running_server(settings: Settings) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Runs a server on a free port; yields its URL and process."""
    command = [sys.executable, "-m", "engine", "serve", "--port", "0"]
    process = subprocess.Popen(command, env=build_child_environment(settings))
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while (address := discovery.load_address(settings)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError("the model server did not start")
            time.sleep(0.1)
        yield address.url, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def drawings(side: int, count: int) -> list[bytes]:
    """Returns different sketches of the same size as PNG files."""
    source, files = OpenMoji(), []
    for name in itertools.islice(source.names(), count):
        sketch, _ = split_channels(source.load_pair(name, side).render(side))
        out = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(sketch)).save(out, "png")
        files.append(out.getvalue())
    return files


def colorize(url: str, file: bytes) -> float:
    """Colorizes a picture and returns the seconds until the answer was received."""
    began = time.monotonic()
    response = requests.post(f"{url}/api/v1/colorize", files={"file": file}, timeout=TIMEOUT_S)
    response.raise_for_status()
    return time.monotonic() - began


def measure(url: str, files: list[bytes], n_clients: int) -> tuple[str, str, str, str]:
    """Colorizes all pictures with several concurrent clients.

    Returns:
        Median and 95th percentile of the latency, pictures per second, pictures per model call.
    """
    calls_before, pictures_before = count_batches(url)
    began = time.monotonic()
    with ThreadPoolExecutor(n_clients) as threads:
        parts = [files[client::n_clients] for client in range(n_clients)]
        seconds_of_clients = threads.map(lambda part: [colorize(url, file) for file in part], parts)
        seconds = list(itertools.chain.from_iterable(seconds_of_clients))
    total = time.monotonic() - began
    calls, pictures = count_batches(url)
    return (
        f"{1000 * statistics.median(seconds):.0f} ms",
        f"{1000 * statistics.quantiles(seconds, n=20)[-1]:.0f} ms",
        f"{len(files) / total:.0f}",
        f"{(pictures - pictures_before) / (calls - calls_before):.1f}",
    )


def count_batches(url: str) -> tuple[float, float]:
    """Returns the number of model calls so far, and the number of pictures in these calls."""
    metrics = requests.get(f"{url}/metrics", timeout=TIMEOUT_S).text
    pattern = r"^chromabench_batch_pictures_(count|sum) (\S+)$"
    values = dict(re.findall(pattern, metrics, re.MULTILINE))
    return float(values["count"]), float(values["sum"])


if __name__ == "__main__":
    main()
