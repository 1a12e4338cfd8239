"""Commands about runs: runs, cancel, resume, retry, front, archive, delete, clone, supervise."""

import json
from collections.abc import Callable, Collection
from typing import Annotated, Any

import typer
from rich.console import Console

from engine import annotations
from engine.cli import fetching, output
from engine.cli.inputs import (
    STUDY_NUMBER,
    FetchWeightsFlag,
    JsonFlag,
    RunIds,
    SettingTexts,
    StudyId,
    StudyOfRuns,
    WaitFlag,
    YesFlag,
    confirm,
    load_settings,
    open_existing,
    stderr,
)
from engine.cli.studies import SubmissionOptions, start
from engine.errors import BadInputError, EngineError
from engine.jobs import exports, lifecycle, missing_metrics, planning, reaping
from engine.overrides import parse_settings
from engine.records.runs import Run, RunState
from engine.settings import Settings
from engine.store import Store, is_absent, utc_now
from engine.system import disk
from engine.system.disk import format_bytes

MAX_RUNS_IN_QUESTION = 3

# Changes one run and returns the line to print.
Action = Callable[[Run], str]

app = typer.Typer()


@app.command("runs")
def list_runs(
    study: Annotated[
        int | None,
        typer.Option(help="List only the runs of this study.", **STUDY_NUMBER),
    ] = None,
    include_archived: Annotated[bool, typer.Option("--all", help="Include archived runs.")] = False,
    as_json: JsonFlag = False,
) -> int:
    """Lists runs and their states."""
    settings = load_settings()
    runs: list[Run] = []
    lines: list[str] = []
    if study is not None or not is_absent(settings.database_url):
        with open_existing(settings) as store:
            try:
                reaping.reap_if_unsupervised(store, settings, utc_now())
            except EngineError as error:
                warning = f"warning: queued jobs do not run. {error}"
                stderr.print(warning, markup=False, highlight=False, soft_wrap=True)
            if study is not None:
                store.studies.read(study)
            archived = {entry.id for entry in store.studies.read_all() if entry.archived_at}
            archived -= {study}
            runs = [
                run
                for run in store.runs.read_all(study)
                if include_archived or (run.archived_at is None and run.study_id not in archived)
            ]
            if not as_json:
                study_ids = {run.study_id for run in runs}
                lines = _evaluation_lines(store, settings, study_ids)
                lines += _export_lines(store, study_ids)
    if as_json:
        print(json.dumps([_run_as_json(run) for run in runs], indent=2))
    else:
        output.print_runs(Console(), runs)
        for line in lines:
            Console().print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def _evaluation_lines(store: Store, settings: Settings, study_ids: Collection[int]) -> list[str]:
    """Returns a line for each listed study whose missing metrics are computed now."""
    lines: list[str] = []
    for job in store.jobs.read_all(RunState.RUNNING, RunState.STOPPING, RunState.QUEUED):
        if job.kind != "evaluate" or int(job.subject or 0) not in study_ids:
            continue
        missing = missing_metrics.find_missing_metrics(store, int(job.subject or 0))
        missing = missing.limited_to(missing_metrics.available_networks(missing, settings))
        lines.append(f"Study {job.subject}: {missing_metrics.describe_progress(job, missing)}.")
    return lines


def _export_lines(store: Store, study_ids: Collection[int]) -> list[str]:
    """Returns a line for each listed study whose export to MLflow is not finished or failed."""
    statuses = exports.read_export_statuses(store, sorted(study_ids))
    return [
        f"Study {status.export.study_id}: {status.describe(utc_now())}."
        for status in statuses
        if status.is_notable
    ]


def _run_as_json(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "study": run.study_id,
        "configuration": run.configuration,
        "seed": run.seed,
        "state": run.state,
        "epoch": run.epoch,
        "epochs": run.epochs,
        "step": run.step,
        "steps": run.steps,
        "reason": run.reason,
        "attempt": run.attempt,
        "will_retry": run.will_retry,
        "archived": run.archived_at is not None,
    }


@app.command()
def cancel(run_ids: RunIds = None, study: StudyOfRuns = None) -> int:
    """Stops runs at the next step, and the evaluation of a study; a second cancel kills them.

    The export of a study to MLflow is cancelled if all its runs have ended. Otherwise it uploads
    the last results of the stopped runs.
    """
    settings = load_settings()

    def cancel_run(run: Run) -> str:
        state = lifecycle.cancel(store, settings, run.id, utc_now())
        return f"run {run.id} is {state}"

    with open_existing(settings) as store:
        if study is not None and not run_ids:
            job = store.jobs.read_newest("evaluate", str(study))
            if job is not None and not job.state.is_finished():
                lifecycle.cancel_job(store, settings, job.id, utc_now())
                print(f"the evaluation of study {study} is {store.jobs.read(job.id).state}")
                if all(run.is_over for run in store.runs.read_all(study)):
                    return 0
            elif _cancel_exports(store, settings, study):
                return 0
        return _apply(cancel_run, _select(store, run_ids, study, lambda run: not run.is_over))


def _cancel_exports(store: Store, settings: Settings, study_id: int) -> bool:
    """Cancels the exports of an ended study; returns whether there were any."""
    if not all(run.is_over for run in store.runs.read_all(study_id)):
        return False
    cancelled = lifecycle.cancel_exports(store, settings, study_id, utc_now())
    for export in cancelled:
        print(f"the export of study {study_id} to {export.uri} is cancelled")
    return bool(cancelled)


@app.command()
def resume(run_ids: RunIds = None, study: StudyOfRuns = None) -> int:
    """Continues runs from their newest checkpoint."""
    settings = load_settings()

    def resume_run(run: Run) -> str:
        lifecycle.resume(store, settings, run.id)
        checkpoints = store.checkpoints.read(run.id)
        start_point = f"after step {checkpoints[0].step}" if checkpoints else "from the beginning"
        return f"run {run.id} is queued, {start_point}"

    with open_existing(settings) as store:
        return _apply(resume_run, _select(store, run_ids, study, _has_failed))


@app.command()
def retry(run_ids: RunIds = None, study: StudyOfRuns = None, is_confirmed: YesFlag = False) -> int:
    """Deletes the results of runs and starts them from the beginning."""
    settings = load_settings()

    def retry_run(run: Run) -> str:
        lifecycle.retry(store, settings, run.id)
        return f"run {run.id} is queued, from the beginning"

    with open_existing(settings) as store:
        runs = _select(store, run_ids, study, _has_failed)
        _require_finished(runs)
        trained = [run for run in runs if run.step]
        named = trained[:MAX_RUNS_IN_QUESTION]
        results = ", ".join(f"{run.step} steps of run {run.id}" for run in named)
        if len(trained) > len(named):
            results += f" and the steps of {len(trained) - len(named)} more runs"
        if trained and not confirm(f"This deletes the results of {results}.", is_confirmed):
            return 1
        return _apply(retry_run, runs)


@app.command()
def front(run_ids: RunIds = None, study: StudyOfRuns = None) -> int:
    """Moves queued runs to the front of the queue."""

    def move(run: Run) -> str:
        lifecycle.move_to_front(store, run.id)
        return f"run {run.id} is next"

    with open_existing(load_settings()) as store:
        runs = _select(store, run_ids, study, lambda run: run.state == RunState.QUEUED)
        return _apply(move, runs[::-1])  # the run that is moved last becomes the first


@app.command()
def archive(
    run_ids: RunIds = None,
    study: StudyOfRuns = None,
    undo: Annotated[bool, typer.Option("--undo", help="Show them in the lists again.")] = False,
) -> int:
    """Hides runs or a study from the lists."""
    if study is None and not run_ids:
        raise BadInputError("Give run IDs or --study ID.")
    archived_at = None if undo else utc_now()
    state = "listed again" if undo else "archived"
    with open_existing(load_settings()) as store:
        if study is not None:
            store.studies.read(study)
            store.studies.archive(study, archived_at)
            print(f"study {study} is {state}")
        for run in [store.runs.read(run_id) for run_id in run_ids or ()]:
            store.runs.archive(run.id, archived_at)
            print(f"run {run.id} is {state}")
    return 0


@app.command()
def delete(run_ids: RunIds = None, study: StudyOfRuns = None, is_confirmed: YesFlag = False) -> int:
    """Deletes runs or a study with all their files."""
    settings = load_settings()
    with open_existing(settings) as store:
        runs = _select(store, run_ids, study, lambda run: True)
        _require_finished(runs)
        size = format_bytes(disk.usage_of_runs([run.id for run in runs], settings).total)
        names = f"run{'s' if len(runs) > 1 else ''} {', '.join(str(run.id) for run in runs)}"
        if study is not None:
            names = f"study {study} with {names}"
        if not confirm(f"This permanently deletes {names} and frees {size}.", is_confirmed):
            return 1
        deleted = lifecycle.delete(store, settings, [run.id for run in runs])
    print(f"deleted {len(deleted)} of {len(runs)} runs, freed {size}")
    return 0


@app.command(
    epilog="""
Repeat study 1 with two changed settings:
  PROGRAM clone 1 --set epochs=20 --set lr_g=0.0001
"""
)
def clone(
    study_id: StudyId,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Name of the new study.  [default: the name of the study and (again)]",
        ),
    ] = None,
    setting_texts: SettingTexts = None,
    fetch_weights: FetchWeightsFlag = False,
    wait: WaitFlag = False,
    as_json: JsonFlag = False,
) -> int:
    """Starts a study with the settings of another study; --set overrides single settings."""
    settings = load_settings()
    with open_existing(settings) as store:
        study = store.studies.read(study_id)
        overrides = parse_settings(setting_texts or ())
        plan_settings = fetching.planning_settings(fetch_weights, settings)
        configs = planning.plan_clone(store.runs.read_all(study.id), overrides, plan_settings)
        clone_name = annotations.name_again(study.name)
        if name is not None:
            clone_name = annotations.check_name(name)
        options = SubmissionOptions(fetch_weights, wait, as_json)
        return start(store, settings, configs, clone_name, options)


@app.command()
def supervise(
    drain: Annotated[bool, typer.Option("--drain", help="Exit when the queue is empty.")] = False,
    stay: Annotated[
        bool, typer.Option("--stay", help="Keep running when the queue is empty.")
    ] = False,
) -> int:
    """Runs the queue in the foreground."""
    from engine.jobs import supervisor

    if drain and stay:
        raise BadInputError("Give only one of --drain and --stay.")
    if not supervisor.supervise(load_settings(), drain, stay):
        stderr.print("Another supervisor is already running.")
    return 0


def _has_failed(run: Run) -> bool:
    return run.is_over and run.state != RunState.DONE


def _require_finished(runs: list[Run]) -> None:
    for run in runs:
        if not run.state.is_finished():
            raise BadInputError(f"Run {run.id} is {run.state}: stop it first.")


def _select(
    store: Store,
    run_ids: list[int] | None,
    study_id: int | None,
    is_applicable: Callable[[Run], bool],
) -> list[Run]:
    """Returns the runs given by id, or the runs of a study that the command applies to."""
    if bool(run_ids) == (study_id is not None):
        raise BadInputError("Give run IDs or --study ID.")
    if study_id is None:
        return [store.runs.read(run_id) for run_id in dict.fromkeys(run_ids or ())]
    store.studies.read(study_id)
    runs = [run for run in store.runs.read_all(study_id) if is_applicable(run)]
    if not runs:
        raise BadInputError(f"Study {study_id} has no run that this applies to.")
    return runs


def _apply(action: Action, runs: list[Run]) -> int:
    """Applies an action to each run; a refusal for one run does not stop the others."""
    refusals: list[BadInputError] = []
    for run in runs:
        try:
            print(action(run))
        except BadInputError as error:
            refusals.append(error)
    if len(refusals) == len(runs):
        raise refusals[0]
    for refusal in refusals:
        stderr.print(str(refusal), markup=False, soft_wrap=True)
    return 1 if refusals else 0
