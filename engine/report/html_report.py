"""Builds the report of a study: one self-contained HTML page with tables, figures and images."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from engine.overrides import flat_settings
from engine.records.comparison import Comparison
from engine.records.runs import Run, comparable_configs
from engine.report import tables
from engine.report.findings import Finding, missing_findings_sentence
from engine.report.rendering import render
from engine.settings import PROGRAM

TEMPLATES = Path(__file__).parent / "templates"
KIND_SIGNS = {"difference": "≠", "same": "=", "colour": "◑", "cost": "◷", "caution": "!"}
PLOTLY_CONFIG = {"displaylogo": False, "responsive": True}
DEFAULT_HEIGHT_PX = 320  # of a figure
# Data source -> the attribution that its licence requires of shared pictures (NOTICE).
ATTRIBUTIONS = {
    "openmoji": "Drawings: OpenMoji (https://openmoji.org), licensed under CC BY-SA 4.0 "
    "(https://creativecommons.org/licenses/by-sa/4.0/); changed by Chromabench."
}


@dataclass(frozen=True)
class ReportImage:
    """An image of the report.

    Attributes:
        title: the heading.
        caption: what the image shows.
        png: the content of the PNG file.
    """

    title: str
    caption: str
    png: bytes

    @property
    def address(self) -> str:
        """The content of the file as the address of an HTML image."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class FigureGroup:
    """Interactive figures of the report, side by side under one heading.

    Attributes:
        title: the heading.
        caption: what the figures show.
        figures: file name without suffix -> figure.
    """

    title: str
    caption: str
    figures: Mapping[str, go.Figure]


def build_report(
    comparison: Comparison,
    findings: Sequence[Finding],
    runs: Sequence[Run],
    figures: Sequence[FigureGroup],
    images: Sequence[ReportImage],
    environment: Mapping[str, Any],
) -> str:
    """Builds the HTML text of the report.

    Args:
        comparison: the comparison table of the study.
        findings: the findings of the comparison.
        runs: all runs of the study.
        figures: the interactive figures.
        images: the images.
        environment: name -> value of the machine or a version; entries with None are left out.
    """
    differences = configuration_differences(runs)
    return render(
        TEMPLATES / "report.html.jinja",
        study=comparison.study,
        summary=summary_sentence(comparison),
        plotly_js=get_plotlyjs(),
        configurations=list(next(iter(differences.values()), {})),
        differences=differences,
        findings=findings,
        signs=KIND_SIGNS,
        missing=missing_findings_sentence(runs),
        groups=tables.html_tables(comparison),
        with_style=False,
        notes=comparison.notes,
        images=images,
        attribution=ATTRIBUTIONS.get(comparison.study.data),
        figure_groups=[_figure_group(group) for group in figures],
        environment={name: value for name, value in environment.items() if value is not None},
        program=PROGRAM,
    )


def findings_html(findings: Sequence[Finding], runs: Sequence[Run]) -> str:
    """Formats the findings as an HTML list; the style sheet is included.

    Args:
        findings: the findings; text in backticks is code.
        runs: all runs of the study, to tell why there are no findings.
    """
    return render(
        TEMPLATES / "findings.html.jinja",
        findings=findings,
        signs=KIND_SIGNS,
        missing=missing_findings_sentence(runs),
        with_style=True,
    )


def configuration_differences(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Returns setting -> configuration -> value, for settings that differ.

    The settings of a configuration are those of its first run that has started, or of its first run
    if none has.
    """
    first_runs: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: run.resolved is None):
        first_runs.setdefault(run.configuration, run)
    names = list(dict.fromkeys(run.configuration for run in runs))
    configs = comparable_configs([first_runs[name] for name in names])
    settings = {name: flat_settings(config) for name, config in zip(names, configs, strict=True)}
    keys = dict.fromkeys(key for values in settings.values() for key in values)
    rows = {
        key: {name: _setting_text(values[key]) for name, values in settings.items()}
        for key in keys
        if key not in ("configuration", "seed")
    }
    return {key: row for key, row in rows.items() if len(set(row.values())) > 1}


def summary_sentence(comparison: Comparison) -> str:
    """Describes a study in two sentences: its size, data, budget, number and date."""
    study, budget = comparison.study, comparison.study.budget
    n_pictures = max(
        (cell.n_pictures for row in comparison.rows for cell in row.cells.values()), default=0
    )
    n_seeds = max((row.seeds for row in comparison.rows), default=0)
    epochs = f"{budget.epochs} epoch{'s' if budget.epochs != 1 else ''}"
    evaluated = f", evaluated on {n_pictures:,} test pictures" if n_pictures else ""
    return (
        f"{len(comparison.rows)} configurations, {n_seeds} seed{'s' if n_seeds != 1 else ''} each, "
        f"on {study.data}: {budget.px} px, {epochs}, batch {budget.batch} "
        f"(budget {budget.name}){evaluated}. Study {study.id}, {study.created_at:%d %B %Y}."
    )


def _setting_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _figure_group(group: FigureGroup) -> dict[str, object]:
    """Returns a group as the template expects it, with the arguments of `Plotly.newPlot`."""
    drawn = []
    for name, figure in group.figures.items():
        document = json.loads(figure.to_json())
        arguments = [document["data"], document["layout"], PLOTLY_CONFIG]
        height = figure.layout.height or DEFAULT_HEIGHT_PX
        drawn.append({"name": name, "height": height, "arguments": arguments})
    return {"title": group.title, "caption": group.caption, "figures": drawn}
