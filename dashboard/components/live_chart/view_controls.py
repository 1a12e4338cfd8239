"""Draws the controls of the live chart: curve, axis, scale, lines, smoothing, pause."""

import streamlit as st

from dashboard.components.live_chart.live_chart import AXES, AXIS_TITLES, ChartView
from dashboard.components.pickers import choice
from engine.metrics.catalog import CATALOG, CURVE_METRICS

DEFAULT_CURVE = "l1"


def choose_curve(key: str, list_width: int) -> str:
    """Draws a select box of curves and returns the name of the selected metric."""
    return choice(
        key,
        CURVE_METRICS,
        "Curve",
        labels=lambda name: CATALOG[name].label,
        default=DEFAULT_CURVE,
        list_width=list_width,
    )


def view_controls() -> tuple[ChartView, bool]:
    """Draws the controls; returns the view and whether updates are paused."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        metric = choose_curve("curve", list_width=210)
        axis = choice(
            "axis",
            AXES,
            "Horizontal axis",
            labels=lambda name: AXIS_TITLES[name],
            help_text="Run time does not count the pauses between stop and resume.",
        )
        scale = choice("scale", ["linear", "log"], "Scale")
        by = choice(
            "by",
            ["run", "configuration"],
            "One line per",
            help_text="Configuration: the mean over seeds with its 95 % interval. On the clock "
            "time axis each run keeps its own line, because seeds may train one after another.",
        )
        smoothing = st.slider(
            "Smoothing", 0.0, 0.99, 0.6, key="smoothing", bind="query-params", width=170
        )
        is_paused = st.toggle("Pause", key="paused", help="Pauses page updates; runs continue.")
    view = ChartView(
        metric, smoothing, axis, scale == "log", "runs" if by == "run" else "configurations"
    )
    return view, is_paused
