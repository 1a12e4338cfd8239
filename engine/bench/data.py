"""Packing beside bare decoding and scaling with Pillow, on all cores and the same files.

The bare contenders keep nothing, not even a file. Ours packs pictures that were looked at before
(`data check`), or looks for faults, look-alikes and figures in the same pass.
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

from engine.bench.race import race
from engine.data import packing
from engine.data.sources.registry import read_source
from engine.data.survey.scan import count_cores
from engine.records.comparison import Timing
from engine.settings import Settings

CHUNK = 32  # files in one task of a process


@dataclass(frozen=True)
class Task:
    """Files of one kind, packed at one size."""

    name: str
    kind: str  # of source
    count: int
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


def run(rounds: int, on_progress: Callable[[str], None] = lambda doing: None) -> list[Timing]:
    """All tasks; about a minute and a half a round on two cores."""
    found: list[Timing] = []
    workers = count_cores()
    with tempfile.TemporaryDirectory() as folder:
        spawn = multiprocessing.get_context("spawn")
        with ThreadPoolExecutor(workers) as threads, ProcessPoolExecutor(workers, spawn) as several:
            for task in TASKS:
                on_progress(task.name)
                place = Path(folder) / task.name
                files = _make_files(task, place)
                bare = partial(_scale, px=task.px, halves=2 if task.kind == "sidebyside" else 1)
                artifacts = Path(folder) / "artifacts"
                settings = Settings(f"sqlite:///{artifacts}/unused.db", artifacts)
                contenders = {
                    "ours": partial(_pack, task, place, settings),
                    "ours, first look": partial(_look_and_pack, task, place, settings),
                    "Pillow, threads": partial(_sum, threads, bare, files, 1),
                    "Pillow, processes": partial(_sum, several, bare, files, CHUNK),
                }
                found += race(task.name, contenders, rounds)
                shutil.rmtree(place)
                shutil.rmtree(artifacts)
    return found


def _make_files(task: Task, folder: Path) -> list[Path]:
    """Pictures with soft shapes and some grain, which compress about as photographs do."""
    folder.mkdir()
    chance = np.random.default_rng(0)
    files = []
    for number in range(task.count):
        coarse = Image.fromarray(chance.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        shapes = np.asarray(coarse.resize((task.width, task.height), Image.Resampling.BICUBIC))
        grain = chance.integers(-8, 9, shapes.shape, dtype=np.int16)
        pixels = np.clip(shapes + grain, 0, 255).astype(np.uint8)
        if task.kind == "sidebyside":  # the left half is the sketch
            pixels[:, : task.width // 2] = pixels[:, : task.width // 2].mean(2, keepdims=True)
        files.append(folder / f"{number:05d}.{task.suffix}")
        Image.fromarray(pixels).save(files[-1], quality=90, compress_level=3)
    return files


def _pack(task: Task, folder: Path, settings: Settings) -> float:
    """Packs pictures; the first time, which is the warm-up, looks at them too."""
    source = read_source(f"{task.kind}:{folder}", settings)
    packed = packing.prepare(source, task.px, settings)
    shutil.rmtree(packing.packed_dir(source, task.px, settings))
    return len(packed.pairs)


def _look_and_pack(task: Task, folder: Path, settings: Settings) -> float:
    """Everything from nothing, in one pass: faults, look-alikes, figures, the file."""
    elsewhere = replace(settings, artifacts=settings.artifacts / "first")
    count = _pack(task, folder, elsewhere)
    shutil.rmtree(elsewhere.artifacts)
    return count


def _sum(pool: Executor, work: Callable[[Path], int], files: list[Path], chunk: int) -> float:
    return float(sum(pool.map(work, files, chunksize=chunk)))


def _scale(path: Path, px: int, halves: int) -> int:
    """Decodes and scales one picture; nothing else."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    part = picture.width // halves
    total = 0
    for half in range(halves):
        box = (half * part, 0, (half + 1) * part, picture.height)
        total += np.asarray(picture.resize((px, px), Image.Resampling.BICUBIC, box)).size
    return total
