"""The supervisor: claims jobs, starts their processes, passes on stop requests and reaps jobs.

One supervisor runs per host and database. It exits when there has been no work for a while, and
the next request of a user starts it again. Workers are detached: they survive the end of their
supervisor, and the next supervisor manages them.
"""

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from filelock import Timeout

from engine.errors import BadInputError, EngineError, StoreError
from engine.jobs import installation, reaping, spawn, worker_command
from engine.jobs.launchers import select
from engine.jobs.launchers.interface import LauncherUnavailableError, Status
from engine.jobs.periodic import CrashRetries, ExportStarter, WebhookNotifier
from engine.jobs.reaping import Heartbeats
from engine.records.runs import Job, JobKind, RunState
from engine.settings import Settings
from engine.store import DatabaseReplacedError, LostJobError, Store, WorkerSlot, utc_now
from engine.system import gpus, processes
from engine.system.processes import ProcessId
from engine.tracking import mlflow_client, request_files

logger = logging.getLogger(__name__)

TICK_EVERY_S = 0.3
EXIT_WHEN_IDLE_S = 60.0
LOCK_TIMEOUT_S = 3.0  # another supervisor may be about to exit
STOP_GRACE_S = 60.0
SUBMITTED_HEARTBEAT_EVERY_S = 5.0
SCAN_SLOTS = PROBE_SLOTS = EXPORT_SLOTS = 1
ACTIVE_STATES = (RunState.RUNNING, RunState.STOPPING)
# Kinds of jobs that share the training slots of a host and their GPUs.
TRAINING_SLOT_KINDS: tuple[JobKind, ...] = ("train", "evaluate")


def supervise(settings: Settings, drain: bool = False, keep_alive: bool = False) -> bool:
    """Runs the jobs of the queue until there has been no work for a while, or until a signal.

    Args:
        settings: the settings of the installation.
        drain: exit as soon as the queue is empty and all jobs have ended.
        keep_alive: keep running when there is no work.

    Returns:
        False if another supervisor is running.
    """
    settings.require_writable_artifacts()
    exit_when_idle_s = 0.0 if drain else math.inf if keep_alive else EXIT_WHEN_IDLE_S
    should_exit = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: should_exit.set())
    lock = spawn.supervisor_lock(settings)
    store = Store(settings.database_url)
    installation.claim_artifacts(store, settings)
    try:
        while True:
            try:
                with lock.acquire(timeout=LOCK_TIMEOUT_S):
                    request_files.take_over_request_files(store, settings)
                    Supervisor(store, settings, should_exit).run(exit_when_idle_s)
            except Timeout:
                return False
            # A request during the exit has started no supervisor, because the lock was still held.
            # So check the queue again.
            store.require_same_file()
            if should_exit.is_set() or not _has_work(store):
                return True
    except DatabaseReplacedError as error:
        logger.error("%s", error)
        return True
    except OSError:
        logger.exception("the supervisor ends")  # the command line reports it without a traceback
        raise
    finally:
        store.close()


def _has_work(store: Store) -> bool:
    """Returns whether this host can start a queued job, or an export that is due."""
    if store.jobs.has_queued("train", "evaluate", "check", "probe"):
        return True
    has_export = store.jobs.has_queued("export") or store.exports.has_due(utc_now())
    return has_export and mlflow_client.is_installed()


class Supervisor:
    """Manages the jobs of this host, and those that were submitted to a cluster.

    Attributes:
        slots: kind of job -> how many jobs of this kind run at the same time on this host.
    """

    def __init__(self, store: Store, settings: Settings, should_exit: threading.Event) -> None:
        self.store, self.settings, self.should_exit = store, settings, should_exit
        self.host = processes.host_id()
        self.process = str(ProcessId.of(os.getpid(), reaping.CLAIMING))
        self.launchers = select.select_launchers(settings)
        self.gpus = gpus.find_gpus() if settings.launcher == "local" else []
        gpus.require_enough_gpus(settings, self.gpus)
        n_training_slots = settings.slots or max(1, len(self.gpus) // settings.ranks)
        # In the order in which free slots are filled. An evaluation takes minutes and a run hours,
        # so evaluations get the next free training slot.
        self.slots: dict[JobKind, int] = {
            "evaluate": n_training_slots,
            "train": n_training_slots,
            "check": SCAN_SLOTS,
            "probe": PROBE_SLOTS,
            "export": EXPORT_SLOTS,
        }
        self.heartbeats = Heartbeats()
        self.notifier = WebhookNotifier(store, settings.webhook)
        self.exports = ExportStarter(store)
        self.retries = CrashRetries(store)
        self._active_ids: set[int] = set()  # of the jobs at the last tick
        self._unstarted: dict[Job, str] = {}  # job -> why its process could not be started
        self._heartbeat_sent_at: dict[str, float] = {}  # token of a submitted job -> time
        self._stop_sent_at: dict[str, float] = {}  # process -> time of the first stop signal

    def run(self, exit_when_idle_s: float) -> None:
        """Calls `tick` until there has been no work for some seconds, or until a signal."""
        logger.info("started; training slots: %d", self.slots["train"])
        busy_at = time.monotonic()
        while not self.should_exit.is_set():
            try:
                self.store.require_same_file()
                is_busy = self.tick()
            except DatabaseReplacedError:
                raise
            except StoreError as error:
                # The retries inside the store are exhausted. No heartbeats could be read for a
                # while, so an old heartbeat does not prove that its process is lost.
                logger.warning("%s", error)
                self.heartbeats.clear()
                is_busy = True
            if is_busy:
                busy_at = time.monotonic()
            elif time.monotonic() - busy_at >= exit_when_idle_s and not self.exports.queue_due():
                logger.info("exits, because there is no work")
                return
            self.should_exit.wait(TICK_EVERY_S)
        logger.info("exits after a signal; its workers continue")

    def tick(self) -> bool:
        """Does what is due; returns whether a job is active, was started or is about to start."""
        self.reap()
        self.fail_unstarted()
        has_retries = self.retries.run()
        active = self.store.jobs.read_all(*ACTIVE_STATES)
        self.log_ends(active)
        self.pass_on_stops(active)
        # Read the active jobs for each kind: a job that was just claimed may block the next kind.
        n_started = sum(
            [self.fill_slots(kind, self.store.jobs.read_all(*ACTIVE_STATES)) for kind in self.slots]
        )
        self.notifier.run({str(job.token) for job in active})
        has_exports = self.exports.run()
        return bool(active or has_retries or n_started or has_exports)

    def reap(self) -> None:
        """Ends the jobs whose process has ended or was lost, on this host and on others."""
        active = self.store.jobs.read_all(*ACTIVE_STATES)
        # Any supervisor can poll a job that was submitted to a cluster.
        polled = [job for job in active if job.host == self.host or reaping.is_submitted(job)]
        statuses = {str(job.token): self.launchers[job.kind].poll(job) for job in polled}
        self.send_heartbeats([job for job in polled if reaping.is_submitted(job)], statuses)
        returncodes = {
            token: status if isinstance(status, int) else None
            for token, status in statuses.items()
            if status != "unknown"
        }
        for job in active:
            self.heartbeats.observe(job)
        heartbeat_ages_s = {
            str(job.token): self.heartbeats.seconds_unchanged(job) for job in active
        }
        reaping.reap(self.store, self.settings, utc_now(), returncodes, heartbeat_ages_s)
        for launcher in self.launchers.values():
            launcher.forget_ended(set(statuses))

    def log_ends(self, active: Sequence[Job]) -> None:
        """Logs how the jobs have ended that were active at the last tick."""
        active_ids = {job.id for job in active}
        ended_ids, self._active_ids = self._active_ids - active_ids, active_ids
        for job_id in sorted(ended_ids):
            with suppress(BadInputError):  # the run was deleted
                job = self.store.jobs.read(job_id)
                is_expected = job.state in (RunState.DONE, RunState.STOPPED, RunState.QUEUED)
                end = f"{job.state}: {job.reason}" if job.reason else job.state
                level = logging.INFO if is_expected else logging.WARNING
                logger.log(level, "%s is %s", worker_command.log_subject(job), end)

    def send_heartbeats(self, submitted: Sequence[Job], statuses: Mapping[str, Status]) -> None:
        """Writes heartbeats for submitted jobs, whose workers have not started yet."""
        now = time.monotonic()
        for job in submitted:
            token = str(job.token)
            sent_at = self._heartbeat_sent_at.get(token, -math.inf)
            if statuses[token] == "alive" and now - sent_at >= SUBMITTED_HEARTBEAT_EVERY_S:
                self._heartbeat_sent_at[token] = now
                with suppress(LostJobError):
                    self.store.jobs.heartbeat(job, utc_now())
        tokens = {str(job.token) for job in submitted}
        self._heartbeat_sent_at = {
            token: sent_at for token, sent_at in self._heartbeat_sent_at.items() if token in tokens
        }

    def fail_unstarted(self) -> None:
        """Ends the jobs whose process could not be started."""
        for job, reason in list(self._unstarted.items()):
            with suppress(LostJobError, BadInputError):
                self.store.jobs.finish(job, RunState.FAILED, reason, utc_now())
                reaping.log_end(self.store.jobs.read(job.id), self.settings)
            del self._unstarted[job]

    def pass_on_stops(self, active: Sequence[Job]) -> None:
        """Passes on stop requests: SIGTERM first, SIGKILL after a grace period or on request."""
        for job in active:
            process = reaping.process_of(job)
            if job.stop_requested_at is None or job.process is None or process is None:
                continue
            if not (process.is_local or process.is_submitted or job.host == self.host):
                continue
            if process.role == reaping.CLAIMING:
                continue  # the id of the worker is not stored yet
            launcher = self.launchers[job.kind]
            if job.process not in self._stop_sent_at:
                logger.info("%s is to stop", worker_command.log_subject(job))
                launcher.stop(job, by_force=False)
                self._stop_sent_at[job.process] = time.monotonic()
            waited_s = time.monotonic() - self._stop_sent_at[job.process]
            if waited_s > STOP_GRACE_S or job.kill_requested_at is not None:
                launcher.stop(job, by_force=True)

    def fill_slots(self, kind: JobKind, active: Sequence[Job]) -> int:
        """Claims and starts jobs of a kind in the free slots of this host.

        Args:
            kind: the kind of job.
            active: the jobs that are running or stopping.

        Returns:
            The number of started jobs.
        """
        local = [job for job in active if job.host == self.host]
        # A speed probe runs alone on its host. It does not wait for an export, which may take as
        # long as the runs of its study, on other hosts.
        local_kinds = {job.kind for job in local}
        if "probe" in local_kinds or (kind == "probe" and local_kinds - {"export"}):
            return 0
        if not self.launchers[kind].is_ready():
            return 0
        if kind == "export" and not mlflow_client.is_installed():
            return 0  # another host has queued it
        sharing_kinds = TRAINING_SLOT_KINDS if kind in TRAINING_SLOT_KINDS else (kind,)
        used_slots = {job.slot for job in local if job.kind in sharing_kinds}
        n_started = 0
        for slot in map(str, range(self.slots[kind])):
            if slot in used_slots:
                continue
            worker_slot = WorkerSlot(self.host, slot, self.process)
            job = self.store.jobs.claim(utc_now(), kind, worker_slot)
            if job is not None:
                self.start(job)
                n_started += 1
        return n_started

    def start(self, job: Job) -> None:
        """Starts the process of a claimed job.

        Each training slot has its own GPUs, unless there are too few GPUs for all slots. A study
        is evaluated on the GPUs of its slot.
        """
        visible_gpus = None
        if job.kind in (*TRAINING_SLOT_KINDS, "probe") and self.gpus:
            first = int(job.slot or 0) * self.settings.ranks
            indices = range(first, first + self.settings.ranks)
            visible_gpus = ",".join(self.gpus[index % len(self.gpus)] for index in indices)
        try:
            process = self.launchers[job.kind].submit(job, visible_gpus)
        except LauncherUnavailableError as error:
            logger.warning("%s; it stays in the queue", error)
            self.store.jobs.release(job, str(error), utc_now(), was_refused=True)
            return
        except EngineError as error:
            self._unstarted[job] = str(error)
            return
        subject = worker_command.log_subject(job)
        logger.info("started attempt %d of %s", job.attempt, subject)
        with suppress(LostJobError):  # the job has already ended
            self.store.jobs.set_process(job, process, utc_now())
