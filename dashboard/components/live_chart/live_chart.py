"""The live chart: it fetches new points by itself, and a zoom survives them.

Streamlit's own charts are rebuilt at every change of data. This one keeps its plotly node and
adds to it; `live_chart.js` is its other half. What is passed through Streamlit is
small: which lines there are and how they are to be seen. The points travel by `routes`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from dashboard import routes
from dashboard.components.js_component import component
from engine.metrics.catalog import CATALOG
from engine.metrics.intervals import t_quantile
from engine.records.curves import Alert
from engine.records.runs import Attempt, Run, RunState
from engine.report import theme

HEIGHT_PX = 440
DASHES = ("solid", "dash", "dot", "dashdot")
MOST_SEEDS = 30  # for which quantiles are passed; beyond, the last of them

Axis = Literal["step", "epoch", "elapsed", "clock"]
AXES: tuple[Axis, ...] = get_args(Axis)
AXIS_TITLES: dict[Axis, str] = {
    "step": "step",
    "epoch": "epoch",
    "elapsed": "time at work",
    "clock": "time",
}

_component = component(
    "live_chart",
    html="""<div class="live-chart-frame">
<p class="live-state"></p>
<div class="live-chart" role="img" aria-label="training curves"></div>
</div>
""",
)


@dataclass(frozen=True)
class View:
    """How the reader wants to see the curve.

    Attributes:
        smoothing: 0 (none) up to just under 1, the weight of the past.
        axis: `step`, `epoch`, `elapsed` (without pauses) or `clock`.
        log: a logarithmic value axis.
        by: a line for each run, or a band for each configuration.
    """

    metric: str
    smoothing: float = 0.0
    axis: Axis = "step"
    log: bool = False
    by: Literal["runs", "configurations"] = "runs"


def live_chart(
    study_id: int,
    runs: Sequence[Run],
    view: View,
    attempts: Mapping[int, Sequence[Attempt]],
    alerts: Mapping[int, Sequence[Alert]],
    *,
    is_live: bool,
    is_over: bool,
    title: str,
) -> None:
    """Draws one metric of a study's runs, and goes on drawing what is new.

    Args:
        study_id: whose runs these are.
        runs: one line each, in their configuration's colour, seeds told apart by dashes.
        view: metric, smoothing, axes.
        attempts: by run; the time between them is no time at work.
        alerts: by run, shown where they happened.
        is_live: whether to ask for more; otherwise what there is is fetched once.
        is_over: whether every run of the study has ended, those that are not shown too.
        title: of the browser's tab.
    """
    _component(
        key=f"live_chart_{study_id}",
        data={
            "url": routes.address("curve"),
            "plotly": routes.PLOTLY_ADDRESS,
            "stream": f"{study_id} {view.metric}",
            "series": [
                _series(run, attempts.get(run.id, ()), alerts.get(run.id, ())) for run in runs
            ],
            "view": _view(study_id, view),
            "live": is_live,
            "over": is_over,
            "title": title,
        },
        height=HEIGHT_PX + 34,
    )


def _series(run: Run, attempts: Sequence[Attempt], alerts: Sequence[Alert]) -> dict[str, object]:
    seeds = f", seed {run.seed}" if run.seed else ""
    marks = [[it.step, it.kind, it.text] for it in alerts]
    if run.state == RunState.DIVERGED:
        marks.append([run.step, "diverged", run.reason or "diverged"])
    return {
        "id": run.id,
        "name": f"{run.configuration}{seeds}",
        "group": run.configuration,
        "colour": theme.colour(run.configuration),
        "dash": DASHES[run.seed % len(DASHES)],
        "perEpoch": run.steps / run.epochs if run.steps else 0,
        "attempts": [
            [it.started_at.timestamp(), it.ended_at.timestamp() if it.ended_at else None]
            for it in attempts
        ],
        "marks": marks,
    }


def _view(study_id: int, view: View) -> dict[str, object]:
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
        "quantiles": [0, 0, *(t_quantile(n - 1) for n in range(2, MOST_SEEDS + 1))],
        "layout": theme.layout("", AXIS_TITLES[view.axis], f"{metric.label}{unit}"),
    }
