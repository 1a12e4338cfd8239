"""Commands about runs: runs, cancel, resume, retry, front, archive, delete, clone, supervise."""

import argparse
import json
from collections.abc import Callable, Collection
from typing import Any

from rich.console import Console

from engine import annotations
from engine.cli import fetching, output
from engine.cli.inputs import confirm, open_existing, stderr
from engine.cli.studies import start
from engine.errors import BadInputError, EngineError
from engine.jobs import lifecycle, missing_metrics, planning, reaping
from engine.overrides import parse_settings
from engine.records.runs import Run, RunState
from engine.settings import Settings
from engine.store import Store, is_absent, utc_now
from engine.system import disk
from engine.system.disk import format_bytes

MAX_RUNS_IN_QUESTION = 3

# Changes one run and returns the line to print.
Action = Callable[[Run], str]


def list_runs(args: argparse.Namespace, settings: Settings) -> int:
    """Lists runs and their states."""
    runs: list[Run] = []
    if args.study is not None or not is_absent(settings.database_url):
        store = open_existing(settings)
        try:
            reaping.reap_if_unsupervised(store, settings, utc_now())
        except EngineError as error:
            warning = f"warning: queued jobs do not run. {error}"
            stderr.print(warning, markup=False, highlight=False, soft_wrap=True)
        if args.study is not None:
            store.studies.read(args.study)
        archived = {study.id for study in store.studies.read_all() if study.archived_at}
        archived.discard(args.study)
        runs = [
            run
            for run in store.runs.read_all(args.study)
            if args.all or (run.archived_at is None and run.study_id not in archived)
        ]
    if args.json:
        print(json.dumps([_run_as_json(run) for run in runs], indent=2))
    else:
        output.print_runs(Console(), runs)
        for line in _evaluation_lines(settings, {run.study_id for run in runs}):
            Console().print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def _evaluation_lines(settings: Settings, study_ids: Collection[int]) -> list[str]:
    """Returns a line for each listed study whose missing metrics are computed now."""
    if not study_ids:
        return []
    store, lines = open_existing(settings), []
    for job in store.jobs.read_all(RunState.RUNNING, RunState.STOPPING, RunState.QUEUED):
        if job.kind != "evaluate" or int(job.subject or 0) not in study_ids:
            continue
        missing = missing_metrics.find_missing_metrics(store, int(job.subject or 0))
        missing = missing.limited_to(missing_metrics.available_networks(missing, settings))
        lines.append(f"Study {job.subject}: {missing_metrics.describe_progress(job, missing)}.")
    return lines


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


def cancel(args: argparse.Namespace, settings: Settings) -> int:
    """Stops runs at the next step; with `--study` also the evaluation of the study."""

    def cancel_run(run: Run) -> str:
        state = lifecycle.cancel(store, settings, run.id, utc_now())
        return f"run {run.id} is {state}"

    store = open_existing(settings)
    if args.study is not None and not args.run_ids:
        job = store.jobs.read_newest("evaluate", str(args.study))
        if job is not None and not job.state.is_finished():
            lifecycle.cancel_job(store, settings, job.id, utc_now())
            print(f"the evaluation of study {args.study} is {store.jobs.read(job.id).state}")
            if all(run.is_over for run in store.runs.read_all(args.study)):
                return 0
    return _apply(cancel_run, _select(args, store, lambda run: not run.is_over))


def resume(args: argparse.Namespace, settings: Settings) -> int:
    """Continues runs from their newest checkpoint."""

    def resume_run(run: Run) -> str:
        lifecycle.resume(store, settings, run.id)
        checkpoints = store.checkpoints.read(run.id)
        start_point = f"after step {checkpoints[0].step}" if checkpoints else "from the beginning"
        return f"run {run.id} is queued, {start_point}"

    store = open_existing(settings)
    return _apply(resume_run, _select(args, store, _has_failed))


def retry(args: argparse.Namespace, settings: Settings) -> int:
    """Deletes the results of runs and starts them from the beginning."""

    def retry_run(run: Run) -> str:
        lifecycle.retry(store, settings, run.id)
        return f"run {run.id} is queued, from the beginning"

    store = open_existing(settings)
    runs = _select(args, store, _has_failed)
    _require_finished(runs)
    trained = [run for run in runs if run.step]
    named = trained[:MAX_RUNS_IN_QUESTION]
    results = ", ".join(f"{run.step} steps of run {run.id}" for run in named)
    if len(trained) > len(named):
        results += f" and the steps of {len(trained) - len(named)} more runs"
    if trained and not confirm(f"This deletes the results of {results}.", args.yes):
        return 1
    return _apply(retry_run, runs)


def front(args: argparse.Namespace, settings: Settings) -> int:
    """Moves queued runs to the front of the queue."""

    def move(run: Run) -> str:
        lifecycle.move_to_front(store, run.id)
        return f"run {run.id} is next"

    store = open_existing(settings)
    runs = _select(args, store, lambda run: run.state == RunState.QUEUED)
    return _apply(move, runs[::-1])  # the run that is moved last becomes the first


def archive(args: argparse.Namespace, settings: Settings) -> int:
    """Hides runs or a study from the lists; `--undo` shows them again."""
    if args.study is None and not args.run_ids:
        raise BadInputError("Give run IDs or --study ID.")
    store = open_existing(settings)
    archived_at = None if args.undo else utc_now()
    state = "listed again" if args.undo else "archived"
    if args.study is not None:
        store.studies.read(args.study)
        store.studies.archive(args.study, archived_at)
        print(f"study {args.study} is {state}")
    for run in [store.runs.read(run_id) for run_id in args.run_ids]:
        store.runs.archive(run.id, archived_at)
        print(f"run {run.id} is {state}")
    return 0


def delete(args: argparse.Namespace, settings: Settings) -> int:
    """Deletes runs or a study with all their files."""
    store = open_existing(settings)
    runs = _select(args, store, lambda run: True)
    _require_finished(runs)
    size = format_bytes(disk.usage_of_runs([run.id for run in runs], settings).total)
    names = f"run{'s' if len(runs) > 1 else ''} {', '.join(str(run.id) for run in runs)}"
    if args.study:
        names = f"study {args.study} with {names}"
    if not confirm(f"This permanently deletes {names} and frees {size}.", args.yes):
        return 1
    deleted = lifecycle.delete(store, settings, [run.id for run in runs])
    print(f"deleted {len(deleted)} of {len(runs)} runs, freed {size}")
    return 0


def clone(args: argparse.Namespace, settings: Settings) -> int:
    """Starts a study with the settings of another study; `--set` overrides single settings."""
    store = open_existing(settings)
    study = store.studies.read(args.study)
    overrides = parse_settings(args.set)
    plan_settings = fetching.planning_settings(args, settings)
    configs = planning.plan_clone(store.runs.read_all(study.id), overrides, plan_settings)
    name = annotations.name_again(study.name)
    if args.name is not None:
        name = annotations.check_name(args.name)
    fetching.fetch_if_requested(configs, args, settings)
    return start(store, settings, configs, name, args)


def supervise(args: argparse.Namespace, settings: Settings) -> int:
    """Runs the queue in the foreground."""
    from engine.jobs import supervisor

    if args.drain and args.stay:
        raise BadInputError("Give only one of --drain and --stay.")
    if not supervisor.supervise(settings, args.drain, args.stay):
        stderr.print("Another supervisor is already running.")
    return 0


def _has_failed(run: Run) -> bool:
    return run.is_over and run.state != RunState.DONE


def _require_finished(runs: list[Run]) -> None:
    for run in runs:
        if not run.state.is_finished():
            raise BadInputError(f"Run {run.id} is {run.state}: stop it first.")


def _select(
    args: argparse.Namespace, store: Store, is_applicable: Callable[[Run], bool]
) -> list[Run]:
    """Returns the runs given by id, or the runs of a study that the command applies to."""
    if bool(args.run_ids) == (args.study is not None):
        raise BadInputError("Give run IDs or --study ID.")
    if args.study is None:
        return [store.runs.read(run_id) for run_id in dict.fromkeys(args.run_ids)]
    store.studies.read(args.study)
    runs = [run for run in store.runs.read_all(args.study) if is_applicable(run)]
    if not runs:
        raise BadInputError(f"Study {args.study} has no run that this applies to.")
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
