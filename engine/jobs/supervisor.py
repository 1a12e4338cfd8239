"""The supervisor: holds the lock, claims jobs, starts their processes, reaps them.

There is one per host and database. It ends itself when there has been nothing to do for a while;
any entrance starts it again. Its own end does not touch the runs: they are detached, and the next
supervisor looks after them.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from filelock import Timeout

from engine.errors import EngineError, StoreError
from engine.jobs import lifecycle, spawn, webhook
from engine.jobs.launchers import select
from engine.jobs.launchers.interface import NotNowError, Status
from engine.records.runs import Job, JobKind, RunState
from engine.settings import Settings
from engine.store import GoneDatabaseError, LostJobError, Place, Store, utc_now
from engine.system import processes
from engine.tracking import export_requests

LOOK_EVERY_S = 0.3
IDLE_S = 60.0
TAKE_OVER_S = 3.0  # how long to wait for a supervisor that is just leaving
STOP_GRACE_S = 60.0  # for a worker to save and leave, before it is killed
RETRY_AFTER_S = 10.0  # a crashed run is seen as such so long before it goes on by itself
PROBES = 1
AT_WORK = (RunState.RUNNING, RunState.STOPPING)
ANNOUNCE_EVERY_S = 5.0  # a look at which studies have ended, where none of our own did
BEAT_EVERY_S = 5.0
MIRROR_EVERY_S = 5.0  # a look whether something is to be sent to MLflow, and nobody does
ANNOUNCED_FOR_S = 3600.0  # a study that ended longer ago is no news
CHECKS = 1  # looks at data at a time; they do not wait for runs


def supervise(settings: Settings, drain: bool = False, stay: bool = False) -> bool:
    """Works the queue until it has been idle for a while.

    Args:
        settings: whose queue.
        drain: until it is empty.
        stay: until it is told to leave.

    Returns:
        False when another supervisor lives already.
    """
    settings.require_writable_artifacts()
    idle_s = 0.0 if drain else math.inf if stay else IDLE_S
    leave = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leave.set())
    lock = spawn.supervisor_lock(settings)
    store = Store(settings.database_url)
    spawn.claim_artifacts(store, settings)
    try:
        # Who submits while a supervisor leaves finds the lock taken: so look once more after.
        while True:
            try:
                with lock.acquire(timeout=TAKE_OVER_S):
                    _Supervisor(store, settings, leave).work(idle_s)
            except Timeout:
                return False
            store.require_same_file()
            if leave.is_set() or not store.read_jobs(RunState.QUEUED):
                return True
    except GoneDatabaseError as error:
        print(error, flush=True)
        return True
    finally:
        store.close()


class _Supervisor:
    """The state of one living supervisor: the processes it started."""

    def __init__(self, store: Store, settings: Settings, leave: threading.Event) -> None:
        self.store, self.settings, self.leave = store, settings, leave
        self.host, self.identity = (
            processes.host(),
            processes.identify(os.getpid(), lifecycle.CLAIMING),
        )
        self.launchers = select.choose(settings)
        self.gpus = spawn.find_gpus() if settings.launcher == "local" else []
        spawn.check_ranks(settings, self.gpus)
        self.slots: dict[JobKind, int] = {
            "train": settings.slots or max(1, len(self.gpus) // settings.ranks),
            "check": CHECKS,
            "probe": PROBES,
        }
        self.working: set[str] = set()  # tokens, as of the last announcement
        self.announce_at = self.mirror_at = 0.0
        self.mirror_trouble = ""
        self.beaten_at: dict[str, float] = {}  # by token: submitted, and not begun
        self.signalled_at: dict[str, float] = {}
        self.crashed_at: dict[int, float] = {}
        self.unstarted: dict[Job, str] = {}  # and why
        self.heard: dict[str, tuple[datetime | None, float]] = {}  # token -> heartbeat, since when

    def work(self, idle_s: float) -> None:
        """Looks after the queue until told to leave or idle for so long."""
        busy_at = time.monotonic()
        while not self.leave.is_set():
            try:
                self.store.require_same_file()
                is_busy = self.look()
            except GoneDatabaseError:
                raise
            except StoreError as error:  # its patience is over; the next look may have more luck
                print(error, flush=True)
                self.heard.clear()  # nobody could be heard meanwhile
                is_busy = True
            if is_busy:
                busy_at = time.monotonic()
            elif time.monotonic() - busy_at >= idle_s:
                self.ensure_mirror()
                return
            self.leave.wait(LOOK_EVERY_S)

    def look(self) -> bool:
        """One look at everything; whether there is anything left to look after."""
        self.reap()
        self.end_unstarted()
        waiting = self.retry()
        active = self.store.read_jobs(*AT_WORK)
        self.stop_asked(active)
        started = []
        for kind in self.slots:  # what was just claimed counts for the next kind
            started.append(self.fill(kind, self.store.read_jobs(*AT_WORK)))
        self.announce({str(job.token) for job in active})
        self.mirror(active)
        return bool(active or waiting or any(started))

    def announce(self, working: set[str]) -> None:
        """Tells the webhook, if there is one, of the studies that have ended.

        Args:
            working: the tokens of the jobs that are at work.
        """
        ended, self.working = self.working - working, working
        url, is_due = self.settings.webhook, time.monotonic() >= self.announce_at
        if url is None or not (is_due or ended):
            return
        self.announce_at = time.monotonic() + ANNOUNCE_EVERY_S
        now = utc_now()
        since = now - timedelta(seconds=ANNOUNCED_FOR_S)
        for study_id in self.store.claim_announcement(since, now):
            study, runs = self.store.read_study(study_id), self.store.read_runs(study_id)
            about = webhook.describe(study, runs)
            threading.Thread(target=webhook.post, args=(url, about)).start()

    def mirror(self, active: list[Job]) -> None:
        """Makes sure that what is to be in MLflow too is sent.

        Not while a run begins: it may be measuring how many threads this machine is worth.
        """
        if time.monotonic() < self.mirror_at:
            return
        self.mirror_at = time.monotonic() + MIRROR_EVERY_S
        training = {job.run_id for job in active}
        if all(run.step for run in self.store.read_runs() if run.id in training):
            self.ensure_mirror()

    def ensure_mirror(self) -> None:
        """Training goes on whatever becomes of it; what stands in its way is said once."""
        try:
            export_requests.ensure_mirror(self.settings)
        except (EngineError, OSError) as error:
            if str(error) != self.mirror_trouble:
                print(f"nothing is sent to MLflow: {error}", flush=True)
            self.mirror_trouble = str(error)

    def fill(self, kind: JobKind, active: list[Job]) -> int:
        """Claims and starts jobs of a kind in this host's free slots; returns how many."""
        # A speed is measured while nothing else runs, and nothing begins meanwhile.
        here = {it.kind for it in active if it.host == self.host}
        if "probe" in here or (kind == "probe" and here):
            return 0
        if not self.launchers[kind].is_ready():
            return 0
        taken = {it.slot for it in active if it.kind == kind and it.host == self.host}
        started = 0
        for slot in (str(number) for number in range(self.slots[kind])):
            if slot in taken:
                continue
            place = Place(self.host, slot, self.identity)
            job = self.store.claim_job(utc_now(), kind, place)
            if job is not None:
                self.start(job)
                started += 1
        return started

    def start(self, job: Job) -> None:
        """Starts a claimed job's process; each slot for training has its own GPU, if there are."""
        gpu = None
        if job.kind in ("train", "probe") and self.gpus:
            first = int(job.slot or 0) * self.settings.ranks
            group = range(first, first + self.settings.ranks)
            gpu = ",".join(self.gpus[number % len(self.gpus)] for number in group)
        try:
            process = self.launchers[job.kind].submit(job, gpu)
        except NotNowError as error:
            print(f"{error}; it stays in the queue", flush=True)
            self.store.give_back(job, utc_now())
            return
        except EngineError as error:
            self.unstarted[job] = str(error)
            return
        try:
            self.store.set_process(job, process, utc_now())
        except LostJobError:
            return  # it has ended already

    def reap(self) -> None:
        """Ends the jobs of processes that are gone, our own and others'."""
        active = self.store.read_jobs(*AT_WORK)
        # What was submitted to a cluster and not begun, any supervisor can ask about.
        mine = [job for job in active if job.host == self.host or _is_submitted(job)]
        standings = {str(job.token): self.launchers[job.kind].poll(job) for job in mine}
        self.beat([job for job in mine if _is_submitted(job)], standings)
        returncodes = {
            token: it if isinstance(it, int) else None
            for token, it in standings.items()
            if it != "unknown"
        }
        lifecycle.reap(self.store, utc_now(), returncodes, self.listen())
        for launcher in self.launchers.values():
            launcher.tidy(set(standings))

    def beat(self, submitted: list[Job], standings: Mapping[str, Status]) -> None:
        """Says that jobs live that wait for a machine and cannot say so themselves."""
        now = time.monotonic()
        for job in submitted:
            token = str(job.token)
            is_due = now - self.beaten_at.get(token, -math.inf) >= BEAT_EVERY_S
            if standings[token] == "alive" and is_due:
                self.beaten_at[token] = now
                with suppress(LostJobError):
                    self.store.beat(job, utc_now())
        tokens = {str(job.token) for job in submitted}
        self.beaten_at = {it: at for it, at in self.beaten_at.items() if it in tokens}

    def listen(self) -> dict[str, float]:
        """Token of a job on another host -> for how long its heartbeat has not changed."""
        heard = {}
        for job in self.store.read_jobs(*AT_WORK):
            is_here = job.process is not None and processes.is_here(job.process)
            if not is_here and job.token is not None:
                last = self.heard.get(job.token)
                is_new = last is None or last[0] != job.heartbeat_at
                heard[job.token] = (job.heartbeat_at, time.monotonic()) if is_new else last
        self.heard = {token: it for token, it in heard.items() if it is not None}
        return {token: time.monotonic() - since for token, (_, since) in self.heard.items()}

    def end_unstarted(self) -> None:
        """Ends the jobs for which no process could be started."""
        for job, reason in list(self.unstarted.items()):
            with suppress(LostJobError):
                self.store.finish_job(job, RunState.FAILED, reason, utc_now())
            del self.unstarted[job]

    def retry(self) -> bool:
        """Queues crashed runs that go on by themselves, a while after; whether any still waits."""
        waiting = self.store.read_retries()
        for run_id in waiting:
            since = self.crashed_at.setdefault(run_id, time.monotonic())
            if time.monotonic() - since >= RETRY_AFTER_S:
                self.store.retry_crashed(run_id, utc_now())
                del self.crashed_at[run_id]
        return bool(waiting)

    def stop_asked(self, active: list[Job]) -> None:
        """Passes on the wish to stop, once politely; by force after a grace or a second wish."""
        for job in active:
            process, launcher = job.process, self.launchers[job.kind]
            if job.stop_requested_at is None or process is None:
                continue
            if not (processes.is_here(process) or job.host == self.host or _is_submitted(job)):
                continue
            if processes.has_role(process, lifecycle.CLAIMING):
                continue  # its own process is not known yet
            if process not in self.signalled_at:
                launcher.stop(job, by_force=False)
                self.signalled_at[process] = time.monotonic()
            patience = time.monotonic() - self.signalled_at[process]
            if patience > STOP_GRACE_S or job.kill_requested_at is not None:
                launcher.stop(job, by_force=True)


def _is_submitted(job: Job) -> bool:
    return job.process is not None and processes.is_submitted(job.process)
