"""Actions of buttons: functions that write to the store or start processes.

Every function raises `EngineError` with a message for the user if the action is not possible.
"""

import hashlib
from collections.abc import Sequence

from dashboard.queries import access, launch, sources
from engine import annotations
from engine.config import RunConfig
from engine.data.sources import exclusions
from engine.jobs import lifecycle, planning, reaping
from engine.presets import default_configurations
from engine.records.runs import RunState, Study
from engine.serve import client
from engine.store import utc_now
from engine.weights import download_state


def start_study(configs: Sequence[RunConfig], name: str, form_key: str) -> int:
    """Creates a study and queues its runs; returns the id of the study.

    Args:
        configs: the config of each run.
        name: the name of the study.
        form_key: identifies the form; a second submission with equal values returns the first
            study instead of a new one.
    """
    values = "".join(config.model_dump_json() for config in configs) + name
    submission_key = f"{form_key}-{hashlib.sha256(values.encode()).hexdigest()[:16]}"
    study, _ = lifecycle.submit(
        access.store(), access.settings(), configs, name, submission_key, utc_now()
    )
    return study.id


def start_demo(form_key: str) -> int:
    """Starts the study that `make demo` runs; returns the id of the study."""
    plan = launch.plan("openmoji", "demo", default_configurations("sketch"), 1, ())
    return start_study(plan.configs, plan.name, form_key)


def measure_speed(configs: Sequence[RunConfig]) -> None:
    """Queues a job that measures the training speed of configs."""
    lifecycle.submit_probe(access.store(), access.settings(), configs, utc_now())


def continue_queue() -> None:
    """Ends jobs whose process was lost, and starts a supervisor for unfinished jobs."""
    reaping.reap_if_unsupervised(access.store(), access.settings(), utc_now())


def edit_study(study_id: int, name: str, note: str, tags: Sequence[str]) -> None:
    """Stores the name, note and tags of a study, or nothing if one value is not allowed."""
    checked = (
        annotations.check_name(name),
        annotations.check_note(note),
        annotations.check_tags(tags),
    )
    access.store().studies.annotate(study_id, *checked)


def annotate_run(run_id: int, note: str, tags: Sequence[str]) -> None:
    """Stores the note and tags of a run."""
    access.store().runs.annotate(run_id, annotations.check_note(note), annotations.check_tags(tags))


def scan_source(text: str) -> None:
    """Queues a scan of a data source."""
    source = sources.allowed_source(text)
    lifecycle.submit_scan(access.store(), access.settings(), source.text, utc_now())


def compute_missing_metrics(study_id: int) -> None:
    """Queues a job that computes the metrics that a study lacks because weights were missing."""
    lifecycle.submit_evaluation(access.store(), access.settings(), study_id, utc_now())


def cancel_job(job_id: int) -> None:
    """Requests that a scan, a speed probe or the evaluation of a study stops."""
    lifecycle.cancel_job(access.store(), access.settings(), job_id, utc_now())


def cancel_exports(study_id: int) -> None:
    """Cancels the exports of a study to MLflow; what was uploaded stays on the server."""
    lifecycle.cancel_exports(access.store(), access.settings(), study_id, utc_now())


def exclude_faulty_files(text: str) -> None:
    """Excludes the files of a source that have an error or a warning, and scans the rest again."""
    status = sources.source_status(text)
    exclusions.exclude_faulty(status.source, status.faults, access.settings())
    scan_source(text)


def restore_excluded_files(text: str) -> None:
    """Restores the excluded files of a source and scans the source again."""
    exclusions.include_all(sources.allowed_source(text), access.settings())
    scan_source(text)


def stop_run(run_id: int) -> RunState:
    """Stops a queued run, or requests that a running run stops; a second request kills the run."""
    return lifecycle.cancel(access.store(), access.settings(), run_id, utc_now())


def resume_run(run_id: int) -> None:
    """Queues a run that continues from its newest checkpoint."""
    lifecycle.resume(access.store(), access.settings(), run_id)


def retry_run(run_id: int) -> None:
    """Deletes the results of a run and queues the run from its first epoch."""
    lifecycle.retry(access.store(), access.settings(), run_id)


def move_to_front(run_id: int) -> None:
    """Moves a queued run to the front of the queue."""
    lifecycle.move_to_front(access.store(), run_id)


def delete_runs(run_ids: Sequence[int]) -> None:
    """Deletes runs and all their files, and deletes each study that has no run left."""
    lifecycle.delete(access.store(), access.settings(), run_ids)


def archive_run(run_id: int, is_archived: bool) -> None:
    """Archives or unarchives a run."""
    access.store().runs.archive(run_id, utc_now() if is_archived else None)


def archive_study(study_id: int, is_archived: bool) -> None:
    """Archives or unarchives a study."""
    access.store().studies.archive(study_id, utc_now() if is_archived else None)


def extend_study(study: Study, extension: planning.Extension) -> int:
    """Adds configurations, seeds or epochs to a study; returns the number of queued runs."""
    runs = access.store().runs.read_all(study.id)
    configs = planning.plan_extension(study, runs, extension, access.settings())
    return len(lifecycle.extend(access.store(), access.settings(), study.id, configs, utc_now()))


def start_download(name: str) -> None:
    """Starts the download of a file of feature weights in the background."""
    download_state.start_download(name, access.settings())


def cancel_download(name: str) -> None:
    """Requests that the download of a file of feature weights stops; its part is kept."""
    download_state.cancel_download(name, access.settings())


def start_model_server() -> None:
    """Starts a model server on this machine."""
    client.start_server(access.settings())
