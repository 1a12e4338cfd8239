"""What a person asks for, as rows: start, stop, resume, extend, delete; and reaping. Torch-free.

The database is the queue. Whoever asks for work makes sure that a supervisor lives.
"""

import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from engine.annotations import check_name
from engine.config import RunConfig
from engine.data import packing
from engine.data.sources.registry import read_source
from engine.errors import BadInputError
from engine.jobs.estimates import estimate, work_of
from engine.jobs.spawn import claim_artifacts, ensure_supervisor, supervisor_lives
from engine.records.runs import Job, Run, RunState, Study
from engine.settings import Settings
from engine.store import LostJobError, Store
from engine.system import disk, processes
from engine.tracking import export_requests

CLAIMING = "claiming"  # the role of a supervisor until the worker's own process is known
KILLED = -9  # the return code of what SIGKILL ended
UNHEARD_AFTER_S = 300.0  # a job on another host without a heartbeat by then is lost


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
    claim_artifacts(store, settings)
    _require_room(configs, settings)
    study, runs = store.add_study(key, check_name(name), configs, now)
    ensure_supervisor(settings)
    if settings.mlflow is not None and export_requests.is_installed():
        export_requests.ask(settings, study.id, settings.mlflow)
    return study, runs


def extend(
    store: Store, settings: Settings, study_id: int, configs: Sequence[RunConfig], now: datetime
) -> list[Run]:
    """Brings a study to the given runs: adds those it lacks, lengthens those it has.

    Returns:
        The runs that were queued for it.
    """
    claim_artifacts(store, settings)
    _require_room(configs, settings)
    study, epochs = store.read_study(study_id), configs[0].budget.epochs
    there = {run.id for run in store.read_runs(study_id)}
    if epochs > study.budget.epochs:
        for run in store.read_runs(study_id):
            if any(it.is_slim for it in store.read_checkpoints(run.id)[:1]):
                raise BadInputError(
                    f"The optimisers of run {run.id} were pruned: it cannot be trained further. "
                    f"`python -m engine clone {study_id} --set epochs={epochs}` starts anew."
                )
        store.lengthen_study(study_id, epochs)
        there = set()
    store.extend_study(study_id, configs, now)
    export_requests.wake(settings, study_id)
    ensure_supervisor(settings)
    return [run for run in store.read_runs(study_id) if run.id not in there]


def _require_room(configs: Sequence[RunConfig], settings: Settings) -> None:
    """Nothing is queued that could not be written."""
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
    state = store.request_stop(run_id, now)
    if state == RunState.STOPPING:  # somebody must pass it on
        settings.require_writable_artifacts()
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
    claim_artifacts(store, settings)
    if not store.requeue(run_id, now):
        raise BadInputError(f"Run {run_id} is {run.state}; there is nothing to resume.")
    export_requests.wake(settings, run.study_id)
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
    claim_artifacts(store, settings)
    if not run.state.is_finished():
        raise BadInputError(f"Run {run_id} is {run.state}; stop it before it begins again.")
    # Out of the way before it is queued: the next attempt finds a folder of its own.
    old = _set_aside(run_id, settings)
    if not store.restart_run(run_id):
        if old is not None:
            old.rename(settings.run_dir(run_id))
        raise BadInputError(f"Run {run_id} is at work again; stop it before it begins anew.")
    export_requests.wake(settings, run.study_id)
    ensure_supervisor(settings)
    _remove(old)


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
    claim_artifacts(store, settings)
    gone = store.delete_runs(run_ids)
    for run_id in gone:
        _remove(_set_aside(run_id, settings))
    return gone


def _set_aside(run_id: int, settings: Settings) -> Path | None:
    """Renames a run's folder to what is in nobody's way; `prune` finds it if it remains."""
    folder = settings.run_dir(run_id)
    if not folder.exists():
        return None
    aside = folder.with_name(f"{disk.ASIDE}{folder.name}-{secrets.token_hex(4)}")
    return folder.rename(aside)


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def probe_subject(configs: Sequence[RunConfig]) -> str:
    """What is measured for some configs, as JSON: one of each kind of work."""
    kinds = {work_of(it): it.model_copy(update={"seed": 0}) for it in configs}
    return json.dumps([it.model_dump(mode="json") for it in kinds.values()])


def submit_probe(
    store: Store, settings: Settings, configs: Sequence[RunConfig], now: datetime
) -> Job:
    """Queues measuring the speed of each kind of work among the configs."""
    settings.require_writable_artifacts()
    supervisor_lives(settings)
    job = store.add_job("probe", probe_subject(configs), now)
    ensure_supervisor(settings)
    return job


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


def reap(
    store: Store,
    now: datetime,
    returncodes: Mapping[str, int | None] | None = None,
    unheard_s: Mapping[str, float] | None = None,
) -> None:
    """Ends the jobs whose process is gone, with the reason as far as it can be known.

    Args:
        store: where the jobs are.
        now: the present moment.
        returncodes: token -> what its process returned, for the children of the caller; None while
            it has not. Only its parent knows how a process ended, so it alone judges it.
        unheard_s: token -> for how long its heartbeat has not changed before the caller's eyes:
            what jobs on other hosts are judged by, whatever the clocks of the two say.
    """
    children, silent = returncodes or {}, unheard_s or {}
    for job in store.read_jobs(RunState.RUNNING, RunState.STOPPING):
        token = str(job.token)
        returncode = children.get(token)
        if returncode is None and (token in children or not _is_gone(job, silent.get(token, 0.0))):
            continue
        state, reason = _verdict(job, returncode)
        by_signal = returncode is None or returncode < 0
        # The worker may have ended the job itself since the list was read.
        with suppress(LostJobError):
            is_claiming = returncode is None and processes.has_role(job.process, CLAIMING)
            if is_claiming or (returncode == KILLED and _is_waiting(job)):
                store.give_back(job, now)  # lost before there was a worker
            else:
                store.finish_job(job, state, reason, now, may_retry=by_signal)


def attend(store: Store, settings: Settings, now: datetime) -> None:
    """For a reader who finds work and no supervisor: reaps, and starts one for what waits."""
    unfinished = store.read_jobs(RunState.QUEUED, RunState.RUNNING, RunState.STOPPING)
    if not (unfinished or store.read_retries()) or supervisor_lives(settings):
        return
    reap(store, now)
    ensure_supervisor(settings)


def _is_gone(job: Job, unheard_s: float) -> bool:
    if job.process is not None and processes.is_here(job.process):
        return not processes.is_alive(job.process)
    return unheard_s > UNHEARD_AFTER_S


def _is_waiting(job: Job) -> bool:
    """Whether it was submitted to a cluster and has not begun."""
    return job.process is not None and processes.is_submitted(job.process)


def _verdict(job: Job, returncode: int | None) -> tuple[RunState, str]:
    if returncode is None:
        if job.process is not None and not processes.is_here(job.process):
            return RunState.CRASHED, f"nothing was heard from {job.host} for five minutes"
        return RunState.CRASHED, "its process is gone; the machine or somebody ended it"
    if _is_waiting(job):
        return RunState.CRASHED, "the cluster ended it before it began; its log says why"
    if returncode == KILLED:
        return RunState.CRASHED, "killed by the system, probably out of memory"
    if returncode < 0:
        return RunState.CRASHED, f"its process was ended by signal {-returncode}"
    return RunState.CRASHED, f"its process ended with code {returncode}; the log says more"
