"""Draws records as plotly figures. Imports neither Streamlit nor the store."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from engine.metrics.catalog import CATALOG, DISCRIMINATOR_CURVES, MINUS
from engine.options.loss_terms import LOSS_TERMS
from engine.records.comparison import Comparison, RunStability
from engine.records.runs import Run
from engine.report import theme

Curves = Mapping[tuple[int, str], Sequence[tuple[float, float]]]  # (run, name) -> (step, value)


def metric_chart(comparison: Comparison, name: str) -> go.Figure:
    """Draws one metric of all configurations: points with 95 % intervals.

    Draws points and not bars, because the axis does not start at 0. Leaves out values that must not
    be compared with the other values, for example because their protocol differs.
    """
    metric = CATALOG[name]
    figure = go.Figure()
    for row in comparison.rows:
        cell = row.cells[name]
        if cell.value is None or cell.incomparable:
            continue
        colour = theme.colour(row.configuration)
        if len(cell.by_seed) > 1:
            figure.add_scatter(
                x=[row.configuration] * len(cell.by_seed),
                y=list(cell.by_seed.values()),
                mode="markers",
                marker={"size": 7, "color": colour, "opacity": 0.35},
                hovertemplate=f"%{{y:.{metric.digits + 1}f}}<extra>one seed</extra>",
            )
        figure.add_scatter(
            x=[row.configuration],
            y=[cell.value],
            error_y=_error_bar(cell.value, cell.low, cell.high),
            mode="markers",
            marker={"size": 12, "color": colour},
            hovertemplate=f"%{{y:.{metric.digits + 1}f}}<extra>{row.configuration}</extra>",
        )
    references = [row.cells[name].reference for row in comparison.rows]
    if reference := next((each for each in references if each is not None), None):
        figure.add_hline(reference, line={"dash": "dot", "color": theme.GREY})
        figure.add_annotation(
            x=1, xref="paper", y=reference, text="targets", showarrow=False, xanchor="right",
            yanchor="bottom",
        )  # fmt: skip
    layout = theme.layout("", "", metric.heading)
    return figure.update_layout(layout, height=300, showlegend=False)


def difference_chart(comparison: Comparison, name: str) -> go.Figure:
    """Draws the differences in one metric of all pairs of configurations, with 95 % intervals.

    Filled points are significant differences, hollow points are not significant.
    """
    metric = CATALOG[name]
    figure = go.Figure()
    for contrast in comparison.contrasts:
        if contrast.metric != name:
            continue
        label = f"{contrast.one} {MINUS} {contrast.other}"
        figure.add_scatter(
            x=[contrast.mean],
            y=[label],
            error_x=_error_bar(contrast.mean, contrast.low, contrast.high),
            mode="markers",
            marker={
                "size": 11,
                "color": theme.ACCENT if contrast.is_significant else theme.GREY,
                "symbol": "circle" if contrast.is_significant else "circle-open",
            },
            hovertemplate=f"%{{x:+.{metric.digits + 1}f}}<br>p = {contrast.p_holm:.3f} after Holm"
            f"<extra>{label}</extra>",
        )
    figure.add_vline(0, line={"color": theme.GREY, "width": 1})
    unit = f" ({metric.unit})" if metric.unit else ""
    side = "right: the first is better" if metric.better == "up" else "left: the first is better"
    title = f"difference in {metric.label}{unit}; {side}"
    figure.update_layout(theme.layout("", title, ""), height=300)
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(showlegend=False)


def training_curves(runs: Sequence[Run], curves: Curves, names: Sequence[str]) -> go.Figure:
    """Draws one panel per training curve and one line per configuration.

    A line is the mean over seeds; its band reaches from the lowest to the highest value over seeds.
    Both end where the shortest line ends.
    """
    shown = [name for name in names if any((run.id, name) in curves for run in runs)]
    figure, places = _panels([CATALOG[name].label for name in shown])
    legend = set()
    for name, place in zip(shown, places, strict=True):
        for configuration in dict.fromkeys(run.configuration for run in runs):
            lines = [
                _by_epoch(run, curves[run.id, name])
                for run in runs
                if run.configuration == configuration and (run.id, name) in curves
            ]
            if not lines:
                continue
            colour = theme.colour(configuration)
            x, columns = align_lines(lines)
            if len(lines) > 1:
                _add_band(figure, x, columns, colour, place)
            figure.add_scatter(
                x=x,
                y=[sum(values) / len(values) for values in columns],
                mode="lines+markers" if len(x) < 12 else "lines",
                line={"color": colour, "width": 2},
                name=configuration,
                legendgroup=configuration,
                showlegend=configuration not in legend,
                hovertemplate=f"epoch %{{x:.1f}}: %{{y:.4g}}<extra>{configuration}</extra>",
                row=place[0],
                col=place[1],
            )
            legend.add(configuration)
    last = max((run.epochs for run in runs), default=1)
    ticks = {"dtick": 1} if last <= 5 else {}
    figure.update_xaxes(title_text="epoch", range=[0, last * 1.02], **ticks)
    return figure


def explain_missing_lines(runs: Sequence[Run], name: str) -> str:
    """Says which configurations have no line in the figure of a curve because of their recipe.

    Args:
        runs: the runs in the figure.
        name: the metric of the curve.

    Returns:
        One sentence; "" if every recipe has the curve.
    """
    recipes = {run.configuration: run.config.configuration.recipe for run in runs}
    if name in DISCRIMINATOR_CURVES:
        missing = [label for label, recipe in recipes.items() if not recipe.is_adversarial]
        reason = "no discriminator, because the recipe has no adversarial term"
    else:
        term = name.removeprefix("val_")
        missing = [label for label, recipe in recipes.items() if term not in recipe.names]
        reason = f"the recipe has no term {term}"
        if term not in LOSS_TERMS:
            return ""
    return f"No values of {', '.join(missing)}: {reason}." if missing else ""


STABILITY_PANELS: tuple[tuple[str, str], ...] = (
    ("variance", "Variance of {curve} ↓"),
    ("d_variance", "Variance of discriminator loss ↓"),
    ("convergence_rate", "Convergence rate of {curve}, per part"),
    ("oscillation", "Oscillation of {curve} ↓"),
    ("improvement", "Improvement of {curve} ↑"),
    ("final", "Final {curve} ↓"),
    ("val_final", "Final validation loss (not comparable between recipes)"),
    ("collapse_ratio", "Collapse ratio ↓ (over 0.1: high risk)"),
    ("saturation", "Share of steps with a saturated discriminator"),
)


def stability_panels(
    runs: Sequence[Run], stability_by_run: Mapping[int, RunStability], curve: str
) -> go.Figure:
    """Draws nine stability statistics: one dot per seed, and a line at the mean over seeds.

    Args:
        runs: the runs of one study.
        stability_by_run: run id -> statistics.
        curve: the curve to compute the statistics of. `l1` and `adversarial` can be compared
            between recipes, `g_loss` cannot.
    """
    label = CATALOG[curve].label
    figure, places = _panels([title.format(curve=label) for _, title in STABILITY_PANELS])
    configurations = list(dict.fromkeys(run.configuration for run in runs))
    for (key, _), place in zip(STABILITY_PANELS, places, strict=True):
        for configuration in configurations:
            values = [
                value
                for run in runs
                if run.configuration == configuration
                and run.id in stability_by_run
                and (value := stability_value(stability_by_run[run.id], key, curve)) is not None
            ]
            if not values:
                continue
            colour = theme.colour(configuration)
            common = {"row": place[0], "col": place[1]}
            figure.add_scatter(
                x=[configuration] * len(values), y=values, mode="markers",
                marker={"size": 9, "color": colour, "opacity": 0.55 if len(values) > 1 else 1},
                hovertemplate="%{y:.4g}<extra>" + configuration + "</extra>", **common,
            )  # fmt: skip
            if len(values) > 1:
                figure.add_scatter(
                    x=[configuration], y=[sum(values) / len(values)], mode="markers",
                    marker={"symbol": "line-ew", "size": 26, "line": {"width": 3, "color": colour}},
                    hovertemplate="mean %{y:.4g}<extra>" + configuration + "</extra>", **common,
                )  # fmt: skip
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=configurations)
    figure.update_yaxes(rangemode="tozero", exponentformat="none")
    figure.update_traces(cliponaxis=False)
    return figure.update_layout(showlegend=False)


def stability_value(stability: RunStability, key: str, curve: str) -> float | None:
    """Returns the statistic that a panel shows for a run; None if the run has no such statistic.

    Args:
        stability: the statistics of the run.
        key: a key of `STABILITY_PANELS`.
        curve: the selected curve; ignored for the keys `d_variance`, `val_final`,
            `collapse_ratio` and `saturation`.
    """
    if key in ("collapse_ratio", "saturation"):
        value: float | None = getattr(stability, key)
        return value
    if key == "final":
        return stability.finals.get(curve)
    if key == "val_final":
        return stability.finals.get("val_g_loss")
    if key == "d_variance":
        key, curve = "variance", "d_loss"
    return getattr(stability.curves[curve], key) if curve in stability.curves else None


def _panels(titles: Sequence[str]) -> tuple[go.Figure, list[tuple[int, int]]]:
    """Builds a figure with three panels per row -> figure, (row, column) of each panel."""
    columns = min(3, max(1, len(titles)))
    n_rows = math.ceil(len(titles) / columns) or 1
    figure = make_subplots(
        n_rows,
        columns,
        subplot_titles=list(titles),
        horizontal_spacing=0.08,
        vertical_spacing=0.34 / n_rows if n_rows > 1 else 0,
    )
    figure.update_layout(theme.layout("", "", ""), height=70 + 250 * n_rows)
    figure.update_layout(margin={"l": 8, "r": 8, "t": 66, "b": 8})
    figure.update_layout(legend={"y": 1 + 42 / (70 + 250 * n_rows), "yanchor": "bottom"})
    figure.update_annotations(font={"size": 13})
    grid = {"gridcolor": theme.GRID, "zeroline": False, "automargin": True}
    figure.update_xaxes(grid)
    figure.update_yaxes(grid)
    return figure, [(index // columns + 1, index % columns + 1) for index in range(len(titles))]


def _add_band(
    figure: go.Figure,
    x: Sequence[float],
    columns: Sequence[Sequence[float]],
    colour: str,
    place: tuple[int, int],
) -> None:
    """Adds a band of the range over seeds; `columns` has the values of all seeds per position."""
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=[*(max(values) for values in columns), *(min(values) for values in reversed(columns))],
        mode="lines",
        fill="toself",
        fillcolor=theme.translucent(colour),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        row=place[0],
        col=place[1],
    )


def align_lines(
    lines: Sequence[Sequence[tuple[float, float]]],
) -> tuple[list[float], list[tuple[float, ...]]]:
    """Aligns lines at the positions of all points that lie inside every line.

    Between two points, a line is interpolated linearly: seeds may have recorded their points at
    different steps, for example after a resume or with another `record_every`.

    Args:
        lines: at least one line; each has at least one point (position, value), in order.

    Returns:
        The positions, from the latest start to the earliest end of the lines; and for each position
        the value of each line.
    """
    start, end = max(line[0][0] for line in lines), min(line[-1][0] for line in lines)
    x = sorted({position for line in lines for position, _ in line if start <= position <= end})
    rows = []
    for line in lines:
        positions, values = zip(*line, strict=True)
        rows.append(np.interp(x, positions, values).tolist())
    return x, list(zip(*rows, strict=True))


def _by_epoch(run: Run, curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Converts the steps of a curve to epochs."""
    per_epoch = run.steps / run.epochs if run.steps else 1.0
    return [(step / per_epoch, value) for step, value in curve]


def _error_bar(value: float, low: float | None, high: float | None) -> dict[str, object] | None:
    if low is None or high is None:
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value],
        "arrayminus": [value - low],
        "thickness": 2,
        "width": 6,
    }
