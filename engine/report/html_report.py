"""The report: one HTML page that needs nothing else, with tables, figures and pictures inside."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from engine.records.comparison import Comparison
from engine.records.runs import Run
from engine.report import tables
from engine.report.findings import Finding

STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
KINDS = {"difference": "≠", "same": "=", "colour": "◑", "cost": "◷", "caution": "!"}
CONFIG = {"displaylogo": False, "responsive": True}


@dataclass(frozen=True)
class Picture:
    """A picture of the report: its heading, what it shows, its PNG."""

    title: str
    about: str
    png: bytes


@dataclass(frozen=True)
class Figure:
    """Interactive figures of the report that stand side by side, by the names of their files."""

    title: str
    about: str
    parts: Mapping[str, go.Figure]


def build_page(
    comparison: Comparison,
    findings: Sequence[Finding],
    runs: Sequence[Run],
    figures: Sequence[Figure],
    pictures: Sequence[Picture],
    environment: Mapping[str, Any],
) -> str:
    """The whole page as text."""
    study = comparison.study
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(study.name)}: report</title>
<style>{STYLE}{tables.CSS}</style>
<script>{get_plotlyjs()}</script></head><body><main>
<header><h1>{escape(study.name)}</h1><p>{tables.marked(lead(comparison))}</p></header>
{_section("What is compared", configurations_html(runs))}
{_section("Findings", findings_html(findings))}
{_section("Comparison", tables.to_html(comparison) + _notes(comparison.notes))}
{_section("Pictures", "".join(_picture_html(it) for it in pictures))}
{_section("Figures", "".join(_figure_html(it) for it in figures))}
{_section("Environment", _definitions(environment))}
{_section("How to repeat it", _how_to_repeat())}
</main></body></html>
"""


def findings_html(findings: Sequence[Finding]) -> str:
    """The sentences as a list; what stands between backticks is code."""
    items = "".join(
        f'<li class="cb-{it.kind}"><span>{KINDS[it.kind]}</span>'
        f"<div>{tables.marked(it.text)}</div></li>"
        for it in findings
    )
    return f'<ul class="cb-findings">{items}</ul>' if items else "<p>No run has ended yet.</p>"


def configuration_rows(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Setting -> configuration -> value, of the settings that differ between configurations."""
    flat = {run.configuration: _flatten(run) for run in reversed(runs)}
    names = list(dict.fromkeys(run.configuration for run in runs))
    keys = dict.fromkeys(key for name in names for key in flat[name])
    found = {key: {name: flat[name].get(key, "—") for name in names} for key in keys}
    return {key: row for key, row in found.items() if len(set(row.values())) > 1}


def configurations_html(runs: Sequence[Run]) -> str:
    """What differs between the configurations, and only that."""
    rows = configuration_rows(runs)
    if not rows:
        return "<p>One configuration only.</p>"
    names = list(next(iter(rows.values())))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr><th>{escape(key)}</th>{''.join(f'<td>{escape(row[it])}</td>' for it in names)}</tr>"
        for key, row in rows.items()
    )
    return (
        f'<div class="cb-group"><div class="cb-scroll"><table><thead><tr><th></th>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div></div><p>Everything else is the same.</p>"
    )


def _flatten(run: Run) -> dict[str, str]:
    """A run's configuration as setting -> text; the recipe's terms one by one."""
    config = run.resolved or run.config
    chosen = config.configuration
    found = {f"{term.name} weight": f"{term.weight:g}" for term in chosen.recipe.terms}
    found |= {key: f"{getattr(chosen, key):g}" for key in ("lr_g", "lr_d", "beta1", "beta2")}
    found |= {key: str(value) for key, value in config.budget.model_dump().items()}
    found |= {key: str(value) for key, value in config.execution.model_dump().items()}
    return found


def lead(comparison: Comparison) -> str:
    """What was compared, on what and how much, in two sentences."""
    study, budget = comparison.study, comparison.study.budget
    pictures = {it.n_pictures for row in comparison.rows for it in row.cells.values()}
    seeds = max((row.seeds for row in comparison.rows), default=0)
    epochs = f"{budget.epochs} epoch{'s' if budget.epochs != 1 else ''}"
    judged = f", judged on {max(pictures):,} test pictures" if max(pictures, default=0) else ""
    return (
        f"{len(comparison.rows)} configurations, {seeds} seed{'s' if seeds != 1 else ''} each, on "
        f"{study.data}: {budget.px} px, {epochs}, batch {budget.batch} "
        f"(budget {budget.name}){judged}. Study {study.id}, {study.created_at:%d %B %Y}."
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _part(title: str, body: str) -> str:
    return f"<h3>{escape(title)}</h3>{body}"


def _figure_html(shown: Figure) -> str:
    parts = "".join(
        f'<div id="{escape(name)}" style="height:{figure.layout.height or 320}px"></div>'
        for name, figure in shown.parts.items()
    )
    scripts = "".join(
        f"<script>Plotly.newPlot({json.dumps(name)}, ...{_plotly_arguments(figure)})</script>"
        for name, figure in shown.parts.items()
    )
    about = f"<p>{tables.marked(shown.about)}</p>"
    return _part(shown.title, f'{about}<div class="cb-figures">{parts}</div>{scripts}')


def _plotly_arguments(figure: go.Figure) -> str:
    """Data, layout and options as a script's text, in which no tag can end the script."""
    document = json.loads(figure.to_json())
    found = json.dumps([document["data"], document["layout"], CONFIG])
    return found.replace("<", "\\u003c")


def _picture_html(shown: Picture) -> str:
    data = base64.b64encode(shown.png).decode()
    return _part(
        shown.title,
        f"<p>{tables.marked(shown.about)}</p>"
        f'<img alt="{escape(shown.title)}" src="data:image/png;base64,{data}">',
    )


def _definitions(values: Mapping[str, Any]) -> str:
    items = "".join(
        f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>"
        for key, value in values.items()
        if value is not None
    )
    return f"<dl>{items}</dl>" if items else "<p>Not recorded: no run has started.</p>"


def _how_to_repeat() -> str:
    return (
        "<p>With <code>results.json</code> of this export beside you:</p>"
        "<pre>python -m engine study --from results.json --wait</pre>"
        "<p>The same configurations, budget and seeds are trained again. On the same machine and "
        "versions the numbers come out the same; on others they may differ a little.</p>"
    )


def _notes(notes: Sequence[str]) -> str:
    return "".join(f'<p class="cb-note">{tables.marked(note)}</p>' for note in notes)
