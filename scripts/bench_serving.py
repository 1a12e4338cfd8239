"""`make bench`: how fast the model server answers 8 clients at once, and one alone.

Trains one epoch of the demo budget in a temporary folder first, which takes about half a minute.
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

from engine.data.pairs import split_pixels
from engine.data.sources.openmoji import OpenMoji
from engine.serve import discovery
from engine.settings import Settings
from engine.system.child_environment import worker_environment

CLIENTS, EACH = 8, 25
SIDES = (64, 512, 2048)  # pixels of the pictures that are asked about
TARGET_S = 1.0  # of 95 % of answers at 64 px
PATIENCE_S = 120


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(f"sqlite:///{folder}/runs.db", Path(folder) / "artifacts")
        train(settings)
        table = Table("pictures", "clients", "median", "95 %", "pictures/s", "pictures per call")
        with serving(settings) as (url, process):
            for side in SIDES:
                files = drawings(side, CLIENTS * EACH if side < SIDES[-1] else 3 * CLIENTS)
                ask(url, files[0])
                for clients in (1, CLIENTS):
                    table.add_row(f"{side} px", str(clients), *measure(url, files, clients))
            memory = psutil.Process(process.pid).memory_info().rss / 2**20
    Console().print(table)
    Console().print(
        f"A 64 px model on the CPU; asked for: {TARGET_S:g} s for 95 % of 64 px pictures with "
        f"{CLIENTS} clients. The server takes {memory:,.0f} MB."
    )


def train(settings: Settings) -> None:
    """A model of the demo budget, after one epoch: as fast as a better one."""
    options = ["--data", "openmoji", "--budget", "demo", "--configurations", "standard"]
    command = [sys.executable, "-m", "engine", "study", *options, "--set", "epochs=1", "--wait"]
    environment = worker_environment(settings)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def serving(settings: Settings) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server on a free port."""
    command = [sys.executable, "-m", "engine", "serve", "--port", "0"]
    process = subprocess.Popen(command, env=worker_environment(settings))
    try:
        deadline = time.monotonic() + PATIENCE_S
        while (found := discovery.read(settings)) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        if found is None:
            raise RuntimeError("the model server did not start")
        yield found.url, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def drawings(side: int, count: int) -> list[bytes]:
    """So many different sketches of a size, as PNG files."""
    source, files = OpenMoji(), []
    for name in itertools.islice(source.names(), count):
        sketch, _ = split_pixels(source.open(name, side).draw(side))
        out = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(sketch)).save(out, "png")
        files.append(out.getvalue())
    return files


def ask(url: str, file: bytes) -> float:
    """Seconds until a picture is there."""
    began = time.monotonic()
    answer = requests.post(f"{url}/api/v1/colorize", files={"file": file}, timeout=PATIENCE_S)
    answer.raise_for_status()
    return time.monotonic() - began


def measure(url: str, files: list[bytes], clients: int) -> tuple[str, str, str, str]:
    """Median, 95 %, throughput and batch of some clients that share the pictures."""
    calls_before, pictures_before = batches(url)
    began = time.monotonic()
    with ThreadPoolExecutor(clients) as threads:
        parts = [files[at::clients] for at in range(clients)]
        taken = threads.map(lambda part: [ask(url, file) for file in part], parts)
        seconds = [it for part in taken for it in part]
    total = time.monotonic() - began
    calls, pictures = batches(url)
    return (
        f"{1000 * statistics.median(seconds):.0f} ms",
        f"{1000 * statistics.quantiles(seconds, n=20)[-1]:.0f} ms",
        f"{len(files) / total:.0f}",
        f"{(pictures - pictures_before) / (calls - calls_before):.1f}",
    )


def batches(url: str) -> tuple[float, float]:
    """How many calls of the model there were, and of how many pictures."""
    told = requests.get(f"{url}/metrics", timeout=PATIENCE_S).text
    found = dict(re.findall(r"^chromabench_batch_pictures_(count|sum) (\S+)$", told, re.MULTILINE))
    return float(found["count"]), float(found["sum"])


if __name__ == "__main__":
    main()
