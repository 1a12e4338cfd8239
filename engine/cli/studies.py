"""Commands about studies: study, table, evaluate, export."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from engine import annotations, weights
from engine.cli import completion, fetching, output
from engine.cli.inputs import (
    FetchWeightsFlag,
    JsonFlag,
    SettingTexts,
    StudyId,
    WaitFlag,
    load_settings,
    open_existing,
    open_store,
    parse_id,
    parse_path,
    parse_whole_number,
    stderr,
)
from engine.config import REPORTED_SPLIT, RunConfig
from engine.data.sources.registry import SOURCE_KINDS, parse_source
from engine.errors import BadInputError, EngineError
from engine.jobs import lifecycle, missing_metrics, planning
from engine.overrides import parse_settings
from engine.presets import BUDGETS, CONFIGURATIONS, DEFAULT_CONFIGURATIONS
from engine.records.runs import Job, Run, RunState, Study
from engine.report import tables
from engine.report.comparison import compare
from engine.report.findings import build_findings
from engine.settings import PROGRAM, Settings
from engine.store import Store, utc_now
from engine.system import extras
from engine.tracking import mlflow_client

app = typer.Typer()


@dataclass(frozen=True)
class SubmissionOptions:
    """Options of the commands that queue runs.

    Attributes:
        fetch_weights: whether missing feature weights are downloaded first.
        wait: whether the command shows the progress until all runs have ended.
        as_json: whether the command prints one JSON document.
    """

    fetch_weights: bool
    wait: bool
    as_json: bool


@app.command(
    epilog="""
Train and compare the default configurations on the embedded drawings:
  PROGRAM study --data openmoji --budget demo --wait
Use three seeds per configuration of study 1:
  PROGRAM study --extend 1 --seeds 3
Repeat an exported study:
  PROGRAM study --from results.json
"""
)
def study(
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help=f"Data source: {', '.join(SOURCE_KINDS)}.",
            autocompletion=lambda: ["openmoji"],
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="BUDGET",
            help=f"Budget: {', '.join(BUDGETS)}.",
            autocompletion=completion.complete_budget,
        ),
    ] = None,
    configurations: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help=f"Comma-separated list of {', '.join(CONFIGURATIONS)}.  "
            f"[default: {','.join(DEFAULT_CONFIGURATIONS)}]",
            autocompletion=completion.complete_configurations,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Number of runs per configuration.  [default: 1]",
            parser=parse_whole_number,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Name of the study.  [default: data source and budget]"),
    ] = None,
    setting_texts: SettingTexts = None,
    fetch_weights: FetchWeightsFlag = False,
    results_file: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FILE", help="Repeat the study of an exported results.json."
        ),
    ] = None,
    extended_study: Annotated[
        int | None,
        typer.Option(
            "--extend",
            metavar="STUDY",
            help="Add configurations, seeds or epochs (--set epochs=N) to this study.",
            parser=parse_id,
            autocompletion=completion.complete_study,
        ),
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Also export the runs to this MLflow server.  "
            f"[default: the variable {mlflow_client.URI_VARIABLE}]",
        ),
    ] = None,
    wait: WaitFlag = False,
    as_json: JsonFlag = False,
) -> int:
    """Starts a study, extends one, or repeats one."""
    settings = load_settings()
    options = SubmissionOptions(fetch_weights, wait, as_json)
    overrides = parse_settings(setting_texts or ())
    names = None if configurations is None else configurations.split(",")
    if extended_study is not None:
        _refuse(
            {"--data": data, "--budget": budget, "--name": name, "--from": results_file},
            "--extend keeps what the study has; {options} cannot change.",
        )
        return _extend(extended_study, names or (), seeds, overrides, settings, options)
    if mlflow is not None:
        mlflow_client.require_installed()
        settings = replace(settings, mlflow=mlflow_client.check_uri(mlflow, "--mlflow"))
    plan_settings = fetching.planning_settings(fetch_weights, settings)
    if results_file is not None:
        fixed = {"--data": data, "--budget": budget, "--configurations": configurations}
        _refuse(
            {**fixed, "--seeds": seeds, "--set": setting_texts},
            "--from repeats a study as it was; {options} cannot change it.",
        )
        path = parse_path(results_file, "--from")
        configs, default_name = planning.plan_repetition(path, plan_settings)
    elif data is None or budget is None:
        raise BadInputError("A study needs --data and --budget, or --from results.json.")
    else:
        source = parse_source(data, plan_settings)
        configs = planning.plan_study(
            source,
            budget,
            DEFAULT_CONFIGURATIONS if names is None else names,
            1 if seeds is None else seeds,
            overrides,
            plan_settings,
        )
        default_name = planning.default_name(source, budget)
    study_name = annotations.check_name(default_name if name is None else name)
    settings.check_artifacts()
    with open_store(settings) as store:
        return start(store, settings, configs, study_name, options)


def start(
    store: Store,
    settings: Settings,
    configs: Sequence[RunConfig],
    name: str,
    options: SubmissionOptions,
) -> int:
    """Submits and prints a planned study; `--wait` shows the progress until all runs have ended."""
    if options.fetch_weights:
        fetching.download_files(weights.missing_downloads(configs, settings), settings)
    stored, runs = lifecycle.submit(store, settings, configs, name, uuid.uuid4().hex, utc_now())
    if settings.mlflow is not None:
        message = f"The runs are also exported to {settings.mlflow}."
        if not mlflow_client.is_installed():
            message = (
                f"{mlflow_client.URI_VARIABLE} is set, but nothing is exported: "
                f"`{extras.install_command('mlflow')}`."
            )
        _print_line(message)
    return _report_submission(store, settings, stored, runs, options)


def _refuse(values: Mapping[str, object | None], sentence: str) -> None:
    """Raises `BadInputError` if one of the options was given.

    Args:
        values: option -> its value, or None if it was not given.
        sentence: the message with `{options}` in place of the given options.
    """
    given = [option for option, value in values.items() if value is not None]
    if given:
        raise BadInputError(sentence.format(options=", ".join(given)))


def _extend(
    study_id: int,
    configurations: Sequence[str],
    seeds: int | None,
    overrides: Mapping[str, str],
    settings: Settings,
    options: SubmissionOptions,
) -> int:
    if overrides.keys() - {"epochs"}:
        key = next(iter(overrides.keys() - {"epochs"}))
        raise BadInputError(f"--extend can set epochs, not {key}: its runs would not compare.")
    extension = planning.Extension(configurations, seeds, overrides.get("epochs"))
    with open_existing(settings) as store:
        extended = store.studies.read(study_id)
        existing_runs = store.runs.read_all(study_id)
        plan_settings = fetching.planning_settings(options.fetch_weights, settings)
        configs = planning.plan_extension(extended, existing_runs, extension, plan_settings)
        if options.fetch_weights:
            fetching.download_files(weights.missing_downloads(configs, settings), settings)
        runs = lifecycle.extend(store, settings, study_id, configs, utc_now())
        return _report_submission(store, settings, extended, runs, options)


def _report_submission(
    store: Store,
    settings: Settings,
    study: Study,
    queued: Sequence[Run],
    options: SubmissionOptions,
) -> int:
    output.print_submission(stderr, study, [run.config for run in queued])
    if options.as_json:
        print(json.dumps({"study": study.id, "runs": [run.id for run in queued]}))
    else:
        fetching.print_missing_weights([run.config for run in queued], settings)
    if not options.wait:
        return 0
    ended = output.watch(stderr, store, settings, study.id)
    for run in ended:
        if run.state != RunState.DONE:
            _print_line(f"run {run.id} ({run.config.label}) {run.state}: {run.reason}")
    if not options.as_json:
        _print_comparison(store, study.id)
    return 0 if all(run.state == RunState.DONE for run in ended) else 1


@app.command()
def table(
    study_id: StudyId,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: JsonFlag = False,
) -> int:
    """Prints the comparison table of a study."""
    if as_csv + as_markdown + as_json > 1:
        raise BadInputError("Give only one of --csv, --markdown and --json.")
    with open_existing(load_settings()) as store:
        comparison = compare(store, study_id)
    if as_json:
        print(json.dumps(comparison.as_json(), indent=2))
    elif as_csv:
        print(tables.to_csv(comparison), end="")
    elif as_markdown:
        print(tables.to_markdown(comparison), end="")
    else:
        output.print_comparison(Console(), comparison, build_findings(comparison))
    return 0


@app.command(
    epilog="""
Evaluate the last checkpoint of run 3:
  PROGRAM evaluate 3 --checkpoint last
Compute the metrics that study 1 lacks, and wait for them:
  PROGRAM evaluate --study 1 --wait
"""
)
def evaluate(
    run_id: Annotated[
        int | None,
        typer.Argument(
            metavar="RUN",
            help="Number of the run to evaluate again.",
            parser=parse_id,
            autocompletion=completion.complete_run,
        ),
    ] = None,
    study: Annotated[
        int | None,
        typer.Option(
            metavar="STUDY",
            help="Compute in the background the metrics that the evaluations of this study lack, "
            "because weights were missing; stored values never change.",
            parser=parse_id,
            autocompletion=completion.complete_study,
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            help="With --study: show progress until all metrics are computed, then print the "
            "comparison table.",
        ),
    ] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="best|last|FILE",
            help="Checkpoint to evaluate.  [default: best]",
            autocompletion=lambda: ["best", "last"],
        ),
    ] = None,
    split: Annotated[
        Literal["val", "test"] | None,
        typer.Option(help=f"Split to evaluate on.  [default: {REPORTED_SPLIT}]"),
    ] = None,
    features: Annotated[
        Literal["all", "none", "inception", "efficientnet_lite2"] | None,
        typer.Option(help="Networks whose feature distances are computed.  [default: all]"),
    ] = None,
    as_json: JsonFlag = False,
) -> int:
    """Evaluates a checkpoint again, or computes the missing metrics of a study.

    The same protocol gives the same numbers.
    """
    settings = load_settings()
    if study is not None and run_id is None:
        fixed = {"--checkpoint": checkpoint, "--split": split, "--features": features}
        _refuse(fixed, "--study completes the stored evaluations; {options} cannot be chosen.")
        with open_existing(settings) as store:
            return _evaluate_study(store, settings, study, wait, as_json)
    if run_id is None or study is not None:
        raise BadInputError("Give a run ID or --study ID.")
    if wait:
        raise BadInputError("--wait belongs to --study: the evaluation of a run always waits.")
    from engine.workers import reevaluate

    with open_existing(settings) as store:
        run = store.runs.read(run_id)
        choice: str | Path = "best" if checkpoint is None else checkpoint
        if choice not in reevaluate.ROLES:
            choice = parse_path(str(choice), "--checkpoint")
        with output.image_bar(stderr, f"run {run.id}") as on_progress:
            evaluation = reevaluate.evaluate_again(
                store,
                settings,
                run,
                choice,
                split or REPORTED_SPLIT,
                features or "all",
                on_progress,
            )
    if as_json:
        values = [output.as_json(value, str(choice)) for value in evaluation.evaluations]
        print(json.dumps(values, indent=2))
    else:
        output.print_evaluations(Console(), run, str(choice), evaluation.evaluations)
    with open_existing(settings) as store:
        lifecycle.renew_exports(store, settings, run.study_id, utc_now())
    return 0


def _evaluate_study(
    store: Store, settings: Settings, study_id: int, wait: bool, as_json: bool
) -> int:
    """Queues a job that computes the missing metrics of a study; `--wait` shows its progress."""
    store.studies.read(study_id)
    missing = missing_metrics.find_missing_metrics(store, study_id)
    if not missing.incomplete:
        reason = "no evaluation of it lacks a metric because of missing weights"
        if not missing.n_evaluations:
            reason = "no run of it has been evaluated yet"
        _print_line(f"Nothing to compute for study {study_id}: {reason}.")
        if as_json:
            print(json.dumps({"study": study_id, "job": None, "evaluations": 0, "metrics": []}))
        return 0
    earlier_job = store.jobs.read_newest("evaluate", str(study_id))
    job = lifecycle.submit_evaluation(store, settings, study_id, utc_now())
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
        reason = weights.missing_message(network)
        _print_line(f"{missing.limited_to([network]).sentence}: {reason}.")
    if as_json:
        counts = {"evaluations": len(computable.incomplete), "metrics": computable.metrics}
        print(json.dumps({"study": study_id, "job": job.id, **counts}))
    return _watch_evaluation(store, settings, study_id, job, as_json) if wait else 0


def _watch_evaluation(
    store: Store, settings: Settings, study_id: int, job: Job, as_json: bool
) -> int:
    """Shows the progress of an evaluation job until it has ended, then prints the comparison."""
    ended = output.watch_job(stderr, store, settings, job, f"evaluating study {study_id}")
    if ended.state != RunState.DONE:
        reason = f": {ended.reason}" if ended.reason else ""
        _print_line(f"The evaluation of study {study_id} is {ended.state}{reason}.")
    if not as_json:
        _print_comparison(store, study_id)
    return 0 if ended.state == RunState.DONE else 1


def _print_comparison(store: Store, study_id: int) -> None:
    comparison = compare(store, study_id)
    output.print_comparison(Console(), comparison, build_findings(comparison))


def _print_line(text: str) -> None:
    """Prints one unwrapped line of plain text to stderr."""
    stderr.print(text, markup=False, highlight=False, soft_wrap=True)


@app.command()
def export(
    study_id: StudyId,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Write CSV, figures and the report to this folder."),
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="Export to this MLflow server.")
    ] = None,
) -> int:
    """Writes a study to a folder, to an MLflow server, or to both."""
    settings = load_settings()
    with open_existing(settings) as store:
        store.studies.read(study_id)
        if out is None and mlflow is None:
            raise BadInputError("Give a target: --out DIR or --mlflow URI.")
        if mlflow is not None:
            uri = mlflow_client.check_uri(mlflow, "--mlflow")
            _upload(store, settings, study_id, uri)
        if out is None:
            return 0
        from engine.report.export.writer import export_study

        folder = parse_path(out, "--out")
        with stderr.status("exporting") as status:
            remarks = export_study(store, settings, study_id, folder, status.update)
    for remark in remarks:
        stderr.print(remark, markup=False, soft_wrap=True)
    print(folder / "report.html")
    return 0


def _upload(store: Store, settings: Settings, study_id: int, uri: str) -> None:
    """Uploads the results of a study that the MLflow server does not have yet.

    The upload is a job of the supervisor. After the end of this function, it continues with the
    runs that have not ended.

    Raises:
        EngineError: the server did not accept the whole upload.
    """
    export = lifecycle.submit_export(store, settings, study_id, uri, utc_now())
    with stderr.status("waiting for the supervisor") as status:
        ended = output.watch_export(store, settings, export, status.update)
    reason = "it was cancelled" if ended.is_cancelled else ended.error
    if reason is not None:
        raise EngineError(f"{uri} did not accept the whole upload ({reason}).")
    print(uri)
