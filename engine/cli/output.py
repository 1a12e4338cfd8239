"""What the commands print: tables, progress bars, announcements. No decisions."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from engine.cli.doctor import Finding as Symptom
from engine.config import RunConfig, build
from engine.errors import BadInputError
from engine.jobs import lifecycle
from engine.metrics.catalog import CATALOG, GROUPS
from engine.presets import BUDGETS
from engine.records.comparison import Comparison
from engine.records.runs import Evaluation, Run, RunState, Study
from engine.report import tables
from engine.report.findings import Finding
from engine.settings import Settings
from engine.store import Store, utc_now

LOOK_EVERY_S = 0.5
ATTEND_EVERY = 10  # looks between asking whether a supervisor lives
STATE_STYLES = {
    RunState.DONE: "green",
    RunState.RUNNING: "cyan",
    RunState.STOPPING: "yellow",
    RunState.STOPPED: "yellow",
    RunState.FAILED: "red",
    RunState.CRASHED: "red",
    RunState.DIVERGED: "red",
}


def plain(text: str) -> str:
    """Text in which nothing is taken for markup."""
    return escape(text)


def check_px(size: int) -> int:
    """A picture size that the networks take, or `BadInputError`."""
    try:
        return build(type(BUDGETS["smoke"]), {**BUDGETS["smoke"].model_dump(), "px": size}).px
    except BadInputError as error:
        raise BadInputError(str(error).replace("px ", "--size ", 1)) from error


def announce(console: Console, study: Study, configs: Sequence[RunConfig]) -> None:
    """Says what was started, and which feature network will be used."""
    runs = f"{len(configs)} run{'s' if len(configs) != 1 else ''}"
    heading = f"Study {study.id} “{study.name}”: {runs} queued."
    console.print(heading, markup=False, highlight=False, soft_wrap=True)
    shown = set()
    for config in configs:
        if config.configuration.name in shown:
            continue
        shown.add(config.configuration.name)
        line = f"  {config.configuration.name}: {config.configuration.recipe}"
        if "perceptual" in config.configuration.recipe.names:
            line += f" (features: {config.execution.perceptual_features})"
        if config.budget.generator == "resnet18_unet":
            line += f" (encoder weights: {config.execution.encoder_weights})"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def watch(console: Console, store: Store, settings: Settings, study_id: int) -> list[Run]:
    """Shows a progress bar for each run until all have ended; returns them."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[doing]}"),
    )
    with Progress(*columns, console=console) as progress:
        bars: dict[int, TaskID] = {}
        for look in itertools.count():
            if look % ATTEND_EVERY == 0:
                lifecycle.attend(store, settings, utc_now())
            runs = store.read_runs(study_id)
            for run in runs:
                if run.id not in bars:
                    bars[run.id] = progress.add_task(
                        run.config.label, total=None, doing="", start=False
                    )
                _show(progress, bars[run.id], run)
            if all(run.is_over for run in runs):
                return runs
            time.sleep(LOOK_EVERY_S)
    raise AssertionError("counting never ends")


def _show(progress: Progress, bar: TaskID, run: Run) -> None:
    doing = str(run.state)
    if run.state == RunState.RUNNING:
        doing = f"{run.phase or ''}, epoch {run.epoch}/{run.epochs}"
        if run.steps:
            progress.start_task(bar)
    progress.update(bar, completed=run.step, total=run.steps or None, doing=doing)
    if run.state.is_finished():
        progress.stop_task(bar)


def print_runs(console: Console, runs: Sequence[Run]) -> None:
    """Runs as a table."""
    if not runs:
        console.print("No runs yet. `python -m engine study --data openmoji --budget demo` starts.")
        return
    table = Table(box=None, header_style="bold")
    for heading in ("run", "study", "configuration", "seed", "state", "epoch", "reason"):
        table.add_column(heading)
    for run in runs:
        style = STATE_STYLES.get(run.state, "")
        state = f"[{style}]{run.state}[/]" if style else str(run.state)
        epoch = f"{run.epoch}/{run.epochs}"
        state += ", archived" if run.archived_at is not None else ""
        cells = [str(run.id), str(run.study_id), run.configuration, str(run.seed), state, epoch]
        more = "; goes on by itself" if run.will_retry else ""
        table.add_row(*cells, plain((run.reason or "") + more))
    console.print(table)


def print_comparison(console: Console, comparison: Comparison, findings: Sequence[Finding]) -> None:
    """The comparison: a table for each group of metrics, a row per configuration; then findings."""
    study = comparison.study
    heading = f"{study.name}: {study.data}, budget {study.budget.name}, test split"
    console.print(plain(heading), style="bold", highlight=False)
    for group in tables.SHOWN:
        names = tables.shown_metrics(comparison, group)
        known = tables.with_values(comparison, names)
        if known:
            console.print()
            console.print(_group_table(comparison, GROUPS[group], known))
        for labels, why in tables.remarks(comparison, names):
            line = f"{labels}: {plain(why)}."
            console.print(line, style="dim", highlight=False, soft_wrap=True)
    console.print()
    for row in comparison.rows:
        line = f"{row.configuration}: {tables.about_row(row)}."
        console.print(line, style="dim", highlight=False)
    for note in comparison.notes:
        console.print(plain(note), style="dim", highlight=False)
    if findings:
        console.print("\nFindings", style="bold")
    for finding in findings:
        console.print(f"• {plain(finding.text)}", highlight=False)


def _group_table(comparison: Comparison, title: str, names: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(tables.heading(CATALOG[name], comparison), justify="right")
    for row in comparison.rows:
        cells = []
        for name in names:
            cell = row.cells[name]
            text = tables.plain_cell(comparison, name, cell)
            cells.append(f"[dim]{text}[/]" if cell.incomparable else text)
        table.add_row(row.configuration, *cells)
    return table


def print_evaluations(
    console: Console, run: Run, checkpoint: str, evaluations: Sequence[Evaluation]
) -> None:
    """What a checkpoint was found worth, a metric in a row.

    Args:
        console: where to.
        run: whose protocol it was judged by.
        checkpoint: `best`, `last` or the file that was asked for.
        evaluations: at least one.
    """
    first = evaluations[0]
    title = f"{checkpoint} checkpoint of run {run.id} ({run.config.label})"
    if checkpoint not in ("best", "last"):
        title = f"{checkpoint}, judged as run {run.id} ({run.config.label})"
    title += f", epoch {first.epoch}, {first.split} split"
    table = Table(title=plain(title), title_justify="left", box=None, header_style="bold")
    for heading in ("metric", "value", "95 % interval", "pictures", "remark"):
        table.add_column(heading)
    for it in evaluations:
        metric = CATALOG[it.name]
        interval = ""
        if it.low is not None and it.high is not None:
            interval = f"{metric.format(it.low)} to {metric.format(it.high)}"
        remark = plain(it.missing or it.note or "")
        n_pictures = str(it.n_pictures) if it.n_pictures else ""
        table.add_row(metric.heading, metric.format(it.value), interval, n_pictures, remark)
    console.print(table)


def as_json(evaluation: Evaluation, checkpoint: str) -> dict[str, Any]:
    """An evaluation for programs: everything but the halves of the pictures."""
    found = {key: value for key, value in vars(evaluation).items() if key != "halves"}
    return {**found, "checkpoint": checkpoint, "protocol": dict(evaluation.protocol)}


@contextmanager
def picture_bar(console: Console, label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar of pictures; yields what is told how many are done and how many there are."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        bar = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def print_weights(console: Console, found: Sequence[dict[str, Any]]) -> None:
    """Feature weights as a table, with the way to those that are missing."""
    table = Table(box=None, header_style="bold")
    for heading in ("weights", "here", "for", "sha256", "where, or how to get them"):
        table.add_column(heading, overflow="fold")
    for entry in found:
        here = "[green]yes[/]" if entry["path"] else "[yellow]no[/]"
        where = entry["path"] or entry["way_out"]
        digest = str(entry["sha256"])[:8]
        table.add_row(entry["name"], here, entry["purpose"], digest, plain(where))
    console.print(table)


def print_findings(console: Console, findings: Sequence[Symptom]) -> None:
    """What the doctor found."""
    signs = {"good": "[green]✓[/]", "missing": "[yellow]-[/]", "broken": "[red]✗[/]"}
    table = Table(box=None, show_header=False)
    for finding in findings:
        way_out = f"\n[dim]{plain(finding.way_out)}[/]" if finding.way_out else ""
        table.add_row(signs[finding.state], finding.about, plain(finding.found) + way_out)
    console.print(table)


@contextmanager
def download_bar(console: Console, name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar for a download; yields what advances it."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        console=console,
        transient=True,
    ) as progress:
        bar = progress.add_task(f"fetching {name}", total=None)

        def advance(done: int, total: int | None) -> None:
            progress.update(bar, completed=done, total=total)

        yield advance
