"""Many at once: submits, claims, and runs that write while dashboards poll."""

import multiprocessing
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from engine.config import RunConfig
from engine.jobs import lifecycle
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.records.curves import MetricPoint
from engine.records.runs import RunState
from engine.settings import Settings
from engine.store import Place, Store, database_path, utc_now

PROCESSES = 8
CURVES = ("g_loss", "d_loss", "adversarial", "l1")


def _config(seed: int = 0) -> RunConfig:
    return RunConfig(
        data="openmoji",
        configuration=CONFIGURATIONS["standard"],
        budget=BUDGETS["smoke"],
        seed=seed,
    )


def _in_processes(work: Callable[..., object], *arguments: Sequence[object]) -> list[object]:
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(work, *arguments))


def submit_much(settings: Settings, submits: int, keys: int) -> int:
    """So many submits with so few keys, from eight processes; returns the studies there are."""
    Store(settings.database_url).close()
    order = [number % keys for number in range(submits)]
    random.Random(0).shuffle(order)
    parts = [order[start::PROCESSES] for start in range(PROCESSES)]
    _in_processes(_submit, [settings] * PROCESSES, parts)
    with closing(Store(settings.database_url)) as store:
        assert len(store.read_runs()) == len(store.read_studies())
        return len(store.read_studies())


def _submit(settings: Settings, keys: Sequence[int]) -> None:
    lifecycle.ensure_supervisor = lambda settings: None  # nothing is to be trained here
    with closing(Store(settings.database_url)) as store:
        for key in keys:
            lifecycle.submit(store, settings, [_config()], f"study {key}", f"key {key}", utc_now())


@dataclass(frozen=True)
class Claims:
    """What came of many claimers on one queue.

    Attributes:
        claimed: how many jobs they got, all together.
        doubled: jobs that were claimed more than once.
        most_at_once: jobs seen at work at the same time.
        slots: that there are.
    """

    claimed: int
    doubled: int
    most_at_once: int
    slots: int
    seconds: float


def claim_much(settings: Settings, queued: int, slots: int) -> Claims:
    """Eight processes work a long queue off, quarrelling about the slots of one host."""
    with closing(Store(settings.database_url)) as store:
        for start in range(0, queued, 500):
            configs = [_config(seed) for seed in range(start, min(start + 500, queued))]
            store.add_study(f"key {start}", "queue", configs, utc_now())
        began = time.monotonic()
        found = _in_processes(_claim, [settings] * PROCESSES, [slots] * PROCESSES, range(PROCESSES))
        seconds = time.monotonic() - began
        names = [name for names, _ in found for name in names]  # type: ignore[attr-defined]
        doubled = sum(run.attempt != 1 for run in store.read_runs())
        most = max(most for _, most in found)  # type: ignore[attr-defined]
        return Claims(len(names), doubled + len(names) - len(set(names)), most, slots, seconds)


def _claim(settings: Settings, slots: int, seed: int) -> tuple[list[int], int]:
    chance, claimed, most = random.Random(seed), [], 0
    with closing(Store(settings.database_url)) as store:
        while store.read_jobs(RunState.QUEUED):
            place = Place("host", str(chance.randrange(slots)), None)
            job = store.claim_job(utc_now(), place=place)
            if job is not None:
                claimed.append(job.id)
                most = max(most, len(store.read_jobs(RunState.RUNNING)))
                store.finish_job(job, RunState.DONE, None, utc_now())
    return claimed, most


@dataclass(frozen=True)
class Crowd:
    """Runs that write and pages that poll.

    Attributes:
        writes, reads: how many.
        faults: what came to the surface.
        read_p99_s: of single reads.
        wal_bytes: the write-ahead log afterwards.
    """

    writes: int
    reads: int
    faults: tuple[str, ...]
    read_p99_s: float
    write_p99_s: float
    wal_bytes: int


def write_and_poll(settings: Settings, writers: int, pollers: int, seconds: float) -> Crowd:
    """As many runs write as fast as eight GPUs would, and as many pages poll each second."""
    with closing(Store(settings.database_url)) as store:
        configs = [_config(seed) for seed in range(writers)]
        store.add_study("key", "crowd", configs, utc_now())
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(writers + pollers, context) as pool:
            writing = [pool.submit(_write, settings, seconds) for _ in range(writers)]
            polling = [pool.submit(_poll, settings, seconds) for _ in range(pollers)]
            wrote, read = ([it.result() for it in each] for each in (writing, polling))
        wal = database_path(settings.database_url).with_name("runs.db-wal")
        took = [second for result in read for second in result[0]]
        gave = [second for result in wrote for second in result[0]]
        return Crowd(
            writes=len(gave),
            reads=len(took),
            faults=tuple(fault for result in (*wrote, *read) for fault in result[1]),
            read_p99_s=percentile(took, 0.99),
            write_p99_s=percentile(gave, 0.99),
            wal_bytes=wal.stat().st_size if wal.exists() else 0,
        )


def _write(settings: Settings, seconds: float) -> tuple[list[float], list[str]]:
    """A run whose losses are read five times a second, fifty steps each."""
    took, faults, step = [], [], 0
    with closing(Store(settings.database_url)) as store:
        job = store.claim_job(utc_now())
        assert job is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            points = [
                MetricPoint(job.run_id or 0, step + number, 1, name, 0.5)
                for number in range(50)
                for name in CURVES
            ]
            step += 50
            began = time.monotonic()
            try:
                store.add_metrics(job, 1, step, points, utc_now())
            except Exception as error:  # what comes to the surface is what is looked for
                faults.append(str(error))
            took.append(time.monotonic() - began)
            time.sleep(max(0.0, 0.2 - took[-1]))
    return took, faults


def _poll(settings: Settings, seconds: float) -> tuple[list[float], list[str]]:
    """A Live page: runs, new points of one curve, summaries, samples, each second."""
    took, faults, cursor = [], [], 0
    with closing(Store(settings.database_url)) as store:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            runs = [run.id for run in store.read_runs(1)]
            questions: list[Callable[[], object]] = [
                lambda: store.read_runs(1),
                lambda it=runs: store.read_metric_summaries(it),  # type: ignore[misc]
                lambda it=runs: store.read_samples(it),  # type: ignore[misc]
            ]
            try:
                began = time.monotonic()
                points = store.read_metrics(runs, cursor, ["l1"])
                took.append(time.monotonic() - began)
                cursor = points[-1].id if points else cursor
                for question in questions:
                    began = time.monotonic()
                    question()
                    took.append(time.monotonic() - began)
            except Exception as error:  # as above
                faults.append(str(error))
            time.sleep(1.0)
    return took, faults


def elsewhere(settings: Settings, folder: Path) -> Settings:
    """The same with a database of its own."""
    folder.mkdir(parents=True)
    url = f"sqlite:///{folder}/runs.db"
    return replace(settings, database_url=url, artifacts=folder / "artifacts")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many are not above."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
