"""Commands about the results of a study: table, evaluate, export."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from engine import weights
from engine.cli import output
from engine.cli.inputs import (
    RUN_NUMBER,
    STUDY_NUMBER,
    JsonFlag,
    StudyId,
    load_settings,
    open_existing,
    parse_path,
    print_line,
    refuse_options,
    stderr,
)
from engine.config import REPORTED_SPLIT
from engine.errors import BadInputError, EngineError
from engine.jobs import lifecycle, missing_metrics
from engine.options.decodings import RULES
from engine.records.runs import Job, RunState
from engine.report import tables
from engine.report.comparison import compare
from engine.report.findings import build_findings
from engine.settings import PROGRAM, Settings
from engine.store import Store, utc_now
from engine.tracking import mlflow_client

app = typer.Typer()


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
Read other colours from the palette of run 4, and keep them:
  PROGRAM evaluate 4 --decoding median:4+flat
Compute the metrics that study 1 lacks, and wait for them:
  PROGRAM evaluate --study 1 --wait
"""
)
def evaluate(
    run_id: Annotated[
        int | None,
        typer.Argument(help="Number of the run to evaluate again.", **RUN_NUMBER),
    ] = None,
    study: Annotated[
        int | None,
        typer.Option(
            help="Compute in the background the metrics that the evaluations of this study lack, "
            "because weights were missing; stored values never change.",
            **STUDY_NUMBER,
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
    decoding: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="How pictures are read from the palette of the run, for example median:4+flat. "
            "With the best checkpoint and the test split, the results replace the stored ones, and "
            "the model is used with these colours from now on.  [default: as the run does]",
            autocompletion=lambda: list(RULES),
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> int:
    """Evaluates a checkpoint again, or computes the missing metrics of a study.

    The same protocol gives the same numbers.
    """
    settings = load_settings()
    if study is not None and run_id is None:
        fixed = {
            "--checkpoint": checkpoint,
            "--split": split,
            "--features": features,
            "--decoding": decoding,
        }
        refuse_options(
            fixed, "--study completes the stored evaluations; {options} cannot be chosen."
        )
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
                decoding,
            )
    if evaluation.is_new_decoding:
        effect = "stored, and used from now on" if evaluation.is_stored else "not stored"
        print_line(f"Run {run.id} decoded as {evaluation.decoding}: {effect}.")
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
        print_line(f"Nothing to compute for study {study_id}: {reason}.")
        if as_json:
            print(json.dumps({"study": study_id, "job": None, "evaluations": 0, "metrics": []}))
        return 0
    earlier_job = store.jobs.read_newest("evaluate", str(study_id))
    job = lifecycle.submit_evaluation(store, settings, study_id, utc_now())
    networks = missing_metrics.available_networks(missing, settings)
    computable = missing.limited_to(networks)
    if earlier_job is not None and earlier_job.id == job.id:
        progress = missing_metrics.describe_progress(job, computable)
        print_line(f"The computation was started before: {progress}.")
    else:
        print_line(
            f"{computable.sentence}. They are computed in the background; the Compare page and "
            f"`{PROGRAM} runs` show the progress."
        )
    for network in set(missing.networks) - set(networks):
        reason = weights.missing_message(network)
        print_line(f"{missing.limited_to([network]).sentence}: {reason}.")
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
        print_line(f"The evaluation of study {study_id} is {ended.state}{reason}.")
    if not as_json:
        print_comparison(store, study_id)
    return 0 if ended.state == RunState.DONE else 1


def print_comparison(store: Store, study_id: int) -> None:
    """Prints the comparison table and the findings of a study."""
    comparison = compare(store, study_id)
    output.print_comparison(Console(), comparison, build_findings(comparison))


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
