"""An installation of its own, with real processes, and what can be done to it."""

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
from engine.data.sources.registry import read_source
from engine.jobs import lifecycle, planning
from engine.records.runs import Job, Run, RunState
from engine.settings import Settings
from engine.store import Store, database_path, utc_now
from engine.system import child_environment, processes
from engine.training import checkpoint

LOOK_EVERY_S = 0.05
TIMED = ("epoch_seconds", "images_per_second", "peak_memory_mb")


def prepare_shared(folder: Path) -> Path:
    """What all labs share: drawn pairs and, later, the features of real pictures."""
    settings = Settings(f"sqlite:///{folder}/unused.db", folder)
    packing.prepare(read_source("openmoji", settings), 32, settings)
    settings.features_dir.mkdir(exist_ok=True)
    return folder


@dataclass
class Lab:
    """A database and an artifacts folder; every process started on it is ended with it."""

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
        """Queues a study; no supervisor is started for it."""
        configs = planning.plan_study(
            OpenMoji(),
            "smoke",
            configurations,
            seeds,
            {"threads": "1", "precision": "fp32", **changes},
            self.settings,
        )
        key = f"study {len(self.store.read_studies())}"
        return self.store.add_study(key, "chaos", configs, utc_now())[1]

    def supervise(self) -> None:
        """Makes sure that a supervisor lives."""
        if self.supervisor is None or self.supervisor.poll() is not None:
            self.supervisor = processes.start_detached(
                [sys.executable, "-m", "engine", "supervise"],
                self.settings.artifacts / "supervisor.log",
                child_environment.worker_environment(self.settings),
            )

    def resume_ended(self) -> None:
        """What a person does who wants all runs done."""
        for run in self.store.read_runs():
            if run.state.is_finished() and run.state != RunState.DONE:
                self.store.requeue(run.id, utc_now())

    def working(self) -> list[Job]:
        """The jobs whose worker's process is known and alive."""
        return [
            job
            for job in self.store.read_jobs(RunState.RUNNING, RunState.STOPPING)
            if job.process is not None
            and not processes.has_role(job.process, lifecycle.CLAIMING)
            and processes.is_alive(job.process)
        ]

    def is_done(self) -> bool:
        """Whether every run is done."""
        return all(run.state == RunState.DONE for run in self.store.read_runs())

    def finish(self, patience_s: float = 1200) -> None:
        """Sees all runs through."""
        deadline = time.monotonic() + patience_s
        while not self.is_done():
            self.supervise()
            self.resume_ended()
            if time.monotonic() > deadline:
                raise TimeoutError([(it.id, it.state, it.reason) for it in self.store.read_runs()])
            time.sleep(0.3)

    def end(self) -> None:
        """Ends every process that works on this lab."""
        if self.supervisor is not None and self.supervisor.poll() is None:
            self.supervisor.kill()
        if self.supervisor is not None:
            self.supervisor.wait()
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.store.close()

    def pids(self) -> list[int]:
        """Processes that work on this lab, by their environment; this one is not among them."""
        mine = str(self.settings.artifacts)
        found = []
        for process in psutil.process_iter(["environ", "status"]):
            environment = process.info["environ"] or {}
            is_dead = process.info["status"] == psutil.STATUS_ZOMBIE
            if environment.get("CHROMABENCH_ARTIFACTS") == mine and not is_dead:
                found.append(process.pid)
        return found

    def figures(self) -> dict[tuple[str, int, int, str], float | None]:
        """Every recorded point but timings: (configuration, seed, step, name) -> value."""
        return {
            (run.configuration, run.seed, point.step, point.name): point.value
            for run in self.store.read_runs()
            for point in self.store.read_metrics([run.id])
            if point.name not in TIMED
        }

    def count_points(self) -> int:
        """How many points are recorded, timings too."""
        return len(self.store.read_metrics([run.id for run in self.store.read_runs()]))

    def weights(self, run: Run) -> dict[str, object]:
        """The final state of a run."""
        newest = self.store.read_checkpoints(run.id)[0]
        return checkpoint.load_saved(self.settings.artifacts, newest)

    def is_sound(self) -> bool:
        """Whether SQLite finds nothing wrong with the file."""
        with closing(sqlite3.connect(database_path(self.settings.database_url))) as database:
            return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@contextmanager
def lab(folder: Path, shared: Path, slots: int = 2) -> Iterator[Lab]:
    """A lab that is ended whatever happens."""
    made = Lab(folder, shared, slots)
    try:
        yield made
    finally:
        made.end()


def same(first: object, second: object) -> bool:
    """Whether two states are equal bit for bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(same(value, second[key]) for key, value in first.items())
        )
    if isinstance(first, list | tuple):
        return isinstance(second, list | tuple) and all(map(same, first, second))
    return first == second


def wait_until(happens: Callable[[], bool], patience_s: float) -> bool:
    """Waits for something; False when it does not happen in time."""
    deadline = time.monotonic() + patience_s
    while not happens():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY_S)
    return True
