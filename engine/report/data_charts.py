"""A source's summary -> figures, the splits side by side. Knows no Streamlit and no store."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from engine.data.survey.statistics import AB_BINS, AB_REACH, CHANNELS, LEVELS
from engine.images import color
from engine.report import theme

Summary = Mapping[str, Any]
Values = NDArray[np.float64]

SHOWN_LIGHTNESS = 68.0  # of the colours in which the a/b plane is drawn
FAINTEST = 1e-5  # share of pixels at which a colour begins to show
FIRST_SIGHT = 0.3  # how opaque it is then
MEASURES = {
    "colorfulness": "colourfulness",
    "source edges": "edges, {source}",
    "target edges": "edges, target",
    "source brightness": "brightness, {source}",
}


def colour_density(summary: Summary) -> go.Figure:
    """How often each colour of CIE Lab's a/b plane occurs, a panel for each split.

    Every bin is drawn in its own colour; the more pixels have it, the less transparent.
    """
    splits = summary["splits"]
    titles = [f"{name}, {split['palette_pairs']:,} pairs" for name, split in splits.items()]
    figure = make_subplots(cols=max(1, len(splits)), subplot_titles=titles, shared_yaxes=True)
    plane = _plane()
    step = 2 * AB_REACH / AB_BINS
    reach = _reach([np.array(split["ab"]) for split in splits.values()])
    for column, split in enumerate(splits.values(), 1):
        shares = np.array(split["ab"])  # rows: a, columns: b
        strength = np.log(np.maximum(shares, FAINTEST) / FAINTEST)
        strength /= max(1e-9, strength.max())
        strength = np.where(strength > 0, FIRST_SIGHT + (1 - FIRST_SIGHT) * strength, 0)
        pixels = np.dstack([plane, 255 * strength]).transpose(1, 0, 2)  # rows: b, columns: a
        figure.add_image(
            z=pixels.round().astype(np.uint8),
            colormodel="rgba256",
            x0=-AB_REACH + step / 2,
            y0=-AB_REACH + step / 2,
            dx=step,
            dy=step,
            customdata=100 * shares.T,
            hovertemplate="a %{x:.0f}, b %{y:.0f}: %{customdata:.3f} % of pixels<extra></extra>",
            row=1,
            col=column,
        )
    figure.update_layout(_plain(330))
    figure.update_xaxes(title_text="a: green to red", range=[-reach, reach], constrain="domain")
    figure.update_yaxes(range=[-reach, reach], autorange=False, constrain="domain")
    return figure.update_yaxes(title_text="b: blue to yellow", col=1)


def _reach(shares: Sequence[Values]) -> float:
    """How far from grey the colours go that show in any split, and a little further."""
    middles = np.abs((np.arange(AB_BINS) + 0.5) * 2 * AB_REACH / AB_BINS - AB_REACH)
    seen = [middles[np.flatnonzero((it > FAINTEST).any(axis))] for it in shares for axis in (0, 1)]
    furthest = max((float(it.max()) for it in seen if len(it)), default=AB_REACH)
    return min(AB_REACH, furthest + 8)


def levels(summary: Summary) -> go.Figure:
    """The distribution of values 0..255: the source, then the target's channels."""
    splits = summary["splits"]
    labels = [summary["source_label"] if it == "source" else f"target, {it}" for it in CHANNELS]
    figure = make_subplots(cols=len(CHANNELS), subplot_titles=labels, shared_yaxes=True)
    x = (np.arange(LEVELS) + 0.5) * 256 / LEVELS
    for name, split in splits.items():
        for column, channel in enumerate(CHANNELS, 1):
            y = 100 * np.array(split["channels"][channel]["levels"])
            _add_line(figure, name, x, y, column)
    figure.update_layout(_plain(290))
    figure.update_xaxes(range=[0, 256], dtick=64)
    figure.update_yaxes(type="log", range=[-2, 2], dtick=1)
    return figure.update_yaxes(title_text="% of pixels (log)", col=1)


def measures(summary: Summary) -> go.Figure:
    """How the pictures of each split are distributed in colourfulness, edges and brightness."""
    splits = summary["splits"]
    titles = [it.format(source=summary["source_label"]) for it in MEASURES.values()]
    figure = make_subplots(cols=len(MEASURES), subplot_titles=titles)
    for name, split in splits.items():
        for column, label in enumerate(MEASURES, 1):
            measure = split["measures"][label]
            edges, counts = np.array(measure["edges"]), np.array(measure["counts"])
            middles = (edges[1:] + edges[:-1]) / 2
            _add_line(figure, name, middles, 100 * counts / max(1, counts.sum()), column)
    figure.update_layout(_plain(290))
    return figure.update_yaxes(title_text="% of pictures", col=1)


def _add_line(figure: go.Figure, split: str, x: Values, y: Values, column: int) -> None:
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": theme.SPLITS[split], "width": 2, "shape": "hvh"},
        name=split,
        legendgroup=split,
        showlegend=column == 1,
        hovertemplate=f"%{{x:.4g}}: %{{y:.2f}} %<extra>{split}</extra>",
        row=1,
        col=column,
    )


def _plain(height: int) -> dict[str, object]:
    layout = theme.layout("", "", "")
    axes = {"xaxis", "yaxis", "title"}
    rest = {key: value for key, value in layout.items() if key not in axes}
    legend = {"orientation": "h", "y": -0.28, "yanchor": "top", "x": 0}
    return {**rest, "height": height, "margin": {"l": 8, "r": 8, "t": 40, "b": 8}, "legend": legend}


def _plane() -> Values:
    """The colours of the a/b plane at one lightness: [65, 65, 3] in 0..255; rows are a."""
    middles = (np.arange(AB_BINS) + 0.5) * 2 * AB_REACH / AB_BINS - AB_REACH
    a, b = np.meshgrid(middles, middles, indexing="ij")
    channels = color.linear_rgb(np.full_like(a, SHOWN_LIGHTNESS), a, b)
    plane: Values = 255 * color.encode(np.stack(channels, axis=2).clip(0, 1))
    return plane
