"""Formats the comparison as CSV, Markdown and HTML. Torch-free.

The Compare page and the exported report contain the same HTML, so that their numbers are equal.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.config import REPORTED_SPLIT
from engine.metrics.catalog import CATALOG, GROUP_TITLES, Group, Metric
from engine.records.comparison import Cell, Comparison, Row
from engine.report import theme
from engine.report.rendering import render

TABLE_GROUPS: tuple[Group, ...] = ("distance", "pixel", "colour", "adversary", "cost")
# Metric -> the different name under which study 1 published the metric.
STUDY_1_NAMES = {
    "d_real_accuracy": "real_accuracy",
    "d_fake_accuracy": "fake_accuracy",
    "d_accuracy": "overall_accuracy",
}
TEMPLATE = Path(__file__).parent / "templates" / "tables.html.jinja"
CSV_SUFFIXES = ("", "_low", "_high", "_rank", "_last", "_n_pictures", "_missing", "_mark")
HIDDEN_IN_PROTOCOL = ("data_fingerprint",)  # hidden, because the protocol also names the data


def shown_metrics(comparison: Comparison, group: Group) -> list[str]:
    """Returns the metrics of a group that the comparison contains."""
    return [name for name in comparison.metrics if CATALOG[name].group == group]


def to_csv(comparison: Comparison) -> str:
    """Formats a row per configuration: the columns of `CSV_SUFFIXES` per metric, then the costs."""
    names = [name for name in comparison.metrics if CATALOG[name].group != "cost"]
    costs = [name for name in comparison.metrics if CATALOG[name].group == "cost"]
    heads = [
        f"{STUDY_1_NAMES.get(name, name)}{suffix}" for name in names for suffix in CSV_SUFFIXES
    ]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["study", "configuration", "seeds", "split", "interval_over", "best_epoch", *heads, *costs]
    )
    study = escape_formula(comparison.study.name)
    for row in comparison.rows:
        values: list[object] = []
        for cell in (row.cells[name] for name in names):
            values += [cell.value, cell.low, cell.high, cell.rank, cell.last, cell.n_pictures]
            values += [escape_formula(cell.missing), escape_formula(cell.incomparable or cell.mark)]
        values += [row.cells[name].value for name in costs]
        epochs = ";".join(map(str, chosen_epochs(row).values()))
        fixed = [study, row.configuration, row.seeds, REPORTED_SPLIT, comparison.unit, epochs]
        writer.writerow([*fixed, *values])
    return buffer.getvalue()


def escape_formula(value: object) -> object:
    """Adds an apostrophe before text that a spreadsheet would run as a formula.

    Other text, numbers and None are returned unchanged.
    """
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if is_formula else value


def chosen_epochs(row: Row) -> dict[int, int]:
    """Returns seed -> epoch of the chosen checkpoint, sorted by seed."""
    epochs = {seed: epoch for cell in row.cells.values() for seed, epoch in cell.epochs.items()}
    return dict(sorted(epochs.items()))


def row_caption(row: Row) -> str:
    """Formats the number of seeds and the chosen epochs of a row: `2 seeds of 3, epoch 5`."""
    caption = f"{row.seeds} seed{'s' if row.seeds != 1 else ''}"
    if row.seeds < row.runs:
        caption += f" of {row.runs}"
    epochs = sorted(set(chosen_epochs(row).values()))
    if not epochs:
        return caption
    span = f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]} to {epochs[-1]}"
    return f"{caption}, {span}"


def rank_label(comparison: Comparison, name: str, cell: Cell) -> str:
    """Formats a rank as `#1`, or a shared rank as `=2`; "" without ranks or if all are equal."""
    if cell.rank is None:
        return ""
    ranks = [row.cells[name].rank for row in comparison.rows]
    ranks = [rank for rank in ranks if rank is not None]
    if len(ranks) > 1 and set(ranks) == {1}:
        return ""
    return f"{'=' if ranks.count(cell.rank) > 1 else '#'}{cell.rank}"


def cell_text(comparison: Comparison, name: str, cell: Cell) -> str:
    """Formats a cell as short text: `17.08 ± 0.36 #1`."""
    metric = CATALOG[name]
    half_width = "" if cell.half_width is None else f"± {metric.format(cell.half_width)}"
    parts = (metric.format(cell.value), half_width, rank_label(comparison, name, cell))
    return " ".join(filter(None, parts))


def column_heading(metric: Metric, comparison: Comparison) -> str:
    """Returns the metric's heading, with the value of the targets if available."""
    reference = _target_value(metric, comparison)
    return metric.heading + (f" (targets {reference})" if reference else "")


def reasons_by_metric(comparison: Comparison, names: Sequence[str]) -> dict[str, str]:
    """Returns metric -> reasons why values are missing or need care.

    Metrics without a reason are left out. A reason that does not hold for all configurations
    begins with the names of the configurations for which it holds.
    """
    by_metric = {}
    for name in names:
        configurations: dict[str, list[str]] = {}
        for row in comparison.rows:
            cell = row.cells[name]
            reasons = cell.missing or cell.incomparable or cell.mark
            for reason in reasons.split("; ") if reasons else ():
                configurations.setdefault(reason, []).append(row.configuration)
        texts = [
            reason if len(sharing) == len(comparison.rows) else f"{', '.join(sharing)}: {reason}"
            for reason, sharing in configurations.items()
        ]
        if texts:
            by_metric[name] = "; ".join(texts)
    return by_metric


def grouped_reasons(comparison: Comparison, names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns (labels of the metrics, reasons); metrics with equal reasons share an entry."""
    labels: dict[str, list[str]] = {}
    for name, reason in reasons_by_metric(comparison, names).items():
        labels.setdefault(reason, []).append(CATALOG[name].label)
    return [(", ".join(sharing), reason) for reason, sharing in labels.items()]


def with_any_value(comparison: Comparison, names: Sequence[str]) -> list[str]:
    """Returns the metrics with a value in any row, and always FID."""
    return [
        name
        for name in names
        if name == "fid" or any(row.cells[name].value is not None for row in comparison.rows)
    ]


def to_markdown(comparison: Comparison) -> str:
    """Formats a Markdown table per group, without empty columns."""
    tables = []
    for group in TABLE_GROUPS:
        names = with_any_value(comparison, shown_metrics(comparison, group))
        if not names:
            continue
        heads = " | ".join(column_heading(CATALOG[name], comparison) for name in names)
        lines = [f"| {GROUP_TITLES[group]} | {heads} |", "|---" * (len(names) + 1) + "|"]
        for row in comparison.rows:
            cells = [cell_text(comparison, name, row.cells[name]) for name in names]
            lines.append(f"| `{row.configuration}` | {' | '.join(cells)} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"


@dataclass(frozen=True)
class HtmlHead:
    """The head of a column, as the template shows it."""

    label: str
    details: str
    description: str


@dataclass(frozen=True)
class HtmlCell:
    """A cell, as the template shows it; without a value, only the tooltip gives the reason."""

    tooltip: str
    style: str = ""
    value: str | None = None
    half_width: str = ""
    seeds: str = ""
    rank: str = ""
    is_first: bool = False
    last: str = ""


@dataclass(frozen=True)
class HtmlSeed:
    """The values of one seed, which are hidden until the user opens them."""

    number: int
    epoch: int
    values: list[str]


@dataclass(frozen=True)
class HtmlRow:
    """The row of a configuration; `seeds` is empty if no metric has several seeds."""

    configuration: str
    colour: str
    caption: str
    cells: list[HtmlCell]
    seeds: list[HtmlSeed]


@dataclass(frozen=True)
class HtmlTable:
    """The table of a group of metrics, with (metrics, reason) for missing values."""

    title: str
    heads: list[HtmlHead]
    rows: list[HtmlRow]
    notes: list[tuple[str, str]]


def to_html(comparison: Comparison) -> str:
    """Formats an HTML table per group, with protocols as tooltips and foldable rows per seed.

    The style sheet is included.
    """
    return render(TEMPLATE, groups=html_tables(comparison), with_style=True)


def html_tables(comparison: Comparison) -> list[HtmlTable]:
    """Returns the variable `groups` of the template `tables.html.jinja`."""
    return [_table(comparison, group) for group in TABLE_GROUPS]


def _table(comparison: Comparison, group: Group) -> HtmlTable:
    names = shown_metrics(comparison, group)
    columns = with_any_value(comparison, names)
    return HtmlTable(
        title=GROUP_TITLES[group],
        heads=[_head(name, comparison) for name in columns],
        rows=[_row(comparison, row, columns) for row in comparison.rows],
        notes=grouped_reasons(comparison, names),
    )


def _head(name: str, comparison: Comparison) -> HtmlHead:
    metric = CATALOG[name]
    details = [metric.unit] if metric.unit else []
    if reference := _target_value(metric, comparison):
        details.append(f"targets {reference}")
    return HtmlHead(f"{metric.label} {metric.arrow}", ", ".join(details), metric.description)


def _row(comparison: Comparison, row: Row, names: Sequence[str]) -> HtmlRow:
    has_seeds = any(len(row.cells[name].by_seed) > 1 for name in names)
    return HtmlRow(
        configuration=row.configuration,
        colour=theme.colour(row.configuration),
        caption=row_caption(row),
        cells=[_cell(comparison, row, name) for name in names],
        seeds=[
            HtmlSeed(
                seed,
                epoch,
                [CATALOG[name].format(row.cells[name].by_seed.get(seed)) for name in names],
            )
            for seed, epoch in (chosen_epochs(row).items() if has_seeds else ())
        ],
    )


def _cell(comparison: Comparison, row: Row, name: str) -> HtmlCell:
    metric, cell = CATALOG[name], row.cells[name]
    if cell.value is None:
        return HtmlCell(cell.missing or "", "cb-none")
    value, rank = metric.format(cell.value), rank_label(comparison, name, cell)
    last = "" if cell.last is None else metric.format(cell.last)
    return HtmlCell(
        tooltip=_tooltip(metric, cell),
        style="cb-grey" if cell.incomparable else "",
        value=value,
        half_width="" if cell.half_width is None else metric.format(cell.half_width),
        seeds=f"{cell.n_seeds} of {row.seeds} seeds" if cell.n_seeds < row.seeds else "",
        rank=rank,
        is_first=rank == "#1",
        last=last if last != value else "",
    )


def _tooltip(metric: Metric, cell: Cell) -> str:
    """Formats the cautions, interval and protocol of a value, line by line."""
    lines = [cell.incomparable, cell.mark]
    if cell.low is not None and cell.high is not None:
        bounds = f"{metric.format(cell.low)} to {metric.format(cell.high)} {metric.unit}"
        lines.append(f"95 % interval: {bounds.strip()}")
    for key, value in cell.protocol.items():
        if key not in HIDDEN_IN_PROTOCOL:
            text = value if isinstance(value, str) else json.dumps(value)
            lines.append(f"{key.replace('_', ' ')}: {text[:24] if 'sha256' in key else text}")
    return "\n".join(filter(None, lines))


def _target_value(metric: Metric, comparison: Comparison) -> str | None:
    """Formats the metric of the targets themselves; None if no cell contains the value."""
    cells = (row.cells[metric.name] for row in comparison.rows if metric.name in row.cells)
    value = next((cell.reference for cell in cells if cell.reference is not None), None)
    return None if value is None else metric.format(value)
