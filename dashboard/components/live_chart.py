"""The live chart: only new points travel, and a zoom survives them.

Streamlit's own charts are rebuilt at every change of data. This one keeps its plotly node and
adds to it; `live_chart.js` beside this file is its other half and says how they talk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from engine import theme
from engine.metrics.catalog import CATALOG
from engine.records import MetricPoint, Run

HEIGHT_PX = 420
DASHES = ("solid", "dash", "dot", "dashdot")

_component = st.components.v2.component(
    "chromabench.live_chart",
    html='<div class="live-chart" role="img" aria-label="training curves"></div>',
    js=(Path(__file__).parent / "live_chart.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)

Fetch = Callable[[Sequence[int], str, int], list[MetricPoint]]


@dataclass(frozen=True)
class View:
    """How the reader wants to see the curve.

    Attributes:
        smoothing: 0 (none) up to just under 1, the weight of the past.
        axis: `step` or `epoch`.
        log: a logarithmic value axis.
    """

    metric: str
    smoothing: float = 0.0
    axis: str = "step"
    log: bool = False


def live_chart(study_id: int, runs: Sequence[Run], view: View, fetch: Fetch) -> None:
    """Draws one metric of a study's runs; call it again to add what is new.

    Args:
        study_id: whose runs these are.
        runs: one line each, in their configuration's colour, seeds told apart by dashes.
        view: metric, smoothing, axes.
        fetch: (run ids, metric, cursor) -> the points that came after the cursor.
    """
    key = f"live_chart_{study_id}"
    stream = f"{study_id}-{view.metric}"
    sent = st.session_state.setdefault("live_chart_sent", {})
    cursor = _answer(st.session_state.get(key), stream, sent.get(stream, 0))
    points = fetch([run.id for run in runs], view.metric, cursor)
    reached = points[-1].id if points else cursor
    sent[stream] = reached
    _component(
        key=key,
        data={
            "stream": stream,
            "from": cursor,
            "to": reached,
            "points": [[it.id, it.step, it.epoch, it.value, it.run_id] for it in points],
            "series": [_series(run) for run in runs],
            "view": _view(study_id, view),
        },
        height=HEIGHT_PX,
        on_ask_change=lambda: None,
    )


def _answer(state: object, stream: str, cursor: int) -> int:
    """Goes back to where the browser says it is, once for each time it asks."""
    ask = getattr(state, "ask", None)
    answered = st.session_state.setdefault("live_chart_answered", set())
    if not isinstance(ask, str) or ask in answered:
        return cursor
    answered.add(ask)
    asked_stream, have, _ = ask.split(" ")
    return int(have) if asked_stream == stream else cursor


def _series(run: Run) -> dict[str, object]:
    seeds = f" seed {run.seed}" if run.seed else ""
    return {
        "id": run.id,
        "name": f"{run.configuration}{seeds}",
        "color": theme.colour(run.configuration),
        "dash": DASHES[run.seed % len(DASHES)],
    }


def _view(study_id: int, view: View) -> dict[str, object]:
    metric = CATALOG[view.metric]
    unit = f" ({metric.unit})" if metric.unit else ""
    return {
        "smoothing": view.smoothing,
        "axis": view.axis,
        "log": view.log,
        "height": HEIGHT_PX,
        "revision": f"{study_id} {view.metric} {view.axis} {view.log}",
        "layout": theme.layout("", view.axis, f"{metric.label}{unit}"),
    }
