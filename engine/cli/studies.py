"""The commands about studies and runs."""

import argparse
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import Timeout
from rich.console import Console

from engine import annotations
from engine.cli import output
from engine.cli.inputs import open_existing, read_path, stderr
from engine.config import RunConfig
from engine.data.sources.registry import read_source
from engine.errors import BadInputError, EngineError
from engine.jobs import lifecycle, planning
from engine.overrides import parse_settings
from engine.presets import DEFAULT_CONFIGURATIONS
from engine.records.runs import Run, RunState, Study
from engine.report import tables
from engine.report.comparison import compare
from engine.report.findings import findings
from engine.settings import Settings
from engine.store import Store, is_absent, utc_now
from engine.tracking import export_requests

LOOK_EVERY_S = 0.5  # how far somebody else is with sending


def study(chosen: argparse.Namespace, settings: Settings) -> int:
    """Stores a study, queues its runs, and with --wait sees them through."""
    if chosen.extend is not None:
        return _extend(chosen, settings)
    if chosen.mlflow is not None:
        export_requests.require_client()
        settings = replace(settings, mlflow=export_requests.check_uri(chosen.mlflow, "--mlflow"))
    configs, name = _plan(chosen, settings)
    name = annotations.check_name(name if chosen.name is None else chosen.name)
    settings.check_artifacts()
    return start(Store(settings.database_url), settings, configs, name, chosen)


def start(
    store: Store,
    settings: Settings,
    configs: Sequence[RunConfig],
    name: str,
    chosen: argparse.Namespace,
) -> int:
    """Submits a planned study, says so, and with --wait sees it through."""
    stored, runs = lifecycle.submit(store, settings, configs, name, uuid.uuid4().hex, utc_now())
    if settings.mlflow is not None:
        where = f"Recorded on {settings.mlflow} too."
        if not export_requests.is_installed():
            where = (
                f"{export_requests.VARIABLE} is set, but nothing is recorded there: "
                f"{export_requests.INSTALL}."
            )
        stderr.print(where, markup=False, highlight=False, soft_wrap=True)
    return _see_through(store, settings, stored, runs, chosen)


def _extend(chosen: argparse.Namespace, settings: Settings) -> int:
    """Adds configurations, seeds or epochs to a study that there is."""
    taken = [f"--{it}" for it in ("data", "budget", "name") if getattr(chosen, it) is not None]
    taken += ["--from"] if chosen.repeat is not None else []
    if taken:
        raise BadInputError(f"--extend keeps what the study has; {', '.join(taken)} cannot change.")
    changes = parse_settings(chosen.set)
    if changes.keys() - {"epochs"}:
        wrong = next(iter(changes.keys() - {"epochs"}))
        raise BadInputError(f"--extend can set epochs, not {wrong}: its runs would not compare.")
    store = open_existing(settings)
    extended = store.read_study(chosen.extend)
    wanted = planning.Extension(
        configurations=() if chosen.configurations is None else chosen.configurations.split(","),
        seeds=chosen.seeds,
        epochs=changes.get("epochs"),
    )
    configs = planning.plan_extension(extended, store.read_runs(extended.id), wanted, settings)
    runs = lifecycle.extend(store, settings, extended.id, configs, utc_now())
    return _see_through(store, settings, extended, runs, chosen)


def _see_through(
    store: Store,
    settings: Settings,
    study: Study,
    queued: Sequence[Run],
    chosen: argparse.Namespace,
) -> int:
    output.announce(stderr, study, [run.config for run in queued])
    if chosen.json:
        print(json.dumps({"study": study.id, "runs": [run.id for run in queued]}))
    if not chosen.wait:
        return 0
    ended = output.watch(stderr, store, settings, study.id)
    for run in ended:
        if run.state != RunState.DONE:
            line = f"run {run.id} ({run.config.label}) {run.state}: {run.reason}"
            stderr.print(line, markup=False, soft_wrap=True)
    if not chosen.json:
        comparison = compare(store, study.id)
        output.print_comparison(Console(), comparison, findings(comparison))
    return 0 if all(run.state == RunState.DONE for run in ended) else 1


def _plan(chosen: argparse.Namespace, settings: Settings) -> tuple[list[RunConfig], str]:
    """The runs that were asked for, by options or by an exported file, and the study's name."""
    if chosen.repeat is None:
        if chosen.data is None or chosen.budget is None:
            raise BadInputError("A study needs --data and --budget, or --from results.json.")
        asked = chosen.configurations
        names = DEFAULT_CONFIGURATIONS if asked is None else asked.split(",")
        changes = parse_settings(chosen.set)
        seeds = 1 if chosen.seeds is None else chosen.seeds
        source = read_source(chosen.data, settings)
        configs = planning.plan_study(source, chosen.budget, names, seeds, changes, settings)
        return configs, planning.default_name(source, chosen.budget)
    options = ("data", "budget", "configurations", "seeds")
    also = [f"--{name}" for name in options if getattr(chosen, name) is not None]
    if also or chosen.set:
        raise BadInputError(
            f"--from repeats a study as it was; {', '.join(also or ['--set'])} cannot change it."
        )
    return planning.plan_repetition(read_path(chosen.repeat, "--from"), settings)


def runs(chosen: argparse.Namespace, settings: Settings) -> int:
    """Lists runs with their states."""
    found: list[Run] = []
    if chosen.study is not None or not is_absent(settings.database_url):
        store = open_existing(settings)
        lifecycle.attend(store, settings, utc_now())
        if chosen.study is not None:
            store.read_study(chosen.study)
        away = {it.id for it in store.read_studies() if it.archived_at} - {chosen.study}
        found = [
            run
            for run in store.read_runs(chosen.study)
            if chosen.all or (run.archived_at is None and run.study_id not in away)
        ]
    if chosen.json:
        print(json.dumps([_run_as_json(run) for run in found], indent=2))
    else:
        output.print_runs(Console(), found)
    return 0


def supervise(chosen: argparse.Namespace, settings: Settings) -> int:
    """The supervisor in the foreground."""
    from engine.jobs import supervisor

    if chosen.drain and chosen.stay:
        raise BadInputError("--drain leaves and --stay stays: one of them.")
    if not supervisor.supervise(settings, chosen.drain, chosen.stay):
        stderr.print("Another supervisor is at work already; this one leaves.")
    return 0


def table(chosen: argparse.Namespace, settings: Settings) -> int:
    """The comparison table."""
    comparison = compare(open_existing(settings), chosen.study)
    if chosen.csv + chosen.markdown + chosen.json > 1:
        raise BadInputError("One of --csv, --markdown and --json at a time.")
    if chosen.json:
        print(json.dumps(comparison.as_json(), indent=2))
    elif chosen.csv:
        print(tables.to_csv(comparison), end="")
    elif chosen.markdown:
        print(tables.to_markdown(comparison), end="")
    else:
        output.print_comparison(Console(), comparison, findings(comparison))
    return 0


def export(chosen: argparse.Namespace, settings: Settings) -> int:
    """Writes everything there is of a study into a folder, or to an MLflow server, or both."""
    store = open_existing(settings)
    store.read_study(chosen.study)
    if chosen.out is None and chosen.mlflow is None:
        raise BadInputError("Say where to: --out DIR, or --mlflow URI.")
    if chosen.mlflow is not None:
        _send(store, settings, chosen.study, export_requests.check_uri(chosen.mlflow, "--mlflow"))
    if chosen.out is None:
        return 0
    from engine.report.export.writer import export_study

    out = read_path(chosen.out, "--out")
    with stderr.status("exporting") as status:
        remarks = export_study(store, settings, chosen.study, out, status.update)
    for remark in remarks:
        stderr.print(remark, markup=False, soft_wrap=True)
    print(out / "report.html")
    return 0


def _send(store: Store, settings: Settings, study_id: int, uri: str) -> None:
    """Brings an MLflow server up to what there is of a study; what it has is not sent again."""
    export_requests.require_client()
    export_requests.take_credentials()
    wanted = export_requests.ask(settings, study_id, uri)
    from engine.tracking import mlflow_format, uploader

    try:
        with stderr.status("sending") as status:
            while (
                known := export_requests.read_one(wanted.path)
            ) is not None and not known.is_over:
                try:
                    with export_requests.mirror_lock(settings).acquire(timeout=0):
                        if uploader.Sender(store, settings, known, status.update).send():
                            continue
                        break  # its runs go on, and so does whoever sends them
                except Timeout:  # a process sends already, and takes this study along
                    if known.trouble:
                        raise EngineError(f"{uri} does not take it: {known.trouble}") from None
                    time.sleep(LOOK_EVERY_S)
    except uploader.TROUBLES as error:
        raise EngineError(
            f"{uri} did not take all of it ({mlflow_format.fault(error)})."
        ) from error
    print(uri)


def evaluate(chosen: argparse.Namespace, settings: Settings) -> int:
    """Measures a checkpoint again: the same one under the same protocol gives the same numbers."""
    from engine.workers import reevaluate

    run = open_existing(settings).read_run(chosen.run_id)
    wanted: str | Path = chosen.checkpoint
    if wanted not in reevaluate.ROLES:
        wanted = read_path(chosen.checkpoint, "--checkpoint")
    with output.picture_bar(stderr, f"run {run.id}") as advance:
        judgement = reevaluate.evaluate_again(
            open_existing(settings),
            settings,
            run,
            wanted,
            chosen.split,
            chosen.features,
            advance,
        )
    export_requests.wake(settings, run.study_id)
    if chosen.json:
        found = [output.as_json(it, str(wanted)) for it in judgement.evaluations]
        print(json.dumps(found, indent=2))
    else:
        output.print_evaluations(Console(), run, str(wanted), judgement.evaluations)
    return 0


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
