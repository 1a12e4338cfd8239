"""What stands below the comparison table: metric by metric, pictures, training, stability."""

from collections.abc import Sequence
from typing import cast, get_args

import streamlit as st

from dashboard.components.empty_states import nothing_here
from dashboard.components.escape import plain
from dashboard.components.runs.run_sections import show_difference
from dashboard.queries import studies
from engine.errors import EngineError
from engine.metrics.catalog import CATALOG, QUALITY
from engine.records.comparison import Comparison
from engine.records.runs import Run, Study
from engine.report import cases, charts, html_report
from engine.report.cases import Which
from engine.report.export import bundle

DEFAULT_METRICS = ("kid", "kd_lite2", "psnr", "ab_divergence")
N_CASES = (4, 16, 8)  # least, most, at first


def metrics_section(comparison: Comparison) -> None:
    """Values with intervals, and pair by pair what differs."""
    known = [
        name
        for name in QUALITY
        if any(row.cells[name].value is not None for row in comparison.rows)
    ]
    chosen = st.pills(
        "Metrics",
        known,
        default=[name for name in DEFAULT_METRICS if name in known],
        selection_mode="multi",
        format_func=lambda name: CATALOG[name].label,
        label_visibility="collapsed",
        key="metrics",
        bind="query-params",
    )
    for name in chosen:
        left, right = st.columns(2, gap="medium")
        about = CATALOG[name].about
        left.plotly_chart(charts.metric_bars(comparison, name), key=f"bars_{name}", alt=about)
        if any(it.metric == name for it in comparison.contrasts):
            figure = charts.contrast_bars(comparison, name)
            right.plotly_chart(figure, key=f"differences_{name}", alt=f"differences in {name}")
        else:
            right.caption(f"{plain(about)} No pair could be tested.")
    st.caption(bundle.ABOUT_METRICS)


def pictures_section(study: Study, comparison: Comparison) -> None:
    """Worst, best or typical test pictures of every configuration."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        which = st.segmented_control(
            "Show",
            get_args(Which),
            default="worst",
            required=True,
            key="cases",
            bind="query-params",
        )
        metric = st.selectbox(
            "by",
            cases.judged_metrics(),
            format_func=lambda name: CATALOG[name].label,
            key="cases_by",
            bind="query-params",
            width=180,
        )
        everybody = "all configurations"
        by = st.selectbox(
            "judged by",
            [everybody, *(row.configuration for row in comparison.rows)],
            key="judge",
            bind="query-params",
            width=220,
        )
        count = st.slider("Pictures", *N_CASES, key="count", bind="query-params", width=180)
    try:
        found = studies.cases(
            study,
            metric,
            cast(Which, which),
            count,
            None if by == everybody else by,
        )
    except EngineError as error:
        st.warning(plain(str(error)), icon=":material/broken_image:")
        return
    if found is None:
        nothing_here("Pictures appear when a run has been evaluated on the test split.")
        return
    shown = bundle.case_picture(found, cast(Which, which))
    st.image(shown.png, alt=shown.about)
    st.caption(
        f"Chosen from all test pictures by {CATALOG[metric].label}; each configuration's first "
        "seed with its chosen checkpoint, its score below each picture."
    )


def training_section(runs: Sequence[Run]) -> None:
    """Training by term."""
    curves = studies.curves(runs, bundle.CURVE_PARTS)
    if not curves:
        nothing_here("Curves appear when a run trains.")
        return
    figure = charts.training_curves(runs, curves, bundle.CURVE_FIGURES)
    st.plotly_chart(figure, key="training_curves", alt="training curves by term")
    st.caption(bundle.ABOUT_CURVES)


def stability_section(runs: Sequence[Run]) -> None:
    """The sketch study's nine figures, of one loss."""
    found = studies.steadiness(runs)
    curves = sorted({name for it in found.values() for name in it.curves if "grad" not in name})
    losses = [name for name in bundle.CURVE_FIGURES if name in curves]
    if not losses:
        reasons = {it.missing for it in found.values() if it.missing}
        nothing_here(f"Not enough to tell: {'; '.join(sorted(reasons)) or 'no run has trained'}.")
        return
    curve = st.selectbox(
        "Loss",
        losses,
        index=losses.index("l1") if "l1" in losses else 0,
        format_func=lambda name: CATALOG[name].label,
        key="loss",
        bind="query-params",
        width=260,
        help="A term means the same in every recipe; the generator's total does not.",
    )
    figure = charts.stability_panels(runs, found, curve)
    st.plotly_chart(figure, key="stability_panels", alt="nine stability figures")
    st.caption(bundle.ABOUT_STABILITY)


def configurations_section(runs: Sequence[Run]) -> None:
    """What differs between the configurations, and only that."""
    names = {run.id: f"{run.configuration}, seed {run.seed}" for run in runs}
    with st.container(horizontal=True):
        one, other = (
            st.selectbox(
                label,
                list(names),
                index=None,
                format_func=lambda run_id: names[run_id],
                placeholder="a run",
                key=key,
                bind="query-params",
            )
            for label, key in (("Difference of", "one"), ("and", "other"))
        )
    if one is not None and other is not None:
        members = {run.id: run for run in runs}
        show_difference(members[one], members[other])
        return
    rows = html_report.configuration_rows(runs)
    if not rows:
        nothing_here("There is one configuration only.")
        return
    columns = {"setting": list(rows)}
    for name in next(iter(rows.values())):
        columns[name] = [row[name] for row in rows.values()]
    st.table(columns, hide_index=True, border="horizontal", alt="configuration differences")
    st.caption("Everything else is the same.")
