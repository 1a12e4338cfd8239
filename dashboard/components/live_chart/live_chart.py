"""Draws the live chart, whose script fetches new points and keeps the user's zoom.

Streamlit rebuilds its own charts at every change of data. `live_chart.js` instead adds points to
one Plotly chart. Streamlit transfers only the list of lines and the view. The script fetches the
points from `dashboard.routes`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from dashboard import routes
from dashboard.components.js_component.component import component
from engine.metrics.catalog import CATALOG
from engine.metrics.intervals import t_quantile
from engine.records.curves import Alert
from engine.records.runs import Attempt, Run, RunState
from engine.report import theme

HEIGHT_PX = 440
STATUS_LINE_PX = 34
DASHES = ("solid", "dash", "dot", "dashdot")
MAX_SEEDS = 30  # of a band; for more seeds the chart uses the quantile for 30 seeds

Axis = Literal["step", "epoch", "elapsed", "clock"]
AXES: tuple[Axis, ...] = get_args(Axis)
AXIS_TITLES: dict[Axis, str] = {
    "step": "step",
    "epoch": "epoch",
    "elapsed": "run time",
    "clock": "clock time",
}

_component = component(
    "live_chart",
    html="""<div class="live-chart-frame">
<p class="live-state"></p>
<div class="live-chart" role="img" aria-label="training curves"></div>
</div>
""",
    subject="The chart",
)


@dataclass(frozen=True)
class ChartView:
    """The curve of a chart and how to draw the curve.

    Attributes:
        metric: the metric of the curve.
        smoothing: weight of the past in the moving average, from 0 (none) to less than 1.
        axis: `step`, `epoch`, `elapsed` (without pauses) or `clock`.
        log: whether the value axis is logarithmic.
        by: `runs` for one line per run, `configurations` for one band per configuration.
    """

    metric: str
    smoothing: float = 0.0
    axis: Axis = "step"
    log: bool = False
    by: Literal["runs", "configurations"] = "runs"


def live_chart(
    study_id: int,
    runs: Sequence[Run],
    view: ChartView,
    attempts: Mapping[int, Sequence[Attempt]],
    alerts: Mapping[int, Sequence[Alert]],
    *,
    is_live: bool,
    is_over: bool,
    title: str,
) -> None:
    """Draws one curve of a study's runs.

    Args:
        study_id: the study.
        runs: the runs to draw, each as one line in the colour of its configuration and with a dash
            pattern for its seed.
        view: how to draw the curve.
        attempts: run id -> attempts at the run, for the axis `elapsed`.
        alerts: run id -> alerts to draw as marks.
        is_live: whether the chart keeps fetching new points; otherwise it fetches them once.
        is_over: whether the training has ended: of all runs of the study on the Live page, and of
            the drawn run on the Run page.
        title: the title of the browser tab.
    """
    _component(
        key=f"live_chart_{study_id}",
        data={
            "url": routes.route_url("curve"),
            "plotly": routes.PLOTLY_URL,
            "stream": f"{study_id} {view.metric}",
            "series": [
                _series(run, attempts.get(run.id, ()), alerts.get(run.id, ())) for run in runs
            ],
            "view": _view(study_id, view),
            "live": is_live,
            "over": is_over,
            "title": title,
        },
        height=HEIGHT_PX + STATUS_LINE_PX,
    )


def _series(run: Run, attempts: Sequence[Attempt], alerts: Sequence[Alert]) -> dict[str, object]:
    seed = f", seed {run.seed}" if run.seed else ""
    marks = [[alert.step, alert.kind, alert.text] for alert in alerts]
    if run.state == RunState.DIVERGED:
        marks.append([run.step, "diverged", run.reason or "diverged"])
    return {
        "id": run.id,
        "name": f"{run.configuration}{seed}",
        "group": run.configuration,
        "colour": theme.colour(run.configuration),
        "dash": DASHES[run.seed % len(DASHES)],
        "perEpoch": run.steps / run.epochs if run.steps else 0,
        "attempts": [
            [
                attempt.started_at.timestamp(),
                attempt.ended_at.timestamp() if attempt.ended_at else None,
            ]
            for attempt in attempts
        ],
        "marks": marks,
    }


def _view(study_id: int, view: ChartView) -> dict[str, object]:
    metric = CATALOG[view.metric]
    unit = f" ({metric.unit})" if metric.unit else ""
    return {
        "metric": view.metric,
        "smoothing": view.smoothing,
        "axis": view.axis,
        "log": view.log,
        "by": view.by,
        "height": HEIGHT_PX,
        "label": metric.label,
        "revision": f"{study_id} {view.metric} {view.axis} {view.log}",
        "quantiles": [0, 0, *(t_quantile(n_seeds - 1) for n_seeds in range(2, MAX_SEEDS + 1))],
        "layout": theme.layout("", AXIS_TITLES[view.axis], f"{metric.label}{unit}"),
    }
