"""Records -> plotly figures. Knows no Streamlit and no store."""

import plotly.graph_objects as go

from engine import theme
from engine.metrics.catalog import CATALOG
from engine.records import Comparison


def metric_bars(comparison: Comparison, name: str) -> go.Figure:
    """One metric of all configurations: a point with its 95 % interval, no bar from zero.

    A bar's length would claim a meaningful zero, which most of these metrics do not have.
    """
    metric = CATALOG[name]
    figure = go.Figure()
    for row in comparison.rows:
        cell = row.cells[name]
        if cell.value is None:
            continue
        error = None
        if cell.low is not None and cell.high is not None:
            error = {
                "type": "data",
                "symmetric": False,
                "array": [cell.high - cell.value],
                "arrayminus": [cell.value - cell.low],
                "thickness": 2,
                "width": 6,
            }
        figure.add_scatter(
            x=[row.configuration],
            y=[cell.value],
            error_y=error,
            mode="markers",
            marker={"size": 12, "color": theme.colour(row.configuration)},
            name=row.configuration,
            showlegend=False,
            hovertemplate=f"%{{y:.{metric.digits + 1}f}}<extra>{row.configuration}</extra>",
        )
    unit = f"{metric.label} ({metric.unit})" if metric.unit else metric.label
    figure.update_layout(theme.layout(metric.heading, "", unit), height=320)
    return figure
