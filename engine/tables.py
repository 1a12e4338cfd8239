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

from engine import theme
from engine.metrics.catalog import CATALOG, GROUPS, Group, Metric
from engine.records import Cell, Comparison, Row
from engine.report import REPORTED_SPLIT

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
        writer.writerow([*fixed, comparison.unit, best_epoch(row), *values])
    return buffer.getvalue()


def guard(text: str | None) -> str | None:
    """A text cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text and text[0] in "=+-@\t\r" else text


def best_epoch(row: Row) -> int | None:
    """The epoch of a configuration's chosen checkpoint, of its first seed."""
    found = (cell.best_epoch for cell in row.cells.values() if cell.best_epoch is not None)
    return next(found, None)


def plain_cell(metric: Metric, cell: Cell) -> str:
    """A cell in a few characters: `17.08 ± 0.36 #1`."""
    text = metric.format(cell.value)
    if cell.half_width is not None:
        text += f" ± {metric.format(cell.half_width)}"
    if cell.rank is not None:
        text += f" #{cell.rank}"
    return text


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
            if why := cell.missing or cell.incomparable or cell.mark:
                said.setdefault(why, []).append(row.configuration)
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
            cells = [plain_cell(CATALOG[name], row.cells[name]) for name in names]
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
    bodies = "".join(_row_html(row, names) for row in comparison.rows)
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


def _row_html(row: Row, names: Sequence[str]) -> str:
    seeds = sorted({seed for name in names for seed in row.cells[name].by_seed})
    done = f"{row.seeds} seed{'s' if row.seeds != 1 else ''}"
    if row.seeds < row.runs:
        done += f" of {row.runs}"
    epoch = best_epoch(row)
    about = f"{done}, epoch {epoch}" if epoch else done
    dot = f'<i style="background:{theme.colour(row.configuration)}"></i>'
    label = f"{dot}{escape(row.configuration)} <small>{about}</small>"
    if len(seeds) > 1:
        label = f'<label><input type="checkbox">{label}</label>'
    cells = "".join(_cell_html(name, row.cells[name]) for name in names)
    single = "".join(
        f'<tr class="cb-seed"><th scope="row">seed {seed}</th>'
        + "".join(_seed_html(name, row.cells[name], seed) for name in names)
        + "</tr>"
        for seed in (seeds if len(seeds) > 1 else ())
    )
    return f'<tbody><tr><th scope="row">{label}</th>{cells}</tr>{single}</tbody>'


def _cell_html(name: str, cell: Cell) -> str:
    metric = CATALOG[name]
    if cell.value is None:
        return f'<td class="cb-none" title="{escape(cell.missing or "")}">—</td>'
    parts = [f"<b>{metric.format(cell.value)}</b>"]
    if cell.half_width is not None:
        parts.append(f"<small>± {metric.format(cell.half_width)}</small>")
    if cell.rank is not None:
        parts.append(f'<span class="cb-rank cb-rank-{min(cell.rank, 3)}">#{cell.rank}</span>')
    if cell.last is not None and cell.last != cell.value:
        parts.append(f"<small>last {metric.format(cell.last)}</small>")
    kind = ' class="cb-grey"' if cell.incomparable else ""
    return f'<td{kind} title="{escape(_hover(cell))}">{" ".join(parts)}</td>'


def _seed_html(name: str, cell: Cell, seed: int) -> str:
    return f"<td>{CATALOG[name].format(cell.by_seed.get(seed))}</td>"


def _hover(cell: Cell) -> str:
    """What a value rests on, line by line."""
    lines = [cell.incomparable, cell.mark]
    if cell.low is not None and cell.high is not None:
        lines.append(f"95 % interval: {cell.low:.6g} to {cell.high:.6g}")
    for key, value in cell.protocol.items():
        if key not in HIDDEN_IN_PROTOCOL:
            text = value if isinstance(value, str) else json.dumps(value)
            lines.append(f"{key.replace('_', ' ')}: {text[:24] if 'sha256' in key else text}")
    return "\n".join(filter(None, lines))


def _reference(metric: Metric, comparison: Comparison) -> str | None:
    cells = (row.cells[metric.name] for row in comparison.rows if metric.name in row.cells)
    found = next((cell.reference for cell in cells if cell.reference is not None), None)
    return None if found is None else metric.format(found)
