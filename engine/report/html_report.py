"""Builds the report of a study: one self-contained HTML page with tables, figures and images."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from engine.overrides import flat_settings
from engine.records.comparison import Comparison
from engine.records.runs import Run, Study
from engine.report import tables
from engine.report.findings import Finding
from engine.settings import PROGRAM

PAGE_CSS = (Path(__file__).parent / "html_report.css").read_text(encoding="utf-8")
KIND_SIGNS = {"difference": "≠", "same": "=", "colour": "◑", "cost": "◷", "caution": "!"}
PLOTLY_CONFIG = {"displaylogo": False, "responsive": True}
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
    study = comparison.study
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(study.name)}: report</title>
<style>{PAGE_CSS}{tables.CSS}</style>
<script>{get_plotlyjs()}</script></head><body><main>
<header><h1>{escape(study.name)}</h1>
<p>{tables.inline_code_html(summary_sentence(comparison))}</p></header>
{_section("Configurations", configurations_html(runs))}
{_section("Findings", findings_html(findings))}
{_section("Comparison", tables.to_html(comparison) + _notes(comparison.notes))}
{_section("Pictures", "".join(_image_html(image) for image in images) + _attribution(study))}
{_section("Figures", "".join(_figures_html(group) for group in figures))}
{_section("Environment", _definition_list(environment))}
{_section("How to repeat this study", _instructions())}
</main></body></html>
"""


def findings_html(findings: Sequence[Finding]) -> str:
    """Formats the findings as an HTML list; text in backticks is code."""
    items = "".join(
        f'<li class="cb-{finding.kind}"><span>{KIND_SIGNS[finding.kind]}</span>'
        f"<div>{tables.inline_code_html(finding.text)}</div></li>"
        for finding in findings
    )
    return f'<ul class="cb-findings">{items}</ul>' if items else "<p>No run has ended yet.</p>"


def configuration_differences(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Returns setting -> configuration -> value, for settings that differ.

    The settings of a configuration are read from its first run.
    """
    first_runs: dict[str, Run] = {}
    for run in runs:
        first_runs.setdefault(run.configuration, run)
    settings = {name: flat_settings(run.resolved or run.config) for name, run in first_runs.items()}
    keys = dict.fromkeys(key for values in settings.values() for key in values)
    rows = {
        key: {name: _setting_text(values[key]) for name, values in settings.items()}
        for key in keys
        if key not in ("configuration", "seed")
    }
    return {key: row for key, row in rows.items() if len(set(row.values())) > 1}


def configurations_html(runs: Sequence[Run]) -> str:
    """Formats the settings that differ between configurations as an HTML table."""
    rows = configuration_differences(runs)
    if not rows:
        return "<p>The study has one configuration only.</p>"
    names = list(next(iter(rows.values())))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr><th>{escape(key)}</th>{''.join(f'<td>{escape(row[name])}</td>' for name in names)}"
        "</tr>"
        for key, row in rows.items()
    )
    return (
        f'<div class="cb-group"><div class="cb-scroll"><table><thead><tr><th></th>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div></div><p>All other settings are equal.</p>"
    )


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


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _subsection(title: str, body: str) -> str:
    return f"<h3>{escape(title)}</h3>{body}"


def _figures_html(group: FigureGroup) -> str:
    places = "".join(
        f'<div id="{escape(name)}" style="height:{figure.layout.height or 320}px"></div>'
        for name, figure in group.figures.items()
    )
    scripts = "".join(
        f"<script>Plotly.newPlot({json.dumps(name)}, ...{_plotly_arguments(figure)})</script>"
        for name, figure in group.figures.items()
    )
    caption = f"<p>{tables.inline_code_html(group.caption)}</p>"
    return _subsection(group.title, f'{caption}<div class="cb-figures">{places}</div>{scripts}')


def _plotly_arguments(figure: go.Figure) -> str:
    """Formats data, layout and options as JSON without `<`, so that no tag can end the script."""
    document = json.loads(figure.to_json())
    arguments = json.dumps([document["data"], document["layout"], PLOTLY_CONFIG])
    return arguments.replace("<", "\\u003c")


def _image_html(image: ReportImage) -> str:
    data = base64.b64encode(image.png).decode()
    return _subsection(
        image.title,
        f"<p>{tables.inline_code_html(image.caption)}</p>"
        f'<img alt="{escape(image.title)}" src="data:image/png;base64,{data}">',
    )


def _attribution(study: Study) -> str:
    return _notes([ATTRIBUTIONS[study.data]] if study.data in ATTRIBUTIONS else [])


def _definition_list(values: Mapping[str, Any]) -> str:
    items = "".join(
        f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>"
        for key, value in values.items()
        if value is not None
    )
    return f"<dl>{items}</dl>" if items else "<p>Not recorded, because no run has started.</p>"


def _instructions() -> str:
    return (
        "<p>In the folder of this export, run:</p>"
        f"<pre>{PROGRAM} study --from results.json --wait</pre>"
        "<p>The command trains the same configurations with the same budget and seeds. With the "
        "same machine and versions the numbers are equal; otherwise they may differ slightly.</p>"
    )


def _notes(notes: Sequence[str]) -> str:
    return "".join(f'<p class="cb-note">{tables.inline_code_html(note)}</p>' for note in notes)
