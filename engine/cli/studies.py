"""Commands about studies: study, table, evaluate, export."""

import argparse
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from filelock import Timeout
from rich.console import Console

from engine import annotations
from engine.cli import fetching, output
from engine.cli.inputs import open_existing, parse_path, stderr
from engine.config import REPORTED_SPLIT, RunConfig
from engine.data.sources.registry import parse_source
from engine.errors import BadInputError, EngineError
from engine.jobs import lifecycle, missing_metrics, planning
from engine.overrides import parse_settings
from engine.presets import DEFAULT_CONFIGURATIONS
from engine.records.runs import Job, Run, RunState, Study
from engine.report import tables
from engine.report.comparison import compare
from engine.report.findings import build_findings
from engine.settings import PROGRAM, Settings
from engine.store import Store, utc_now
from engine.system import extras
from engine.tracking import export_requests
from engine.weights import missing_message

UPLOAD_POLL_S = 0.5


def study(args: argparse.Namespace, settings: Settings) -> int:
    """Starts, extends or repeats a study; `--wait` shows the progress until all runs have ended."""
    if args.extend is not None:
        return _extend(args, settings)
    if args.mlflow is not None:
        export_requests.require_client()
        settings = replace(settings, mlflow=export_requests.check_uri(args.mlflow, "--mlflow"))
    configs, default_name = _plan(args, fetching.planning_settings(args, settings))
    name = annotations.check_name(default_name if args.name is None else args.name)
    settings.check_artifacts()
    store = Store(settings.database_url)
    fetching.fetch_if_requested(configs, args, settings)
    return start(store, settings, configs, name, args)


def start(
    store: Store,
    settings: Settings,
    configs: Sequence[RunConfig],
    name: str,
    args: argparse.Namespace,
) -> int:
    """Submits and prints a planned study; `--wait` shows the progress until all runs have ended."""
    stored, runs = lifecycle.submit(store, settings, configs, name, uuid.uuid4().hex, utc_now())
    if settings.mlflow is not None:
        message = f"The runs are also exported to {settings.mlflow}."
        if not export_requests.is_installed():
            message = (
                f"{export_requests.URI_VARIABLE} is set, but nothing is exported: "
                f"`{extras.install_command('mlflow')}`."
            )
        stderr.print(message, markup=False, highlight=False, soft_wrap=True)
    return _report_submission(store, settings, stored, runs, args)


def _extend(args: argparse.Namespace, settings: Settings) -> int:
    options = ("data", "budget", "name")
    fixed = [f"--{option}" for option in options if getattr(args, option) is not None]
    fixed += ["--from"] if args.results_file is not None else []
    if fixed:
        raise BadInputError(f"--extend keeps what the study has; {', '.join(fixed)} cannot change.")
    overrides = parse_settings(args.set)
    if overrides.keys() - {"epochs"}:
        key = next(iter(overrides.keys() - {"epochs"}))
        raise BadInputError(f"--extend can set epochs, not {key}: its runs would not compare.")
    store = open_existing(settings)
    extended = store.studies.read(args.extend)
    extension = planning.Extension(
        configurations=() if args.configurations is None else args.configurations.split(","),
        seeds=args.seeds,
        epochs=overrides.get("epochs"),
    )
    existing_runs = store.runs.read_all(extended.id)
    plan_settings = fetching.planning_settings(args, settings)
    configs = planning.plan_extension(extended, existing_runs, extension, plan_settings)
    fetching.fetch_if_requested(configs, args, settings)
    runs = lifecycle.extend(store, settings, extended.id, configs, utc_now())
    return _report_submission(store, settings, extended, runs, args)


def _report_submission(
    store: Store,
    settings: Settings,
    study: Study,
    queued: Sequence[Run],
    args: argparse.Namespace,
) -> int:
    output.print_submission(stderr, study, [run.config for run in queued])
    if args.json:
        print(json.dumps({"study": study.id, "runs": [run.id for run in queued]}))
    else:
        fetching.print_missing_weights([run.config for run in queued], settings)
    if not args.wait:
        return 0
    ended = output.watch(stderr, store, settings, study.id)
    for run in ended:
        if run.state != RunState.DONE:
            line = f"run {run.id} ({run.config.label}) {run.state}: {run.reason}"
            stderr.print(line, markup=False, soft_wrap=True)
    if not args.json:
        comparison = compare(store, study.id)
        output.print_comparison(Console(), comparison, build_findings(comparison))
    return 0 if all(run.state == RunState.DONE for run in ended) else 1


def _plan(args: argparse.Namespace, settings: Settings) -> tuple[list[RunConfig], str]:
    """Plans the runs of a new study from options or from an exported file.

    Returns:
        The configs of the runs and the default name of the study.
    """
    if args.results_file is not None:
        options = ("data", "budget", "configurations", "seeds")
        fixed = [f"--{option}" for option in options if getattr(args, option) is not None]
        fixed += ["--set"] if args.set else []
        if fixed:
            raise BadInputError(
                f"--from repeats a study as it was; {', '.join(fixed)} cannot change it."
            )
        return planning.plan_repetition(parse_path(args.results_file, "--from"), settings)
    if args.data is None or args.budget is None:
        raise BadInputError("A study needs --data and --budget, or --from results.json.")
    names = args.configurations
    configurations = DEFAULT_CONFIGURATIONS if names is None else names.split(",")
    overrides = parse_settings(args.set)
    seeds = 1 if args.seeds is None else args.seeds
    source = parse_source(args.data, settings)
    configs = planning.plan_study(source, args.budget, configurations, seeds, overrides, settings)
    return configs, planning.default_name(source, args.budget)


def table(args: argparse.Namespace, settings: Settings) -> int:
    """Prints the comparison table."""
    comparison = compare(open_existing(settings), args.study)
    if args.csv + args.markdown + args.json > 1:
        raise BadInputError("Give only one of --csv, --markdown and --json.")
    if args.json:
        print(json.dumps(comparison.as_json(), indent=2))
    elif args.csv:
        print(tables.to_csv(comparison), end="")
    elif args.markdown:
        print(tables.to_markdown(comparison), end="")
    else:
        output.print_comparison(Console(), comparison, build_findings(comparison))
    return 0


def evaluate(args: argparse.Namespace, settings: Settings) -> int:
    """Evaluates a checkpoint again, or computes the missing metrics of a study.

    The same protocol gives the same numbers.
    """
    if (args.run_id is None) == (args.study is None):
        raise BadInputError("Give a run ID or --study ID.")
    if args.study is not None:
        return _evaluate_study(args, settings)
    if args.wait:
        raise BadInputError("--wait belongs to --study: the evaluation of a run always waits.")
    from engine.workers import reevaluate

    store = open_existing(settings)
    run = store.runs.read(args.run_id)
    checkpoint: str | Path = "best" if args.checkpoint is None else args.checkpoint
    if checkpoint not in reevaluate.ROLES:
        checkpoint = parse_path(args.checkpoint, "--checkpoint")
    with output.image_bar(stderr, f"run {run.id}") as on_progress:
        evaluation = reevaluate.evaluate_again(
            store,
            settings,
            run,
            checkpoint,
            args.split or REPORTED_SPLIT,
            args.features or "all",
            on_progress,
        )
    export_requests.renew_requests(settings, run.study_id)
    if args.json:
        values = [output.as_json(value, str(checkpoint)) for value in evaluation.evaluations]
        print(json.dumps(values, indent=2))
    else:
        output.print_evaluations(Console(), run, str(checkpoint), evaluation.evaluations)
    return 0


def _evaluate_study(args: argparse.Namespace, settings: Settings) -> int:
    """Queues a job that computes the missing metrics of a study; `--wait` shows its progress."""
    options = ("checkpoint", "split", "features")
    fixed = [f"--{option}" for option in options if getattr(args, option) is not None]
    if fixed:
        raise BadInputError(
            f"--study completes the stored evaluations; {', '.join(fixed)} cannot be chosen."
        )
    store = open_existing(settings)
    store.studies.read(args.study)
    missing = missing_metrics.find_missing_metrics(store, args.study)
    if not missing.incomplete:
        reason = "no evaluation of it lacks a metric because of missing weights"
        if not missing.n_evaluations:
            reason = "no run of it has been evaluated yet"
        _print_line(f"Nothing to compute for study {args.study}: {reason}.")
        if args.json:
            print(json.dumps({"study": args.study, "job": None, "evaluations": 0, "metrics": []}))
        return 0
    earlier_job = store.jobs.read_newest("evaluate", str(args.study))
    job = lifecycle.submit_evaluation(store, settings, args.study, utc_now())
    networks = missing_metrics.available_networks(missing, settings)
    computable = missing.limited_to(networks)
    if earlier_job is not None and earlier_job.id == job.id:
        progress = missing_metrics.describe_progress(job, computable)
        _print_line(f"The computation was started before: {progress}.")
    else:
        _print_line(
            f"{computable.sentence}. They are computed in the background; the Compare page and "
            f"`{PROGRAM} runs` show the progress."
        )
    for network in set(missing.networks) - set(networks):
        _print_line(f"{missing.limited_to([network]).sentence}: {missing_message(network)}.")
    if args.json:
        counts = {"evaluations": len(computable.incomplete), "metrics": computable.metrics}
        print(json.dumps({"study": args.study, "job": job.id, **counts}))
    return _watch_evaluation(args, store, settings, job) if args.wait else 0


def _watch_evaluation(args: argparse.Namespace, store: Store, settings: Settings, job: Job) -> int:
    """Shows the progress of an evaluation job until it has ended, then prints the comparison."""
    ended = output.watch_job(stderr, store, settings, job, f"evaluating study {args.study}")
    if ended.state != RunState.DONE:
        reason = f": {ended.reason}" if ended.reason else ""
        _print_line(f"The evaluation of study {args.study} is {ended.state}{reason}.")
    if not args.json:
        comparison = compare(store, args.study)
        output.print_comparison(Console(), comparison, build_findings(comparison))
    return 0 if ended.state == RunState.DONE else 1


def _print_line(text: str) -> None:
    """Prints one unwrapped line of plain text to stderr."""
    stderr.print(text, markup=False, highlight=False, soft_wrap=True)


def export(args: argparse.Namespace, settings: Settings) -> int:
    """Writes a study to a folder, to an MLflow server, or to both."""
    store = open_existing(settings)
    store.studies.read(args.study)
    if args.out is None and args.mlflow is None:
        raise BadInputError("Give a target: --out DIR or --mlflow URI.")
    if args.mlflow is not None:
        uri = export_requests.check_uri(args.mlflow, "--mlflow")
        _upload(store, settings, args.study, uri)
    if args.out is None:
        return 0
    from engine.report.export.writer import export_study

    folder = parse_path(args.out, "--out")
    with stderr.status("exporting") as status:
        remarks = export_study(store, settings, args.study, folder, status.update)
    for remark in remarks:
        stderr.print(remark, markup=False, soft_wrap=True)
    print(folder / "report.html")
    return 0


def _upload(store: Store, settings: Settings, study_id: int, uri: str) -> None:
    """Uploads the results of a study that the MLflow server does not have yet."""
    export_requests.require_client()
    export_requests.set_client_credentials(settings)
    new_request = export_requests.request_export(settings, study_id, uri)
    from engine.tracking import mlflow_format, uploader

    try:
        with stderr.status("uploading") as status:
            while (
                request := export_requests.load_request(new_request.path)
            ) is not None and not request.is_complete:
                try:
                    with export_requests.uploader_lock(settings).acquire(timeout=0):
                        if uploader.Uploader(store, settings, request, status.update).upload():
                            continue
                        break  # runs have not ended; the supervisor's uploader continues
                except Timeout:  # the supervisor's uploader holds the lock and uploads this study
                    if request.error:
                        raise EngineError(
                            f"{uri} did not accept the upload: {request.error}"
                        ) from None
                    time.sleep(UPLOAD_POLL_S)
    except uploader.UPLOAD_ERRORS as error:
        raise EngineError(
            f"{uri} did not accept the whole upload ({mlflow_format.first_line(error)})."
        ) from error
    print(uri)
