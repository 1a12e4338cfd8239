"""The supervisor: holds the lock, claims jobs, starts their processes, reaps them.

There is one per database. It ends itself when there has been nothing to do for a while; any
entrance starts it again. Its own end does not touch the runs: they are detached, and the next
supervisor looks after them.
"""

import os
import shutil
import signal
import subprocess
import threading
import time

from filelock import Timeout

from engine import jobs, processes
from engine.records import Job, JobKind, RunState
from engine.settings import Settings
from engine.store import LostJobError, Store, utc_now

LOOK_EVERY_S = 0.3
IDLE_S = 60.0
TAKE_OVER_S = 3.0  # how long to wait for a supervisor that is just leaving
STOP_GRACE_S = 60.0
CHECKS = 1  # looks at data at a time; they do not wait for runs


def find_gpus() -> list[str]:
    """The GPUs that may be used: those that the environment names, else all there are."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu for gpu in named.split(",") if gpu]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return [str(index) for index in range(count)]


def supervise(settings: Settings, drain: bool = False) -> bool:
    """Works the queue until it has been idle for a while (`drain`: until it is empty).

    Returns:
        False when another supervisor lives already.
    """
    settings.require_writable_artifacts()
    leave = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leave.set())
    lock = jobs.supervisor_lock(settings)
    store = Store(settings.database_url)
    try:
        # Who submits while a supervisor leaves finds the lock taken: so look once more after.
        while True:
            try:
                with lock.acquire(timeout=TAKE_OVER_S):
                    _Supervisor(store, settings, leave).work(0.0 if drain else IDLE_S)
            except Timeout:
                return False
            if leave.is_set() or not store.read_jobs(RunState.QUEUED):
                return True
    finally:
        store.close()


class _Supervisor:
    """The state of one living supervisor: the processes it started."""

    def __init__(self, store: Store, settings: Settings, leave: threading.Event) -> None:
        self.store, self.settings, self.leave = store, settings, leave
        self.gpus = find_gpus()
        self.slots = settings.slots or max(1, len(self.gpus))
        self.children: dict[int, subprocess.Popen[bytes]] = {}
        self.gpu_of: dict[int, str] = {}
        self.signalled_at: dict[str, float] = {}

    def work(self, idle_s: float) -> None:
        """Looks after the queue until told to leave or idle for so long."""
        busy_at = time.monotonic()
        while not self.leave.is_set():
            self.reap()
            active = self.store.read_jobs(RunState.RUNNING, RunState.STOPPING)
            self.stop_asked(active)
            active += self.fill("train", self.slots, active)
            active += self.fill("check", CHECKS, active)
            if active:
                busy_at = time.monotonic()
            elif time.monotonic() - busy_at >= idle_s:
                return
            self.leave.wait(LOOK_EVERY_S)

    def fill(self, kind: JobKind, slots: int, active: list[Job]) -> list[Job]:
        """Claims and starts jobs of a kind while it has free slots; returns them."""
        room = slots - sum(job.kind == kind for job in active)
        started: list[Job] = []
        while len(started) < room and (job := self.store.claim_job(utc_now(), kind)):
            self.start(job)
            started.append(job)
        return started

    def start(self, job: Job) -> None:
        """Starts a claimed job's process."""
        in_use = [gpu for job_id, gpu in self.gpu_of.items() if job_id in self.children]
        gpu = min(self.gpus, key=in_use.count, default=None) if job.kind == "train" else None
        child = jobs.start_worker(job, self.settings, gpu)
        self.children[job.id] = child
        if gpu is not None:
            self.gpu_of[job.id] = gpu
        try:
            self.store.set_process(job, processes.identify(child.pid), utc_now())
        except LostJobError:
            return  # it has ended already

    def reap(self) -> None:
        """Ends the jobs of processes that are gone, our own children and others'."""
        returncodes = {job_id: child.poll() for job_id, child in self.children.items()}
        jobs.reap(self.store, utc_now(), returncodes)
        for job_id, returncode in returncodes.items():
            if returncode is not None:
                del self.children[job_id]

    def stop_asked(self, active: list[Job]) -> None:
        """Passes on the wish to stop, once politely and after a grace by force."""
        for job in active:
            asked, process = job.stop_requested_at is not None, job.process
            if not asked or process is None or not processes.is_here(process):
                continue
            if process not in self.signalled_at:
                processes.terminate(process)
                self.signalled_at[process] = time.monotonic()
            elif time.monotonic() - self.signalled_at[process] > STOP_GRACE_S:
                processes.kill_tree(process)
