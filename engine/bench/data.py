"""Times packing beside decoding and resizing with Pillow, on all cores and the same files.

The Pillow contenders discard their results, and our packing writes a file. The contender "ours"
packs pictures that were scanned before (`data check`). The contender "ours, first look" also scans
the pictures for faults, duplicates and statistics in the same pass.
"""

import multiprocessing
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from engine.bench.race import Timing, time_contenders
from engine.data import packing
from engine.data.sources.registry import parse_source
from engine.settings import Settings
from engine.system import processes

FILES_PER_PROCESS_TASK = 32


@dataclass(frozen=True)
class Task:
    """A set of files of the same format and size to pack.

    Attributes:
        name: name of the task.
        source_kind: kind of the source, `photos` or `sidebyside`.
        n_files: number of files.
        width: width of each file's picture, in pixels.
        height: height of each file's picture, in pixels.
        suffix: suffix of the files, which selects their format.
        px: size at which the pairs are packed.
    """

    name: str
    source_kind: str
    n_files: int
    width: int
    height: int
    suffix: str
    px: int


TASKS = (
    Task("photographs of 256 px as JPEG, packed at 256 px", "photos", 3000, 256, 256, "jpg", 256),
    Task("photographs of 256 px as JPEG, packed at 64 px", "photos", 3000, 256, 256, "jpg", 64),
    Task("photographs of 12 megapixels, packed at 256 px", "photos", 48, 4000, 3000, "jpg", 256),
    Task(
        "pairs of 1024 x 512 px as PNG, packed at 192 px", "sidebyside", 400, 1024, 512, "png", 192
    ),
)


def run(rounds: int, on_progress: Callable[[str], None] = lambda text: None) -> list[Timing]:
    """Times all tasks; takes about 1.5 minutes per round on two cores.

    Args:
        rounds: number of timed rounds.
        on_progress: called with the name of each task.
    """
    timings: list[Timing] = []
    n_workers = processes.count_cores()
    with tempfile.TemporaryDirectory() as folder:
        spawn = multiprocessing.get_context("spawn")
        with (
            ThreadPoolExecutor(n_workers) as thread_pool,
            ProcessPoolExecutor(n_workers, spawn) as process_pool,
        ):
            for task in TASKS:
                on_progress(task.name)
                pictures, artifacts = Path(folder) / task.name, Path(folder) / "artifacts"
                files = _make_files(task, pictures)
                settings = Settings(f"sqlite:///{artifacts}/unused.db", artifacts)
                n_halves = 2 if task.source_kind == "sidebyside" else 1
                resize = partial(_decode_and_resize, px=task.px, n_halves=n_halves)
                contenders = {
                    "ours": partial(_pack, task, pictures, settings),
                    "ours, first look": partial(_scan_and_pack, task, pictures, settings),
                    "Pillow, threads": partial(_map_and_sum, thread_pool, resize, files, 1),
                    "Pillow, processes": partial(
                        _map_and_sum, process_pool, resize, files, FILES_PER_PROCESS_TASK
                    ),
                }
                timings += time_contenders(task.name, contenders, rounds)
                shutil.rmtree(pictures)
                shutil.rmtree(artifacts)
    return timings


def _make_files(task: Task, folder: Path) -> list[Path]:
    """Writes pictures of soft shapes with some noise, which compress about as well as photographs.

    In a pair side by side, the left half is grey.
    """
    folder.mkdir()
    generator = np.random.default_rng(0)
    files = []
    for number in range(task.n_files):
        coarse = Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        shapes = np.asarray(coarse.resize((task.width, task.height), Image.Resampling.BICUBIC))
        noise = generator.integers(-8, 9, shapes.shape, dtype=np.int16)
        pixels = np.clip(shapes + noise, 0, 255).astype(np.uint8)
        if task.source_kind == "sidebyside":
            pixels[:, : task.width // 2] = pixels[:, : task.width // 2].mean(2, keepdims=True)
        files.append(folder / f"{number:05d}.{task.suffix}")
        Image.fromarray(pixels).save(files[-1], quality=90, compress_level=3)
    return files


def _pack(task: Task, folder: Path, settings: Settings) -> float:
    """Packs all pairs; the first call (the warm-up) also scans the pictures."""
    source = parse_source(f"{task.source_kind}:{folder}", settings)
    packed = packing.prepare(source, task.px, settings)
    shutil.rmtree(packing.packed_dir(source, task.px, settings))
    return len(packed.pairs)


def _scan_and_pack(task: Task, folder: Path, settings: Settings) -> float:
    """Packs and scans in one pass, into a new artifacts folder without a stored scan."""
    unscanned = replace(settings, artifacts=settings.artifacts / "first")
    n_pairs = _pack(task, folder, unscanned)
    shutil.rmtree(unscanned.artifacts)
    return n_pairs


def _map_and_sum(
    pool: Executor, function: Callable[[Path], int], files: list[Path], chunk_size: int
) -> float:
    return float(sum(pool.map(function, files, chunksize=chunk_size)))


def _decode_and_resize(path: Path, px: int, n_halves: int) -> int:
    """Decodes and resizes one file; returns the number of values as a simple checksum."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    half_width = picture.width // n_halves
    n_values = 0
    for half in range(n_halves):
        box = (half * half_width, 0, (half + 1) * half_width, picture.height)
        n_values += np.asarray(picture.resize((px, px), Image.Resampling.BICUBIC, box)).size
    return n_values
