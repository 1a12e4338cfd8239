"""The comparison as people and programs read it: CSV, Markdown, HTML. No decisions, no torch.

The page and the exported report show the same HTML, so that their numbers cannot differ.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from engine.config import REPORTED_SPLIT
from engine.metrics.catalog import CATALOG, GROUPS, Group, Metric
from engine.records.comparison import Cell, Comparison, Row
from engine.report import theme

SHOWN: tuple[Group, ...] = ("distance", "pixel", "colour", "adversary", "cost")
# Figures that study 1 published under another name and that are the same.
STUDY_1_NAMES = {
    "d_real_accuracy": "real_accuracy",
    "d_fake_accuracy": "fake_accuracy",
    "d_accuracy": "overall_accuracy",
}
CSS = (Path(__file__).parent / "tables.css").read_text(encoding="utf-8")
PARTS = ("", "_low", "_high", "_rank", "_last", "_n_pictures", "_missing", "_mark")
HIDDEN_IN_PROTOCOL = ("data_fingerprint",)  # for machines; the reader is told the data's name


def shown_metrics(comparison: Comparison, group: Group) -> list[str]:
    """The metrics of a group that the comparison holds."""
    return [name for name in comparison.metrics if CATALOG[name].group == group]


def to_csv(comparison: Comparison) -> str:
    """A row per configuration; value, interval, rank and last value of each metric, then cost."""
    names = [name for name in comparison.metrics if CATALOG[name].group != "cost"]
    costs = [name for name in comparison.metrics if CATALOG[name].group == "cost"]
    heads = [f"{STUDY_1_NAMES.get(name, name)}{part}" for name in names for part in PARTS]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["study", "configuration", "seeds", "split", "interval_over", "best_epoch", *heads, *costs]
    )
    for row in comparison.rows:
        values: list[object] = []
        for cell in (row.cells[name] for name in names):
            values += [cell.value, cell.low, cell.high, cell.rank, cell.last, cell.n_pictures]
            values += [guard(cell.missing), guard(cell.incomparable or cell.mark)]
        values += [row.cells[name].value for name in costs]
        fixed = [guard(comparison.study.name), row.configuration, row.seeds, REPORTED_SPLIT]
        epochs = ";".join(map(str, chosen_epochs(row).values()))
        writer.writerow([*fixed, comparison.unit, epochs, *values])
    return buffer.getvalue()


def guard(text: str | None) -> str | None:
    """A text cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text and text[0] in "=+-@\t\r" else text


def chosen_epochs(row: Row) -> dict[int, int]:
    """Seed -> the epoch of its chosen checkpoint."""
    found = {seed: epoch for cell in row.cells.values() for seed, epoch in cell.epochs.items()}
    return dict(sorted(found.items()))


def about_row(row: Row) -> str:
    """How many seeds a configuration has, and which epochs were chosen."""
    about = f"{row.seeds} seed{'s' if row.seeds != 1 else ''}"
    if row.seeds < row.runs:
        about += f" of {row.runs}"
    epochs = sorted(set(chosen_epochs(row).values()))
    if not epochs:
        return about
    span = f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]} to {epochs[-1]}"
    return f"{about}, {span}"


def rank_label(comparison: Comparison, name: str, cell: Cell) -> str:
    """`#1`, `=2` where it is shared, nothing where nobody is clearly better than anybody."""
    if cell.rank is None:
        return ""
    ranks = [it.cells[name].rank for it in comparison.rows if it.cells[name].rank is not None]
    if len(ranks) > 1 and set(ranks) == {1}:
        return ""
    return f"{'=' if ranks.count(cell.rank) > 1 else '#'}{cell.rank}"


def plain_cell(comparison: Comparison, name: str, cell: Cell) -> str:
    """A cell in a few characters: `17.08 ± 0.36 #1`."""
    metric = CATALOG[name]
    half = "" if cell.half_width is None else f"± {metric.format(cell.half_width)}"
    parts = (metric.format(cell.value), half, rank_label(comparison, name, cell))
    return " ".join(filter(None, parts))


def heading(metric: Metric, comparison: Comparison) -> str:
    """A column's head, with the targets' own figure where there is one."""
    reference = _reference(metric, comparison)
    return metric.heading + (f" (targets {reference})" if reference else "")


def reasons(comparison: Comparison, names: Sequence[str]) -> dict[str, str]:
    """Metric -> why it is missing or needs care; said once where all configurations agree."""
    found = {}
    for name in names:
        said: dict[str, list[str]] = {}
        for row in comparison.rows:
            cell = row.cells[name]
            why = cell.missing or cell.incomparable or cell.mark
            for part in why.split("; ") if why else ():
                said.setdefault(part, []).append(row.configuration)
        texts = [
            why if len(who) == len(comparison.rows) else f"{', '.join(who)}: {why}"
            for why, who in said.items()
        ]
        if texts:
            found[name] = "; ".join(texts)
    return found


def remarks(comparison: Comparison, names: Sequence[str]) -> list[tuple[str, str]]:
    """(labels, reason): metrics that share a reason are named together."""
    together: dict[str, list[str]] = {}
    for name, why in reasons(comparison, names).items():
        together.setdefault(why, []).append(CATALOG[name].label)
    return [(", ".join(labels), why) for why, labels in together.items()]


def with_values(comparison: Comparison, names: Sequence[str]) -> list[str]:
    """The metrics that anybody has; FID always has its column, with its reason."""
    return [
        name
        for name in names
        if name == "fid" or any(row.cells[name].value is not None for row in comparison.rows)
    ]


def marked(text: str) -> str:
    """Plain text as HTML; what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def to_markdown(comparison: Comparison) -> str:
    """A Markdown table for each group, without columns that are empty."""
    blocks = []
    for group in SHOWN:
        names = with_values(comparison, shown_metrics(comparison, group))
        if not names:
            continue
        heads = [heading(CATALOG[name], comparison) for name in names]
        lines = [f"| {GROUPS[group]} | {' | '.join(heads)} |", "|---" * (len(names) + 1) + "|"]
        for row in comparison.rows:
            cells = [plain_cell(comparison, name, row.cells[name]) for name in names]
            lines.append(f"| `{row.configuration}` | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def to_html(comparison: Comparison) -> str:
    """A table for each group, with protocols on hover and a row for each seed to unfold."""
    return "\n".join(_group_html(comparison, group) for group in SHOWN)


def _group_html(comparison: Comparison, group: Group) -> str:
    names = shown_metrics(comparison, group)
    notes = "".join(
        f"<li><b>{escape(labels)}</b>: {marked(why)}.</li>"
        for labels, why in remarks(comparison, names)
    )
    names = with_values(comparison, names)
    heads = "".join(
        f'<th scope="col" title="{escape(CATALOG[name].about)}">{_head_html(name, comparison)}</th>'
        for name in names
    )
    bodies = "".join(_row_html(comparison, row, names) for row in comparison.rows)
    return (
        f'<section class="cb-group"><h4>{escape(GROUPS[group])}</h4><div class="cb-scroll">'
        f'<table><thead><tr><th scope="col">configuration</th>{heads}</tr></thead>{bodies}</table>'
        f"</div>{f'<ul>{notes}</ul>' if notes else ''}</section>"
    )


def _head_html(name: str, comparison: Comparison) -> str:
    metric = CATALOG[name]
    small = [metric.unit] if metric.unit else []
    if reference := _reference(metric, comparison):
        small.append(f"targets {reference}")
    unit = f" <small>{escape(', '.join(small))}</small>" if small else ""
    return f"{escape(metric.label)} {metric.arrow}{unit}"


def _row_html(comparison: Comparison, row: Row, names: Sequence[str]) -> str:
    epochs = chosen_epochs(row)
    unfolds = any(len(row.cells[name].by_seed) > 1 for name in names)
    dot = f'<i style="background:{theme.colour(row.configuration)}"></i>'
    label = f"{dot}{escape(row.configuration)}<small>{about_row(row)}</small>"
    if unfolds:
        tip = "show each seed"
        label = f'<label title="{tip}"><input type="checkbox" aria-label="{tip}">{label}</label>'
    cells = "".join(_cell_html(comparison, row, name) for name in names)
    single = "".join(
        f'<tr class="cb-seed"><th scope="row">seed {seed}<small>epoch {epoch}</small></th>'
        + "".join(_seed_html(name, row.cells[name], seed) for name in names)
        + "</tr>"
        for seed, epoch in (epochs.items() if unfolds else ())
    )
    return f'<tbody><tr><th scope="row">{label}</th>{cells}</tr>{single}</tbody>'


def _cell_html(comparison: Comparison, row: Row, name: str) -> str:
    metric, cell = CATALOG[name], row.cells[name]
    if cell.value is None:
        return f'<td class="cb-none" title="{escape(cell.missing or "")}">—</td>'
    parts = [f"<b>{metric.format(cell.value)}</b>"]
    if cell.half_width is not None:
        parts.append(f"<small>± {metric.format(cell.half_width)}</small>")
    if cell.n_seeds < row.seeds:
        parts.append(f"<small>{cell.n_seeds} of {row.seeds} seeds</small>")
    if label := rank_label(comparison, name, cell):
        kind = "cb-first" if label == "#1" else ""
        parts.append(f'<span class="cb-rank {kind}">{label}</span>')
    if cell.last is not None and metric.format(cell.last) != metric.format(cell.value):
        parts.append(f'<small class="cb-last">last {metric.format(cell.last)}</small>')
    kind = ' class="cb-grey"' if cell.incomparable else ""
    about = escape(_hover(metric, cell))
    return f"<td{kind}{f' title={chr(34)}{about}{chr(34)}' if about else ''}>{' '.join(parts)}</td>"


def _seed_html(name: str, cell: Cell, seed: int) -> str:
    return f"<td>{CATALOG[name].format(cell.by_seed.get(seed))}</td>"


def _hover(metric: Metric, cell: Cell) -> str:
    """What a value rests on, line by line."""
    lines = [cell.incomparable, cell.mark]
    if cell.low is not None and cell.high is not None:
        bounds = f"{metric.format(cell.low)} to {metric.format(cell.high)} {metric.unit}"
        lines.append(f"95 % interval: {bounds.strip()}")
    for key, value in cell.protocol.items():
        if key not in HIDDEN_IN_PROTOCOL:
            text = value if isinstance(value, str) else json.dumps(value)
            lines.append(f"{key.replace('_', ' ')}: {text[:24] if 'sha256' in key else text}")
    return "\n".join(filter(None, lines))


def _reference(metric: Metric, comparison: Comparison) -> str | None:
    cells = (row.cells[metric.name] for row in comparison.rows if metric.name in row.cells)
    found = next((cell.reference for cell in cells if cell.reference is not None), None)
    return None if found is None else metric.format(found)
