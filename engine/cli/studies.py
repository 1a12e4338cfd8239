"""The command `study`, and the start of a study for other commands."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from engine import annotations, weights
from engine.cli import completion, fetching, output
from engine.cli.inputs import (
    STUDY_NUMBER,
    FetchWeightsFlag,
    JsonFlag,
    SettingTexts,
    WaitFlag,
    load_settings,
    open_existing,
    open_store,
    parse_path,
    parse_whole_number,
    print_line,
    refuse_options,
    stderr,
)
from engine.cli.results import print_comparison
from engine.config import RunConfig
from engine.data.sources.registry import SOURCE_KINDS, parse_source
from engine.errors import BadInputError
from engine.jobs import lifecycle, planning
from engine.overrides import parse_settings
from engine.presets import BUDGETS, CONFIGURATIONS, default_configurations
from engine.records.runs import Run, RunState, Study
from engine.settings import Settings
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
            f"[default: {','.join(default_configurations('grey'))}; for line art "
            f"{','.join(default_configurations('sketch'))}]",
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
            help="Add configurations, seeds or epochs (--set epochs=N) to this study. The rates of "
            "a cosine schedule in the added epochs are those of N epochs.",
            **STUDY_NUMBER,
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
        refuse_options(
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
        refuse_options(
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
            default_configurations(source.source_label) if names is None else names,
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
        print_line(message)
    return _report_submission(store, settings, stored, runs, options)


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
            print_line(f"run {run.id} ({run.config.label}) {run.state}: {run.reason}")
    if not options.as_json:
        print_comparison(store, study.id)
    return 0 if all(run.state == RunState.DONE for run in ended) else 1
