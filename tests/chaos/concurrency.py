"""Concurrent access: submits, claims, and runs that write while dashboards poll."""

import multiprocessing
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from engine.config import RunConfig
from engine.jobs import lifecycle, spawn
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.records.curves import MetricPoint
from engine.records.runs import RunState
from engine.settings import Settings
from engine.store import Store, WorkerSlot, database_path, utc_now

PROCESSES = 8
CURVES = ("g_loss", "d_loss", "adversarial", "l1")


def _config(seed: int = 0) -> RunConfig:
    return RunConfig(
        data="openmoji",
        configuration=CONFIGURATIONS["standard"],
        budget=BUDGETS["smoke"],
        seed=seed,
    )


def _map_in_processes(work: Callable[..., object], *arguments: Sequence[object]) -> list[object]:
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(work, *arguments))


def submit_concurrently(settings: Settings, n_submits: int, n_keys: int) -> int:
    """Submits studies from several processes, many with equal keys; returns the studies."""
    Store(settings.database_url).close()
    keys = [number % n_keys for number in range(n_submits)]
    random.Random(0).shuffle(keys)
    parts = [keys[start::PROCESSES] for start in range(PROCESSES)]
    _map_in_processes(_submit, [settings] * PROCESSES, parts)
    with closing(Store(settings.database_url)) as store:
        assert len(store.runs.read_all()) == len(store.studies.read_all())
        return len(store.studies.read_all())


def _submit(settings: Settings, keys: Sequence[int]) -> None:
    spawn.ensure_supervisor = lambda settings: None  # the runs are not to be trained
    with closing(Store(settings.database_url)) as store:
        for key in keys:
            lifecycle.submit(store, settings, [_config()], f"study {key}", f"key {key}", utc_now())


@dataclass(frozen=True)
class ClaimResult:
    """The result of several processes that claim jobs of one queue.

    Attributes:
        claimed: number of claims.
        doubled: number of jobs that were claimed more than once.
        max_concurrent: largest number of running jobs that was seen.
        slots: number of slots.
        seconds: duration.
    """

    claimed: int
    doubled: int
    max_concurrent: int
    slots: int
    seconds: float


def claim_concurrently(settings: Settings, n_jobs: int, n_slots: int) -> ClaimResult:
    """Claims and finishes all jobs of a queue from several processes that share some slots."""
    with closing(Store(settings.database_url)) as store:
        for start in range(0, n_jobs, 500):
            configs = [_config(seed) for seed in range(start, min(start + 500, n_jobs))]
            store.studies.add(f"key {start}", "queue", configs, utc_now())
        started_at = time.monotonic()
        results = _map_in_processes(
            _claim, [settings] * PROCESSES, [n_slots] * PROCESSES, range(PROCESSES)
        )
        seconds = time.monotonic() - started_at
        job_ids = [job_id for job_ids, _ in results for job_id in job_ids]  # type: ignore[attr-defined]
        n_repeated = sum(run.attempt != 1 for run in store.runs.read_all())
        return ClaimResult(
            claimed=len(job_ids),
            doubled=n_repeated + len(job_ids) - len(set(job_ids)),
            max_concurrent=max(most for _, most in results),  # type: ignore[attr-defined]
            slots=n_slots,
            seconds=seconds,
        )


def _claim(settings: Settings, n_slots: int, seed: int) -> tuple[list[int], int]:
    rng, claimed, max_concurrent = random.Random(seed), [], 0
    with closing(Store(settings.database_url)) as store:
        while store.jobs.read_all(RunState.QUEUED):
            worker_slot = WorkerSlot("host", str(rng.randrange(n_slots)), None)
            job = store.jobs.claim(utc_now(), worker_slot=worker_slot)
            if job is not None:
                claimed.append(job.id)
                n_running = len(store.jobs.read_all(RunState.RUNNING))
                max_concurrent = max(max_concurrent, n_running)
                store.jobs.finish(job, RunState.DONE, None, utc_now())
    return claimed, max_concurrent


@dataclass(frozen=True)
class LoadResult:
    """The result of runs that write and pages that poll at the same time.

    Attributes:
        writes: number of writes.
        reads: number of reads.
        errors: errors that reached the writers and pollers.
        read_p99_s: 99th percentile of the duration of a read.
        write_p99_s: 99th percentile of the duration of a write.
        wal_bytes: size of the write-ahead log afterwards.
    """

    writes: int
    reads: int
    errors: tuple[str, ...]
    read_p99_s: float
    write_p99_s: float
    wal_bytes: int


def write_and_poll(
    settings: Settings, n_writers: int, n_pollers: int, seconds: float
) -> LoadResult:
    """Writes like runs on fast GPUs, and polls like pages, from one process for each of them."""
    with closing(Store(settings.database_url)) as store:
        configs = [_config(seed) for seed in range(n_writers)]
        store.studies.add("key", "load", configs, utc_now())
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(n_writers + n_pollers, context) as pool:
            writers = [pool.submit(_write, settings, seconds) for _ in range(n_writers)]
            pollers = [pool.submit(_poll, settings, seconds) for _ in range(n_pollers)]
            written, polled = (
                [future.result() for future in futures] for futures in (writers, pollers)
            )
        wal = database_path(settings.database_url).with_name("runs.db-wal")
        read_times = [duration for durations, _ in polled for duration in durations]
        write_times = [duration for durations, _ in written for duration in durations]
        return LoadResult(
            writes=len(write_times),
            reads=len(read_times),
            errors=tuple(error for _, errors in (*written, *polled) for error in errors),
            read_p99_s=percentile(read_times, 0.99),
            write_p99_s=percentile(write_times, 0.99),
            wal_bytes=wal.stat().st_size if wal.exists() else 0,
        )


def _write(settings: Settings, seconds: float) -> tuple[list[float], list[str]]:
    """Writes the losses of 50 steps five times a second; returns durations and errors."""
    durations, errors, step = [], [], 0
    with closing(Store(settings.database_url)) as store:
        job = store.jobs.claim(utc_now())
        assert job is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            points = [
                MetricPoint(job.run_id or 0, step + number, 1, name, 0.5)
                for number in range(50)
                for name in CURVES
            ]
            step += 50
            started_at = time.monotonic()
            try:
                store.curves.add_points(job, 1, step, points, utc_now())
            except Exception as error:  # any error is a result of the test
                errors.append(str(error))
            durations.append(time.monotonic() - started_at)
            time.sleep(max(0.0, 0.2 - durations[-1]))
    return durations, errors


def _poll(settings: Settings, seconds: float) -> tuple[list[float], list[str]]:
    """Reads what a Live page reads each second; returns durations and errors."""
    durations, errors, cursor = [], [], 0
    with closing(Store(settings.database_url)) as store:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            run_ids = [run.id for run in store.runs.read_all(1)]
            reads: list[Callable[[], object]] = [
                lambda: store.runs.read_all(1),
                lambda ids=run_ids: store.curves.read_summaries(ids),  # type: ignore[misc]
                lambda ids=run_ids: store.runs.read_samples(ids),  # type: ignore[misc]
            ]
            try:
                started_at = time.monotonic()
                points = store.curves.read(run_ids, cursor, ["l1"])
                durations.append(time.monotonic() - started_at)
                cursor = points[-1].id if points else cursor
                for read in reads:
                    started_at = time.monotonic()
                    read()
                    durations.append(time.monotonic() - started_at)
            except Exception as error:  # any error is a result of the test
                errors.append(str(error))
            time.sleep(1.0)
    return durations, errors


def with_own_database(settings: Settings, folder: Path) -> Settings:
    """Returns settings with another database and artifacts folder."""
    folder.mkdir(parents=True)
    url = f"sqlite:///{folder}/runs.db"
    return replace(settings, database_url=url, artifacts=folder / "artifacts")


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that is at least as large as a share of all values."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
