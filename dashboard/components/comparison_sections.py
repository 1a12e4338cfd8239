"""Sections of the Compare page: findings, table, metrics, pictures, training and stability."""

from collections.abc import Sequence
from typing import get_args

import streamlit as st

from dashboard.components.empty_states import empty_state
from dashboard.components.escape import escape_markdown
from dashboard.components.pickers import choice, choose_image_metric, pick_other_run
from dashboard.components.runs.run_sections import show_difference
from dashboard.queries import studies
from engine.errors import EngineError
from engine.metrics.catalog import (
    CATALOG,
    DEFAULT_METRICS,
    QUALITY_METRICS,
)
from engine.records.comparison import Comparison
from engine.records.runs import Run, Study
from engine.report import charts, html_report, tables
from engine.report.cases import CaseKind
from engine.report.export import bundle
from engine.report.findings import build_findings, missing_findings_sentence

MIN_PICTURES, MAX_PICTURES, DEFAULT_PICTURES = 4, 16, 8
CASE_KINDS: tuple[CaseKind, ...] = get_args(CaseKind)
ALL_CONFIGURATIONS = "all configurations"


def show_findings(comparison: Comparison, runs: Sequence[Run]) -> None:
    """Shows a summary and the findings as sentences, in the HTML of the exported report."""
    if not comparison.is_empty:
        st.caption(html_report.summary_sentence(comparison))
        st.html(html_report.findings_html(build_findings(comparison), runs))
    elif all(run.is_over for run in runs):
        empty_state(missing_findings_sentence(runs))
    else:
        empty_state("The table fills as runs end and are evaluated on the test split.")


def show_table(comparison: Comparison) -> None:
    """Shows the comparison table, in the HTML of the exported report."""
    st.html(tables.to_html(comparison))
    for note in comparison.notes:
        st.caption(note)


def metrics_section(comparison: Comparison) -> None:
    """Shows values and differences with intervals for the metrics that the user selects."""
    with_values = [
        name
        for name in QUALITY_METRICS
        if any(row.cells[name].value is not None for row in comparison.rows)
    ]
    selected = st.pills(
        "Metrics",
        with_values,
        default=[name for name in DEFAULT_METRICS if name in with_values],
        selection_mode="multi",
        format_func=lambda name: CATALOG[name].label,
        label_visibility="collapsed",
        key="metrics",
        bind="query-params",
    )
    for name in selected:
        left, right = st.columns(2, gap="medium")
        description = CATALOG[name].description
        bars = charts.metric_chart(comparison, name)
        left.plotly_chart(bars, key=f"bars_{name}", alt=description)
        if any(contrast.metric == name for contrast in comparison.contrasts):
            differences = charts.difference_chart(comparison, name)
            right.plotly_chart(
                differences,
                key=f"differences_{name}",
                alt=f"differences in {CATALOG[name].label} between configurations",
            )
        else:
            right.caption(
                f"{escape_markdown(description)} No two configurations were tested in it."
            )
    st.caption(bundle.METRICS_CAPTION)


def pictures_section(study: Study, comparison: Comparison) -> None:
    """Shows test pictures with the worst, best or median scores, and the fakes of them."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = choice("cases", CASE_KINDS, "Show")
        metric = choose_image_metric("cases_by", list_width=180)
        scores_of = choice(
            "judge",
            [ALL_CONFIGURATIONS, *(row.configuration for row in comparison.rows)],
            "Scores of",
            list_width=220,
        )
        count = st.slider(
            "Pictures",
            MIN_PICTURES,
            MAX_PICTURES,
            DEFAULT_PICTURES,
            key="count",
            bind="query-params",
            width=180,
        )
    by = None if scores_of == ALL_CONFIGURATIONS else scores_of
    try:
        selected_cases = studies.cases(study, metric, kind, count, by)
    except EngineError as error:
        st.warning(escape_markdown(str(error)), icon=":material/broken_image:")
        return
    if selected_cases is None:
        empty_state("Pictures appear once a run has been evaluated on the test split.")
        return
    image = bundle.case_image(selected_cases, kind)
    st.image(image.png, alt=image.caption)
    st.caption(
        f"Chosen from all test pictures by {CATALOG[metric].label}. The fakes come "
        "from the chosen checkpoint of each configuration's first seed. Scores are below the fakes."
    )


def training_section(runs: Sequence[Run]) -> None:
    """Shows the training curves: loss terms, total losses, validation PSNR, accuracy."""
    curves = studies.curves(runs, bundle.CURVE_PARTS)
    if not curves:
        empty_state("Curves appear once a run trains.")
        return
    figure = charts.training_curves(runs, curves, bundle.CURVE_FIGURES)
    st.plotly_chart(figure, key="training_curves", alt="training curves by loss term")
    st.caption(bundle.with_missing_lines(bundle.CURVES_CAPTION, runs))


def stability_section(runs: Sequence[Run]) -> None:
    """Draws nine stability statistics; the selected curve determines five of them."""
    stability = studies.stability(runs)
    curves = {name for of_run in stability.values() for name in of_run.curves}
    losses = [name for name in bundle.CURVE_FIGURES if name in curves and "grad" not in name]
    if not losses:
        reasons = sorted({of_run.missing for of_run in stability.values() if of_run.missing})
        empty_state(f"Not enough data: {'; '.join(reasons) or 'no run has trained'}.")
        return
    loss = choice(
        "loss",
        losses,
        "Loss",
        labels=lambda name: CATALOG[name].label,
        default="l1" if "l1" in losses else None,
        list_width=260,
        help_text="A loss term is comparable between recipes; the generator's total loss is not.",
    )
    figure = charts.stability_panels(runs, stability, loss)
    st.plotly_chart(figure, key="stability_panels", alt="nine stability statistics")
    st.caption(bundle.with_missing_lines(bundle.STABILITY_CAPTION, runs))


def configurations_section(runs: Sequence[Run]) -> None:
    """Shows the settings that differ between configurations, or between two selected runs."""
    members = {run.id: run for run in runs}
    names = {run.id: f"{run.configuration}, seed {run.seed}" for run in runs}
    with st.container(horizontal=True):
        one = pick_other_run("one", "First run", names)
        other = pick_other_run("other", "Second run", names)
    if one is not None and other is not None:
        show_difference(members[one], members[other])
        return
    rows = html_report.configuration_differences(runs)
    if not rows:
        empty_state("The configurations have equal settings.")
        return
    columns = {"setting": list(rows)}
    for name in next(iter(rows.values())):
        columns[name] = [row[name] for row in rows.values()]
    st.table(columns, hide_index=True, border="horizontal", alt="configuration differences")
    st.caption("All other settings are equal.")
