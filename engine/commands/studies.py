"""The commands about studies and runs."""

import argparse
import json
import uuid
from pathlib import Path
from typing import Any

from rich.console import Console

from engine import jobs, planning, tables, terminal
from engine.changes import parse_settings
from engine.commands.inputs import open_existing, read_path, stderr
from engine.config import RunConfig
from engine.data.sources import read_source
from engine.errors import BadInputError
from engine.findings import findings
from engine.presets import DEFAULT_CONFIGURATIONS
from engine.records import Run, RunState
from engine.report import compare
from engine.settings import Settings
from engine.store import Store, is_absent, utc_now


def study(chosen: argparse.Namespace, settings: Settings) -> int:
    """Stores a study, queues its runs, and with --wait sees them through."""
    configs, name = _plan(chosen, settings)
    name = planning.check_name(name if chosen.name is None else chosen.name)
    settings.check_artifacts()
    store = Store(settings.database_url)
    stored, runs = jobs.submit(store, settings, configs, name, uuid.uuid4().hex, utc_now())
    terminal.announce(stderr, stored, configs)
    if chosen.json:
        print(json.dumps({"study": stored.id, "runs": [run.id for run in runs]}))
    if not chosen.wait:
        return 0
    ended = terminal.watch(stderr, store, settings, stored.id)
    for run in ended:
        if run.state != RunState.DONE:
            line = f"run {run.id} ({run.config.label}) {run.state}: {run.reason}"
            stderr.print(line, markup=False, soft_wrap=True)
    if not chosen.json:
        comparison = compare(store, stored.id)
        terminal.print_comparison(Console(), comparison, findings(comparison))
    return 0 if all(run.state == RunState.DONE for run in ended) else 1


def _plan(chosen: argparse.Namespace, settings: Settings) -> tuple[list[RunConfig], str]:
    """The runs that were asked for, by options or by an exported file, and the study's name."""
    if chosen.repeat is None:
        if chosen.data is None or chosen.budget is None:
            raise BadInputError("A study needs --data and --budget, or --from results.json.")
        names = (chosen.configurations or ",".join(DEFAULT_CONFIGURATIONS)).split(",")
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
        jobs.attend(store, settings, utc_now())
        if chosen.study is not None:
            store.read_study(chosen.study)
        found = store.read_runs(chosen.study)
    if chosen.json:
        print(json.dumps([_run_as_json(run) for run in found], indent=2))
    else:
        terminal.print_runs(Console(), found)
    return 0


def supervise(chosen: argparse.Namespace, settings: Settings) -> int:
    """The supervisor in the foreground."""
    from engine import supervisor

    if not supervisor.supervise(settings, chosen.drain):
        stderr.print("Another supervisor is at work already; this one leaves.")
    return 0


def cancel(chosen: argparse.Namespace, settings: Settings) -> int:
    """Stops a run."""
    state = jobs.cancel(open_existing(settings), settings, chosen.run_id, utc_now())
    print(f"run {chosen.run_id} is {state}")
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
        terminal.print_comparison(Console(), comparison, findings(comparison))
    return 0


def export(chosen: argparse.Namespace, settings: Settings) -> int:
    """Writes everything there is of a study into a folder."""
    from engine.export.folder import export_study

    store = open_existing(settings)
    store.read_study(chosen.study)
    out = read_path(chosen.out, "--out")
    with stderr.status("exporting") as status:
        remarks = export_study(store, settings, chosen.study, out, status.update)
    for remark in remarks:
        stderr.print(remark, markup=False, soft_wrap=True)
    print(out / "report.html")
    return 0


def evaluate(chosen: argparse.Namespace, settings: Settings) -> int:
    """Measures a checkpoint again: the same one under the same protocol gives the same numbers."""
    from engine import repeating

    run = open_existing(settings).read_run(chosen.run_id)
    wanted: str | Path = chosen.checkpoint
    if wanted not in repeating.ROLES:
        wanted = read_path(chosen.checkpoint, "--checkpoint")
    with terminal.picture_bar(stderr, f"run {run.id}") as advance:
        judgement = repeating.evaluate_again(
            open_existing(settings),
            settings,
            run,
            wanted,
            chosen.split,
            chosen.features,
            advance,
        )
    if chosen.json:
        found = [terminal.as_json(it, str(wanted)) for it in judgement.evaluations]
        print(json.dumps(found, indent=2))
    else:
        terminal.print_evaluations(Console(), run, str(wanted), judgement.evaluations)
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
    }
