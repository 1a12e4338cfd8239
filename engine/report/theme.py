"""Defines the colours and layout of all charts. A configuration always has the same colour.

The colours are those of Okabe and Ito, which are distinguishable with any colour vision.
"""

import hashlib

COLOURS = {
    "standard": "#0072B2",
    "perceptual": "#D55E00",
    "regularized": "#009E73",
    "gan": "#56B4E9",
    "ganv2": "#CC79A7",
    "ganv3": "#E69F00",
}
OTHER_COLOURS = ("#7F3C8D", "#A5AA00", "#8C564B", "#3969AC", "#008695", "#CF1C90")
SPLIT_COLOURS = {"train": "#0072B2", "val": "#E69F00", "test": "#009E73"}
GREY = "#64748B"
ACCENT = "#2272C3"  # visible on a white and on a dark background
GRID = "rgba(128,128,128,0.18)"
FONT = "Source Sans, Source Sans Pro, system-ui, sans-serif"


def colour(configuration: str) -> str:
    """Returns a configuration's colour; colours of user configurations depend on the name."""
    if configuration in COLOURS:
        return COLOURS[configuration]
    number = hashlib.sha256(configuration.encode()).digest()[0]
    return OTHER_COLOURS[number % len(OTHER_COLOURS)]


def translucent(colour: str) -> str:
    """Returns a translucent version of a colour `#rrggbb`, for the area behind a line."""
    red, green, blue = (int(colour[index : index + 2], 16) for index in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"


def layout(title: str, x_title: str, y_title: str) -> dict[str, object]:
    """Returns a plotly layout: no frame, light grid, transparent background for both themes."""
    axis = {"gridcolor": GRID, "zeroline": False, "automargin": True}
    return {
        "title": {"text": title, "font": {"size": 15}, "x": 0, "xanchor": "left"},
        "font": {"family": FONT, "size": 13, "color": GREY},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 8, "t": 36, "b": 8},
        "xaxis": {**axis, "title": {"text": x_title}},
        "yaxis": {**axis, "title": {"text": y_title}},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": ACCENT},
        "hoverlabel": {"font": {"family": FONT}},
    }
