"""What a person asks for, as rows: start, stop, resume, extend, delete; and reaping. Torch-free.

The database is the queue. Whoever asks for work makes sure that a supervisor lives.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from engine import disk, processes
from engine.config import RunConfig
from engine.data import packing
from engine.data.sources import read_source
from engine.errors import BadInputError
from engine.estimates import estimate
from engine.planning import check_name
from engine.records import Job, Run, RunState, Study
from engine.settings import Settings
from engine.starting import ensure_supervisor, supervisor_lives
from engine.store import LostJobError, Store

CLAIMING = "claiming"  # the role of a supervisor until the worker's own process is known
UNHEARD_AFTER = timedelta(minutes=5)  # a job on another host without a heartbeat by then is lost


def submit(
    store: Store,
    settings: Settings,
    configs: Sequence[RunConfig],
    name: str,
    key: str,
    now: datetime,
) -> tuple[Study, list[Run]]:
    """Stores a study, queues its runs and makes sure that a supervisor lives.

    The same key again gives the same study: Start pressed twice starts once.

    Raises:
        EngineError: there is no room for what it will write, or no place to write it.
    """
    _require_room(configs, settings)
    study, runs = store.add_study(key, check_name(name), configs, now)
    ensure_supervisor(settings)
    return study, runs


def extend(
    store: Store, settings: Settings, study_id: int, configs: Sequence[RunConfig], now: datetime
) -> list[Run]:
    """Brings a study to the given runs: adds those it lacks, lengthens those it has.

    Returns:
        The runs that were queued for it.
    """
    _require_room(configs, settings)
    study = store.read_study(study_id)
    if configs[0].budget.epochs > study.budget.epochs:
        store.lengthen_study(study_id, configs, now)
    store.extend_study(study_id, configs, now)
    ensure_supervisor(settings)
    return [run for run in store.read_runs(study_id) if run.state == RunState.QUEUED]


def _require_room(configs: Sequence[RunConfig], settings: Settings) -> None:
    """Nothing is queued that could not be written."""
    settings.require_writable_artifacts()
    supervisor_lives(settings)  # says now what would stand in the way of starting one
    budget = configs[0].budget
    source = read_source(configs[0].data, settings)
    pairs = packing.count_pairs(source, budget, settings)
    packed = packing.bytes_to_pack(source, budget.px, settings)
    disk.require_room(estimate(configs, pairs, {}, packed).disk_bytes, settings)


def cancel(store: Store, settings: Settings, run_id: int, now: datetime) -> RunState:
    """Stops a queued run at once and asks a running one to stop; asked again, it is killed.

    Raises:
        BadInputError: there is no such run, or it has ended already.
    """
    run = store.read_run(run_id)
    if run.is_over:
        raise BadInputError(f"Run {run_id} is {run.state} already; there is nothing to cancel.")
    settings.require_writable_artifacts()
    state = store.request_stop(run_id, now)
    ensure_supervisor(settings)
    return state


def resume(store: Store, settings: Settings, run_id: int, now: datetime) -> None:
    """Queues a run that ended too early: it goes on from its newest checkpoint.

    Raises:
        BadInputError: there is no such run, or it is done, or at work.
    """
    run = store.read_run(run_id)
    if run.state == RunState.DONE:
        raise BadInputError(
            f"Run {run_id} is done. `python -m engine study --extend {run.study_id} --set "
            f"epochs=N` trains its study further."
        )
    settings.require_writable_artifacts()
    if not store.requeue(run_id, now):
        raise BadInputError(f"Run {run_id} is {run.state}; there is nothing to resume.")
    ensure_supervisor(settings)


def retry(store: Store, settings: Settings, run_id: int, now: datetime) -> None:
    """Queues a run from the very beginning; what it recorded is removed.

    Raises:
        BadInputError: there is no such run, or it is done, or at work.
    """
    run = store.read_run(run_id)
    if run.state == RunState.DONE:
        raise BadInputError(
            f"Run {run_id} is done, and would come out the same. `python -m engine clone "
            f"{run.study_id}` repeats its study."
        )
    settings.require_writable_artifacts()
    if not store.restart_run(run_id):
        raise BadInputError(f"Run {run_id} is {run.state}; stop it before it begins again.")
    shutil.rmtree(settings.run_dir(run_id), ignore_errors=True)
    ensure_supervisor(settings)


def move_to_front(store: Store, run_id: int) -> None:
    """Lets a queued run be the next.

    Raises:
        BadInputError: there is no such run, or it does not wait.
    """
    run = store.read_run(run_id)
    if not store.move_to_front(run_id):
        raise BadInputError(f"Run {run_id} is {run.state}; only queued runs can be moved.")


def delete(store: Store, settings: Settings, run_ids: Sequence[int]) -> list[int]:
    """Removes runs, rows and files together; a study goes with its last run.

    Returns:
        The runs that are gone.

    Raises:
        BadInputError: one of them is queued or at work; nothing has been removed.
    """
    busy = [it for it in run_ids if not store.read_run(it).state.is_finished()]
    if busy:
        raise BadInputError(
            f"Run {busy[0]} is {store.read_run(busy[0]).state}: stop it before it is deleted."
        )
    settings.require_writable_artifacts()
    gone = store.delete_runs(run_ids)
    for run_id in gone:
        shutil.rmtree(settings.run_dir(run_id), ignore_errors=True)  # `prune` finds what remains
    return gone


def submit_check(store: Store, settings: Settings, source: str, now: datetime) -> Job:
    """Queues a look at a source; asked for twice, it is done once.

    Raises:
        BadInputError: there is no such source.
    """
    text = read_source(source, settings).text
    settings.require_writable_artifacts()
    supervisor_lives(settings)
    job = store.add_job("check", text, now)
    ensure_supervisor(settings)
    return job


def cancel_job(store: Store, settings: Settings, job_id: int, now: datetime) -> None:
    """Stops a job that is queued; asks one that is running to stop."""
    store.request_job_stop(job_id, now)
    ensure_supervisor(settings)


def reap(store: Store, now: datetime, returncodes: Mapping[str, int | None] | None = None) -> None:
    """Ends the jobs whose process is gone, with the reason as far as it can be known.

    Args:
        store: where the jobs are.
        now: the present moment.
        returncodes: token -> what its process returned, for the children of the caller; None while
            it has not. Only its parent knows how a process ended, so it alone judges it.
    """
    children = returncodes or {}
    active = store.read_jobs(RunState.RUNNING, RunState.STOPPING)
    clock = store.read_clock(now) if active else now
    for job in active:
        returncode = children.get(str(job.token))
        if returncode is None and (job.token in children or not _is_gone(job, clock)):
            continue
        state, reason = _verdict(job, returncode)
        by_signal = returncode is None or returncode < 0
        may_retry = state == RunState.CRASHED and by_signal
        # The worker may have ended the job itself since the list was read.
        with suppress(LostJobError):
            if returncode is None and processes.has_role(job.process, CLAIMING):
                store.give_back(job, now)  # its supervisor died before there was a worker
            else:
                store.finish_job(job, state, reason, now, may_retry)


def attend(store: Store, settings: Settings, now: datetime) -> None:
    """For a reader who finds work and no supervisor: reaps, and starts one for what waits."""
    unfinished = store.read_jobs(RunState.QUEUED, RunState.RUNNING, RunState.STOPPING)
    if not (unfinished or store.read_retries()) or supervisor_lives(settings):
        return
    reap(store, now)
    ensure_supervisor(settings)


def _is_gone(job: Job, clock: datetime) -> bool:
    if job.process is not None and processes.is_here(job.process):
        return not processes.is_alive(job.process)
    silent = clock - job.heartbeat_at if job.heartbeat_at is not None else timedelta.max
    return silent > UNHEARD_AFTER


def _verdict(job: Job, returncode: int | None) -> tuple[RunState, str]:
    if job.state == RunState.STOPPING:
        return RunState.STOPPED, "stopped by the user"
    if returncode is None:
        if job.process is not None and not processes.is_here(job.process):
            return RunState.CRASHED, f"nothing was heard from {job.host} for five minutes"
        return RunState.CRASHED, "its process is gone; the machine or somebody ended it"
    if returncode == -9:
        return RunState.CRASHED, "killed by the system, probably out of memory"
    if returncode < 0:
        return RunState.CRASHED, f"its process was ended by signal {-returncode}"
    return RunState.CRASHED, f"its process ended with code {returncode}; the log says more"
