"""Submits, extends, cancels, resumes, retries and deletes runs on request of a user.

The database is the queue: a request changes its rows and starts a supervisor if none is running.
"""

import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from engine import weights
from engine.annotations import check_name
from engine.config import RunConfig
from engine.data import packing
from engine.data.sources.registry import parse_source
from engine.errors import BadInputError, MissingWeightsError
from engine.jobs import installation, spawn
from engine.jobs.estimates import estimate, workload_key
from engine.jobs.missing_metrics import available_networks, find_missing_metrics
from engine.records.exports import Export
from engine.records.runs import Job, JobKind, Run, RunState, Study
from engine.settings import PROGRAM, Settings
from engine.store import Store, utc_now
from engine.system import disk
from engine.tracking import mlflow_client


def submit(
    store: Store,
    settings: Settings,
    configs: Sequence[RunConfig],
    name: str,
    key: str,
    now: datetime,
) -> tuple[Study, list[Run]]:
    """Stores a study, queues its runs and makes sure that a supervisor is running.

    Args:
        store: the store for the study.
        settings: the settings of the installation.
        configs: the configs of the runs.
        name: the name of the study.
        key: identifies the request: a second call with this key returns the same study and queues
            nothing.
        now: the time of the request.

    Raises:
        EngineError: the disk has too little room, or the artifacts folder cannot be written.
    """
    installation.claim_artifacts(store, settings)
    _require_room(configs, settings)
    study, runs = store.studies.add(key, check_name(name), configs, now)
    if settings.mlflow is not None and mlflow_client.is_installed():
        store.exports.request(study.id, settings.mlflow, now)
    spawn.ensure_supervisor(settings)
    return study, runs


def extend(
    store: Store, settings: Settings, study_id: int, configs: Sequence[RunConfig], now: datetime
) -> list[Run]:
    """Adds runs to a study, or epochs to all its runs.

    Args:
        store: the store with the study.
        settings: the settings of the installation.
        study_id: the study.
        configs: the configs of all runs that the study has afterwards.
        now: the time of the request.

    Returns:
        The runs that were queued.

    Raises:
        BadInputError: the optimisers of a run were pruned, so it cannot be trained further.
        EngineError: the disk has too little room, or the artifacts folder cannot be written.
    """
    installation.claim_artifacts(store, settings)
    _require_room(configs, settings)
    study, epochs = store.studies.read(study_id), configs[0].budget.epochs
    unchanged_ids = {run.id for run in store.runs.read_all(study_id)}
    if epochs > study.budget.epochs:
        for run in store.runs.read_all(study_id):
            if any(newest.is_slim for newest in store.checkpoints.read(run.id)[:1]):
                raise BadInputError(
                    f"The optimisers of run {run.id} were pruned: it cannot be trained further. "
                    f"`{PROGRAM} clone {study_id} --set epochs={epochs}` starts a new study."
                )
        store.studies.extend_epochs(study_id, epochs)
        unchanged_ids = set()
    store.studies.extend(study_id, configs, now)
    store.exports.renew(study_id, now)
    spawn.ensure_supervisor(settings)
    return [run for run in store.runs.read_all(study_id) if run.id not in unchanged_ids]


def _require_room(configs: Sequence[RunConfig], settings: Settings) -> None:
    """Checks that the disk has room for the files of new runs.

    Raises:
        EngineError: the disk has too little room, or the supervisor's lock cannot be locked.
    """
    spawn.require_startable(settings)
    budget = configs[0].budget
    source = parse_source(configs[0].data, settings)
    n_pairs = packing.count_pairs(source, budget, settings)
    packed_bytes = packing.bytes_to_pack(source, budget.px, settings)
    disk.require_room(
        estimate(configs, n_pairs, {}, packed_bytes).disk_bytes,
        settings.artifacts,
        "This study",
        f"`{PROGRAM} prune` frees room. Fewer runs or a smaller network need less; fewer "
        "epochs do not.",
    )


def cancel(store: Store, settings: Settings, run_id: int, now: datetime) -> RunState:
    """Stops a queued run at once, or requests that a running run stops.

    A second request kills the worker of the run. A crashed run is not retried any more.

    Returns:
        The state of the run after the request.

    Raises:
        BadInputError: there is no such run, or it has ended already.
    """
    run = store.runs.read(run_id)
    if run.is_over:
        raise BadInputError(f"Run {run_id} is {run.state} already; there is nothing to cancel.")
    state = store.jobs.request_run_stop(run_id, now)
    if state == RunState.STOPPING:  # a supervisor sends the signal
        settings.require_writable_artifacts()
        spawn.ensure_supervisor(settings)
    return state


def resume(store: Store, settings: Settings, run_id: int) -> None:
    """Queues a run that ended before it was done, to continue from its newest checkpoint.

    Raises:
        BadInputError: there is no such run, or it is done, queued or running.
    """
    further = f"`{PROGRAM} study --extend {{study_id}} --set epochs=N` trains its study further."
    with _queueing_again(store, settings, run_id, further) as run:
        if not store.jobs.requeue(run_id):
            raise BadInputError(f"Run {run_id} is {run.state}; there is nothing to resume.")


def retry(store: Store, settings: Settings, run_id: int) -> None:
    """Deletes the results of a run that ended before it was done, and queues it from step 0.

    Raises:
        BadInputError: there is no such run, or it is done, queued or running.
    """
    repeated = (
        f"A retry would give equal results. `{PROGRAM} clone {{study_id}}` repeats its study."
    )
    with _queueing_again(store, settings, run_id, repeated) as run:
        if not run.state.is_finished():
            raise BadInputError(f"Run {run_id} is {run.state}; stop it before it begins again.")
        # Move the folder before the run is queued: the next attempt makes a new folder.
        old_folder = _move_aside(run_id, settings)
        if not store.runs.restart(run_id):
            if old_folder is not None:
                old_folder.rename(settings.run_dir(run_id))
            raise BadInputError(f"Run {run_id} is running again; stop it before it begins again.")
    _delete_folder(old_folder)


@contextmanager
def _queueing_again(
    store: Store, settings: Settings, run_id: int, hint_if_done: str
) -> Iterator[Run]:
    """Checks that a run is not done, then runs the `with` block, which queues the run.

    After the block, requests another MLflow export of the study and starts a supervisor if none
    is running.

    Args:
        store: the store with the run.
        settings: the settings of the installation.
        run_id: the run.
        hint_if_done: the last sentence of the error if the run is done, as a format string with
            `{study_id}`.

    Raises:
        BadInputError: there is no such run, or it is done.
    """
    run = store.runs.read(run_id)
    if run.state == RunState.DONE:
        raise BadInputError(f"Run {run_id} is done. {hint_if_done.format(study_id=run.study_id)}")
    installation.claim_artifacts(store, settings)
    yield run
    store.exports.renew(run.study_id, utc_now())
    spawn.ensure_supervisor(settings)


def move_to_front(store: Store, run_id: int) -> None:
    """Moves a queued run to the front of the queue.

    Raises:
        BadInputError: there is no such run, or it is not queued.
    """
    run = store.runs.read(run_id)
    if not store.jobs.move_to_front(run_id):
        raise BadInputError(f"Run {run_id} is {run.state}; only queued runs can be moved.")


def delete(store: Store, settings: Settings, run_ids: Sequence[int]) -> list[int]:
    """Deletes the rows and files of runs; a study is deleted with its last run.

    Returns:
        The runs that were deleted.

    Raises:
        BadInputError: one of the runs does not exist or has not ended; nothing was deleted.
    """
    for run in [store.runs.read(run_id) for run_id in run_ids]:
        if not run.state.is_finished():
            raise BadInputError(f"Run {run.id} is {run.state}: stop it before it is deleted.")
    installation.claim_artifacts(store, settings)
    deleted_ids = store.runs.delete(run_ids)
    for run_id in deleted_ids:
        _delete_folder(_move_aside(run_id, settings))
    return deleted_ids


def _move_aside(run_id: int, settings: Settings) -> Path | None:
    """Renames the folder of a run, before the folder is deleted.

    If the folder cannot be deleted, `prune` finds it by its new name.

    Returns:
        The new path; None if the run has no folder.
    """
    folder = settings.run_dir(run_id)
    if not folder.exists():
        return None
    name = f"{disk.PENDING_DELETE_PREFIX}{folder.name}-{secrets.token_hex(4)}"
    return folder.rename(folder.with_name(name))


def _delete_folder(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def probe_subject(configs: Sequence[RunConfig]) -> str:
    """Returns the subject of a speed probe, as JSON: one config of each workload."""
    subjects = {workload_key(config): config.model_copy(update={"seed": 0}) for config in configs}
    return json.dumps([config.model_dump(mode="json") for config in subjects.values()])


def submit_probe(
    store: Store, settings: Settings, configs: Sequence[RunConfig], now: datetime
) -> Job:
    """Queues one job that measures the speed of each workload of some configs."""
    return _submit_job(store, settings, "probe", probe_subject(configs), now)


def submit_scan(store: Store, settings: Settings, source: str, now: datetime) -> Job:
    """Queues a scan of a source, or returns the unfinished scan of this source.

    Raises:
        BadInputError: there is no such source.
    """
    return _submit_job(store, settings, "check", parse_source(source, settings).text, now)


def submit_evaluation(store: Store, settings: Settings, study_id: int, now: datetime) -> Job:
    """Queues a job that computes the missing metrics of a study, or returns the unfinished job.

    Raises:
        BadInputError: there is no such study, or all its evaluations are complete.
        MissingWeightsError: the weights that the missing metrics need are not on this machine.
    """
    store.studies.read(study_id)
    missing = find_missing_metrics(store, study_id)
    if not missing.incomplete:
        raise BadInputError(f"The evaluations of study {study_id} lack no metric.")
    if not available_networks(missing, settings):
        messages = "; ".join(weights.missing_message(name) for name in missing.networks)
        raise MissingWeightsError(f"{missing.sentence}: {messages}.")
    installation.claim_artifacts(store, settings)
    return _submit_job(store, settings, "evaluate", str(study_id), now)


def submit_export(
    store: Store, settings: Settings, study_id: int, uri: str, now: datetime
) -> Export:
    """Requests the export of a study to an MLflow server, and starts a supervisor.

    Raises:
        BadInputError: there is no such study, or MLflow's client is not installed.
    """
    mlflow_client.require_installed()
    store.studies.read(study_id)
    installation.claim_artifacts(store, settings)
    spawn.require_startable(settings)
    export = store.exports.request(study_id, uri, now)
    spawn.ensure_supervisor(settings)
    return export


def renew_exports(store: Store, settings: Settings, study_id: int, now: datetime) -> None:
    """Requests the exports of a study again, because it has new results."""
    if store.exports.renew(study_id, now):
        spawn.ensure_supervisor(settings)


def cancel_exports(store: Store, settings: Settings, study_id: int, now: datetime) -> list[Export]:
    """Cancels the pending exports of a study; what was uploaded stays on the server.

    Returns:
        The exports that were cancelled.
    """
    cancelled = store.exports.cancel(study_id, now)
    if cancelled:
        spawn.ensure_supervisor(settings)  # it sends the signal
    return cancelled


def _submit_job(
    store: Store, settings: Settings, kind: JobKind, subject: str, now: datetime
) -> Job:
    settings.require_writable_artifacts()
    spawn.require_startable(settings)
    job = store.jobs.add(kind, subject, now)
    spawn.ensure_supervisor(settings)
    return job


def cancel_job(store: Store, settings: Settings, job_id: int, now: datetime) -> None:
    """Stops a queued job at once, or requests that a running job stops."""
    store.jobs.request_stop(job_id, now)
    spawn.ensure_supervisor(settings)
