"""Draws figures of a source's splits from its summary. Imports neither Streamlit nor the store."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from engine.data.survey.statistics import AB_BINS, AB_RANGE, CHANNELS, LEVEL_BINS
from engine.images import color
from engine.report import theme

Summary = Mapping[str, Any]
Values = NDArray[np.floating[Any]]

PLANE_LIGHTNESS = 68.0  # CIE L of the drawn colours of the a/b plane
# A colour is drawn if its share of the pixels is above `MIN_SHARE`. No opacity is below
# `MIN_OPACITY`.
MIN_SHARE, MIN_OPACITY = 1e-5, 0.3
# Measure of the summary -> title of its panel.
MEASURE_TITLES = {
    "colorfulness": "colourfulness",
    "source edges": "edges, {source}",
    "target edges": "edges, target",
    "source brightness": "brightness, {source}",
}


def colour_density(summary: Summary) -> go.Figure:
    """Draws the frequency of the colours in the a/b plane of CIE Lab, a panel per split.

    Every bin is drawn in its own colour. The opacity increases with the logarithm of the bin's
    share of the pixels.
    """
    splits = summary["splits"]
    titles = [f"{name}, {split['palette_pairs']:,} pairs" for name, split in splits.items()]
    figure = make_subplots(cols=max(1, len(splits)), subplot_titles=titles, shared_yaxes=True)
    plane = _colour_plane()
    step = 2 * AB_RANGE / AB_BINS
    reach = _axis_reach([np.array(split["ab"]) for split in splits.values()])
    for column, split in enumerate(splits.values(), 1):
        shares = np.array(split["ab"])  # rows: a, columns: b
        opacity = np.log(np.maximum(shares, MIN_SHARE) / MIN_SHARE)
        opacity /= max(1e-9, opacity.max())
        opacity = np.where(opacity > 0, MIN_OPACITY + (1 - MIN_OPACITY) * opacity, 0)
        pixels = np.dstack([plane, 255 * opacity]).transpose(1, 0, 2)  # rows: b, columns: a
        figure.add_image(
            z=pixels.round().astype(np.uint8),
            colormodel="rgba256",
            x0=-AB_RANGE + step / 2,
            y0=-AB_RANGE + step / 2,
            dx=step,
            dy=step,
            customdata=100 * shares.T,
            hovertemplate="a %{x:.0f}, b %{y:.0f}: %{customdata:.3f} % of pixels<extra></extra>",
            row=1,
            col=column,
        )
    figure.update_layout(_panel_layout(330))
    figure.update_xaxes(title_text="a: green to red", range=[-reach, reach], constrain="domain")
    figure.update_yaxes(range=[-reach, reach], autorange=False, constrain="domain")
    return figure.update_yaxes(title_text="b: blue to yellow", col=1)


def _axis_reach(shares: Sequence[Values]) -> float:
    """Returns the limit of both axes: the largest |a| or |b| of a drawn colour, plus 8."""
    magnitudes = np.abs(_bin_centres())
    drawn = [
        magnitudes[np.flatnonzero((of_split > MIN_SHARE).any(axis))]
        for of_split in shares
        for axis in (0, 1)
    ]
    furthest = max((float(values.max()) for values in drawn if len(values)), default=AB_RANGE)
    return min(AB_RANGE, furthest + 8)


def level_histograms(summary: Summary) -> go.Figure:
    """Draws the distributions of the values 0..255 in the source and in the target's channels."""
    splits = summary["splits"]
    labels = [
        summary["source_label"] if channel == "source" else f"target, {channel}"
        for channel in CHANNELS
    ]
    figure = make_subplots(cols=len(CHANNELS), subplot_titles=labels, shared_yaxes=True)
    x = (np.arange(LEVEL_BINS) + 0.5) * 256 / LEVEL_BINS
    for name, split in splits.items():
        for column, channel in enumerate(CHANNELS, 1):
            y = 100 * np.array(split["channels"][channel]["levels"])
            _add_line(figure, name, x, y, column)
    figure.update_layout(_panel_layout(290))
    figure.update_xaxes(range=[0, 256], dtick=64)
    figure.update_yaxes(type="log", range=[-2, 2], dtick=1)
    return figure.update_yaxes(title_text="% of pixels (log)", col=1)


def measure_histograms(summary: Summary) -> go.Figure:
    """Draws the distributions of colourfulness, edges and brightness in each split."""
    splits = summary["splits"]
    titles = [title.format(source=summary["source_label"]) for title in MEASURE_TITLES.values()]
    figure = make_subplots(cols=len(MEASURE_TITLES), subplot_titles=titles)
    for name, split in splits.items():
        for column, name_of_measure in enumerate(MEASURE_TITLES, 1):
            measure = split["measures"][name_of_measure]
            edges, counts = np.array(measure["edges"]), np.array(measure["counts"])
            centres = (edges[1:] + edges[:-1]) / 2
            _add_line(figure, name, centres, 100 * counts / max(1, counts.sum()), column)
    figure.update_layout(_panel_layout(290))
    return figure.update_yaxes(title_text="% of pictures", col=1)


def _add_line(figure: go.Figure, split: str, x: Values, y: Values, column: int) -> None:
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": theme.SPLIT_COLOURS[split], "width": 2, "shape": "hvh"},
        name=split,
        legendgroup=split,
        showlegend=column == 1,
        hovertemplate=f"%{{x:.4g}}: %{{y:.2f}} %<extra>{split}</extra>",
        row=1,
        col=column,
    )


def _panel_layout(height: int) -> dict[str, object]:
    """Returns the layout of a figure with panels: no axes, no title, the legend below."""
    layout = theme.layout("", "", "")
    for key in ("xaxis", "yaxis", "title"):
        del layout[key]
    margin = {"l": 8, "r": 8, "t": 40, "b": 8}
    legend = {"orientation": "h", "y": -0.28, "yanchor": "top", "x": 0}
    return {**layout, "height": height, "margin": margin, "legend": legend}


def _colour_plane() -> Values:
    """Computes the colours of the a/b plane at one lightness: [a, b, 3] in 0..255."""
    a, b = np.meshgrid(_bin_centres(), _bin_centres(), indexing="ij")
    channels = color.lab_to_linear(np.full_like(a, PLANE_LIGHTNESS), a, b)
    plane: Values = 255 * color.linear_to_srgb(np.stack(channels, axis=2).clip(0, 1))
    return plane


def _bin_centres() -> Values:
    """Returns the a or b values at the centres of the bins: [AB_BINS]."""
    centres: Values = (np.arange(AB_BINS) + 0.5) * 2 * AB_RANGE / AB_BINS - AB_RANGE
    return centres
