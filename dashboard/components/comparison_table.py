"""The comparison table as people read it: value, interval, rank, and a reason where none is."""

import streamlit as st

from engine.metrics.catalog import CATALOG
from engine.records import Cell, Comparison

SPACE = "\N{NO-BREAK SPACE}"  # keeps a value, its interval and its rank on one line


def comparison_table(comparison: Comparison) -> None:
    """A row per metric, a column per configuration; the reasons beside."""
    columns: dict[str, list[str]] = {"Metric": [_heading(name) for name in comparison.metrics]}
    for row in comparison.rows:
        columns[row.configuration] = [_text(name, row.cells[name]) for name in comparison.metrics]
    columns["Note"] = [_note(comparison, name) for name in comparison.metrics]
    extra = {"Metric": ["Chosen epoch", "Runs done"], "Note": ["highest validation PSNR", ""]}
    for row in comparison.rows:
        extra[row.configuration] = [_best_epoch(row.cells["psnr"]), f"{row.seeds} of {row.runs}"]
    st.table(
        {name: [*texts, *extra[name]] for name, texts in columns.items()},
        hide_index=True,
        border="horizontal",
        alt="comparison table",
    )


def _heading(name: str) -> str:
    metric = CATALOG[name]
    unit = f" :gray[{metric.unit}]" if metric.unit else ""
    return f"**{metric.label}** {metric.arrow}{unit}"


def _text(name: str, cell: Cell) -> str:
    metric = CATALOG[name]
    text = metric.format(cell.value)
    if cell.low is not None and cell.high is not None:
        text += f"{SPACE}:gray[±{SPACE}{metric.format((cell.high - cell.low) / 2)}]"
    if cell.rank is not None:
        text += f"{SPACE}:blue-badge[#{cell.rank}]"
    return text


def _note(comparison: Comparison, name: str) -> str:
    cells = [row.cells[name] for row in comparison.rows]
    return "; ".join(dict.fromkeys(note for cell in cells if (note := cell.missing or cell.mark)))


def _best_epoch(cell: Cell) -> str:
    return "—" if cell.best_epoch is None else str(cell.best_epoch)
