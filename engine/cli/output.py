"""Prints tables and progress bars in the terminal."""

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
    TransferSpeedColumn,
)
from rich.table import Column, Table

from engine.cli.doctor import Check
from engine.config import RunConfig, build
from engine.errors import BadInputError
from engine.jobs import reaping
from engine.metrics.catalog import CATALOG, GROUP_TITLES
from engine.presets import BUDGETS
from engine.records.comparison import Comparison
from engine.records.exports import Export
from engine.records.runs import Evaluation, Job, Run, RunState, Study
from engine.report import tables
from engine.report.findings import Finding
from engine.settings import PROGRAM, Settings
from engine.store import Store, utc_now

POLL_INTERVAL_S = 0.5
POLLS_PER_REAP = 10
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
    """Escapes markup, so that text is printed literally."""
    return escape(text)


def check_px(size: int) -> int:
    """Returns a valid size in pixels, or raises `BadInputError`."""
    try:
        return build(type(BUDGETS["smoke"]), {**BUDGETS["smoke"].model_dump(), "px": size}).px
    except BadInputError as error:
        raise BadInputError(str(error).replace("px ", "--size ", 1)) from error


def print_submission(console: Console, study: Study, configs: Sequence[RunConfig]) -> None:
    """Prints a submitted study: number of runs, recipes, and the feature networks they use."""
    runs = f"{len(configs)} run{'s' if len(configs) != 1 else ''}"
    heading = f"Study {study.id} “{study.name}”: {runs} queued."
    console.print(heading, markup=False, highlight=False, soft_wrap=True)
    by_name = {config.configuration.name: config for config in reversed(configs)}
    for name in dict.fromkeys(config.configuration.name for config in configs):
        config = by_name[name]
        line = f"  {name}: {config.configuration.recipe}"
        if config.configuration.recipe.needs_features:
            line += f" (features: {config.execution.perceptual_features})"
        if config.budget.has_encoder:
            line += f" (encoder weights: {config.execution.encoder_weights})"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def watch(console: Console, store: Store, settings: Settings, study_id: int) -> list[Run]:
    """Shows a progress bar per run until all runs of a study have ended, and returns the runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[activity]}"),
    )
    with Progress(*columns, console=console) as progress:
        bars: dict[int, TaskID] = {}
        for n_polls in itertools.count():
            if n_polls % POLLS_PER_REAP == 0:
                reaping.reap_if_unsupervised(store, settings, utc_now())
            runs = store.runs.read_all(study_id)
            for run in runs:
                if run.id not in bars:
                    bars[run.id] = progress.add_task(
                        run.config.label, total=None, activity="", start=False
                    )
                _show(progress, bars[run.id], run)
            if all(run.is_over for run in runs):
                return runs
            time.sleep(POLL_INTERVAL_S)
    raise AssertionError("itertools.count never ends")


def watch_job(console: Console, store: Store, settings: Settings, job: Job, label: str) -> Job:
    """Shows a progress bar until a job has ended, and returns the ended job."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        bar = progress.add_task(label, total=1.0)
        for n_polls in itertools.count():
            if n_polls % POLLS_PER_REAP == 0:
                reaping.reap_if_unsupervised(store, settings, utc_now())
            job = store.jobs.read(job.id)
            is_waiting = job.state == RunState.QUEUED
            description = f"{label}, waiting for a free training slot" if is_waiting else label
            progress.update(bar, completed=job.progress, description=description)
            if job.state.is_finished():
                return job
            time.sleep(POLL_INTERVAL_S)
    raise AssertionError("itertools.count never ends")


def watch_export(
    store: Store, settings: Settings, export: Export, on_phase: Callable[[str], None]
) -> Export:
    """Waits until an export has been uploaded, has failed or was cancelled; returns it.

    Args:
        store: the store with the export.
        settings: the settings of the installation.
        export: the export as it was requested.
        on_phase: called with a description of what is uploaded.
    """
    newest: Export | None = export
    for n_polls in itertools.count():
        if n_polls % POLLS_PER_REAP == 0:
            reaping.reap_if_unsupervised(store, settings, utc_now())
        newest = store.exports.read(export.id)
        if newest is None:
            raise BadInputError(f"Study {export.study_id} was deleted during its export.")
        is_uploaded = newest.uploaded_request >= export.request
        if is_uploaded or newest.error is not None or newest.is_cancelled:
            return newest
        if newest.phase is not None:
            on_phase(f"uploading {newest.phase}")
        time.sleep(POLL_INTERVAL_S)
    raise AssertionError("itertools.count never ends")


def _show(progress: Progress, bar: TaskID, run: Run) -> None:
    activity = str(run.state)
    if run.state == RunState.RUNNING:
        activity = f"{run.phase or ''}, epoch {run.epoch}/{run.epochs}"
        if run.steps:
            progress.start_task(bar)
    progress.update(bar, completed=run.step, total=run.steps or None, activity=activity)
    if run.state.is_finished():
        progress.stop_task(bar)


def print_runs(console: Console, runs: Sequence[Run]) -> None:
    """Prints runs as a table."""
    if not runs:
        console.print(f"No runs yet. Start some: `{PROGRAM} study --data openmoji --budget demo`.")
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
        remark = "; will be retried automatically" if run.will_retry else ""
        table.add_row(*cells, plain((run.reason or "") + remark))
    console.print(table)


def print_comparison(console: Console, comparison: Comparison, findings: Sequence[Finding]) -> None:
    """Prints the comparison, one table per group of metrics, then the findings."""
    study = comparison.study
    heading = f"{study.name}: {study.data}, budget {study.budget.name}, test split"
    console.print(plain(heading), style="bold", highlight=False)
    for group in tables.TABLE_GROUPS:
        names = tables.shown_metrics(comparison, group)
        available = tables.with_any_value(comparison, names)
        if available:
            console.print()
            console.print(_group_table(comparison, GROUP_TITLES[group], available))
        for labels, reason in tables.grouped_reasons(comparison, names):
            line = f"{labels}: {plain(reason)}."
            console.print(line, style="dim", highlight=False, soft_wrap=True)
    console.print()
    for row in comparison.rows:
        line = f"{row.configuration}: {tables.row_caption(row)}."
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
        table.add_column(tables.column_heading(CATALOG[name], comparison), justify="right")
    for row in comparison.rows:
        cells = []
        for name in names:
            cell = row.cells[name]
            text = tables.cell_text(comparison, name, cell)
            cells.append(f"[dim]{text}[/]" if cell.incomparable else text)
        table.add_row(row.configuration, *cells)
    return table


def print_evaluations(
    console: Console, run: Run, checkpoint: str, evaluations: Sequence[Evaluation]
) -> None:
    """Prints the evaluation of a checkpoint, one metric per row.

    Args:
        console: the terminal.
        run: the run whose protocol was used.
        checkpoint: `best`, `last` or the given file.
        evaluations: at least one value.
    """
    first = evaluations[0]
    title = f"{checkpoint} checkpoint of run {run.id} ({run.config.label})"
    if checkpoint not in ("best", "last"):
        title = f"{checkpoint}, evaluated like run {run.id} ({run.config.label})"
    title += f", epoch {first.epoch}, {first.split} split"
    table = Table(title=plain(title), title_justify="left", box=None, header_style="bold")
    for heading in ("metric", "value", "95 % interval", "pictures", "remark"):
        table.add_column(heading)
    for evaluation in evaluations:
        metric = CATALOG[evaluation.name]
        interval = ""
        if evaluation.low is not None and evaluation.high is not None:
            interval = f"{metric.format(evaluation.low)} to {metric.format(evaluation.high)}"
        remark = plain(evaluation.missing or evaluation.note or "")
        n_pictures = str(evaluation.n_pictures) if evaluation.n_pictures else ""
        value = metric.format(evaluation.value)
        table.add_row(metric.heading, value, interval, n_pictures, remark)
    console.print(table)


def as_json(evaluation: Evaluation, checkpoint: str) -> dict[str, Any]:
    """Returns an evaluation in the format of `evaluate --json`, without the values on halves."""
    fields = {key: value for key, value in vars(evaluation).items() if key != "halves"}
    return {**fields, "checkpoint": checkpoint, "protocol": dict(evaluation.protocol)}


@contextmanager
def image_bar(console: Console, label: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a progress bar of images; yields a callback that takes (done, total)."""
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


def print_weights(console: Console, descriptions: Sequence[dict[str, Any]]) -> None:
    """Prints feature weights as a table, with the command that installs missing weights."""
    table = Table(box=None, header_style="bold")
    for heading in ("weights", "state", "used for", "sha256", "path, or how to get them"):
        table.add_column(heading, overflow="fold")
    for entry in descriptions:
        state = f"[{'green' if entry['path'] else 'yellow'}]{entry['state']}[/]"
        path = entry["path"] or entry["way_out"]
        digest = str(entry["sha256"])[:8]
        table.add_row(entry["name"], state, entry["purpose"], digest, plain(path))
    console.print(table)


def print_checks(console: Console, checks: Sequence[Check]) -> None:
    """Prints the results of `doctor`."""
    signs = {"good": "[green]✓[/]", "missing": "[yellow]-[/]", "broken": "[red]✗[/]"}
    table = Table(Column(), Column(), Column(overflow="fold"), box=None, show_header=False)
    for check in checks:
        fix = f"\n[dim]{plain(check.fix)}[/]" if check.fix else ""
        table.add_row(signs[check.state], check.subject, plain(check.detail) + fix)
    console.print(table)


@contextmanager
def download_bar(console: Console, name: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a progress bar of a download; yields a callback that takes (done, total) in bytes."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task(f"downloading {name}", total=None)

        def on_progress(done: int, total: int) -> None:
            if progress.tasks[0].total is None:
                # The part that an earlier download left does not count for the speed.
                progress.reset(bar, completed=done, total=total)
            progress.update(bar, completed=done)

        yield on_progress
