"""A temporary installation with real processes, for stress tests."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch

from engine.data import packing
from engine.data.sources.openmoji import OpenMoji
from engine.data.sources.registry import parse_source
from engine.jobs import planning
from engine.jobs.reaping import CLAIMING, process_of
from engine.records.runs import Job, Run, RunState
from engine.settings import Settings
from engine.store import Store, database_path, utc_now
from engine.system import child_environment, processes
from engine.training import checkpoint

POLL_EVERY_S = 0.05
TIMED_METRICS = ("epoch_seconds", "images_per_second", "peak_memory_mb")


def prepare_shared(folder: Path) -> Path:
    """Packs the pairs that all installations share; tests add the features of real images."""
    settings = Settings(f"sqlite:///{folder}/unused.db", folder)
    packing.prepare(parse_source("openmoji", settings), 32, settings)
    settings.features_dir.mkdir(exist_ok=True)
    return folder


@dataclass
class Installation:
    """A database and an artifacts folder, with the supervisor that runs on them."""

    folder: Path
    shared: Path
    slots: int = 2
    supervisor: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        artifacts = self.folder / "artifacts"
        artifacts.mkdir(parents=True)
        for name in ("data", "features"):
            (artifacts / name).symlink_to(self.shared / name)
        self.settings = Settings(f"sqlite:///{self.folder}/runs.db", artifacts, self.slots)
        self.store = Store(self.settings.database_url)

    def submit(self, configurations: Sequence[str], seeds: int, **changes: str) -> list[Run]:
        """Queues a study; does not start a supervisor."""
        configs = planning.plan_study(
            OpenMoji(),
            "smoke",
            configurations,
            seeds,
            {"threads": "1", "precision": "fp32", **changes},
            self.settings,
        )
        key = f"study {len(self.store.studies.read_all())}"
        return self.store.studies.add(key, "chaos", configs, utc_now())[1]

    def supervise(self) -> None:
        """Starts a supervisor, unless it is running."""
        if self.supervisor is None or self.supervisor.poll() is not None:
            self.supervisor = processes.start_detached(
                [sys.executable, "-m", "engine", "supervise"],
                self.settings.artifacts / "supervisor.log",
                child_environment.build_child_environment(self.settings),
            )

    def resume_ended(self) -> None:
        """Resumes all runs that ended before they were done."""
        for run in self.store.runs.read_all():
            if run.state.is_finished() and run.state != RunState.DONE:
                self.store.jobs.requeue(run.id)

    def running_jobs(self) -> list[Job]:
        """Returns the jobs whose worker has stored its process id and is alive."""
        jobs = []
        for job in self.store.jobs.read_all(RunState.RUNNING, RunState.STOPPING):
            process = process_of(job)
            if process and process.role != CLAIMING and process.is_alive():
                jobs.append(job)
        return jobs

    def is_done(self) -> bool:
        """Returns whether every run is done."""
        return all(run.state == RunState.DONE for run in self.store.runs.read_all())

    def finish_all(self, timeout_s: float = 1200) -> None:
        """Supervises and resumes all runs until they are done."""
        deadline = time.monotonic() + timeout_s
        while not self.is_done():
            self.supervise()
            self.resume_ended()
            if time.monotonic() > deadline:
                runs = self.store.runs.read_all()
                raise TimeoutError([(run.id, run.state, run.reason) for run in runs])
            time.sleep(0.3)

    def close(self) -> None:
        """Kills every process of this installation."""
        if self.supervisor is not None and self.supervisor.poll() is None:
            self.supervisor.kill()
        if self.supervisor is not None:
            self.supervisor.wait()
        for pid in self.process_ids():
            os.kill(pid, signal.SIGKILL)
        self.store.close()

    def process_ids(self) -> list[int]:
        """Returns the ids of the processes whose environment names this installation."""
        folder = str(self.settings.artifacts)
        pids = []
        for process in psutil.process_iter(["environ", "status"]):
            environment = process.info["environ"] or {}
            is_zombie = process.info["status"] == psutil.STATUS_ZOMBIE
            if environment.get("CHROMABENCH_ARTIFACTS") == folder and not is_zombie:
                pids.append(process.pid)
        return pids

    def metric_values(self) -> dict[tuple[str, int, int, str], float | None]:
        """Returns (configuration, seed, step, name) -> value of all points but timings."""
        return {
            (run.configuration, run.seed, point.step, point.name): point.value
            for run in self.store.runs.read_all()
            for point in self.store.curves.read([run.id])
            if point.name not in TIMED_METRICS
        }

    def count_points(self) -> int:
        """Counts the recorded points, including timings."""
        return len(self.store.curves.read([run.id for run in self.store.runs.read_all()]))

    def final_state(self, run: Run) -> dict[str, object]:
        """Loads the newest checkpoint of a run."""
        newest = self.store.checkpoints.read(run.id)[0]
        return checkpoint.load_from_record(self.settings.artifacts, newest)

    def is_database_intact(self) -> bool:
        """Returns whether SQLite finds no error in the database file."""
        with closing(sqlite3.connect(database_path(self.settings.database_url))) as database:
            return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@contextmanager
def temporary_installation(folder: Path, shared: Path, slots: int = 2) -> Iterator[Installation]:
    """Makes an installation and kills its processes after the block."""
    installation = Installation(folder, shared, slots)
    try:
        yield installation
    finally:
        installation.close()


def is_equal(first: object, second: object) -> bool:
    """Returns whether two states are equal bit for bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(is_equal(value, second[key]) for key, value in first.items())
        )
    if isinstance(first, list | tuple):
        return isinstance(second, list | tuple) and all(map(is_equal, first, second))
    return first == second


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Waits until a condition is true; returns False after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_EVERY_S)
    return True
