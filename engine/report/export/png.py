"""Draws plotly figures as PNG files with Kaleido, which needs Chrome or Chromium."""

from collections.abc import Mapping
from pathlib import Path

import kaleido
import plotly.graph_objects as go
from choreographer.browsers.chromium import Chromium

PNG_SCALE = 2


def draw_pngs(figures: Mapping[str, go.Figure], folder: Path) -> list[str]:
    """Draws each figure as `NAME.png` in a folder.

    Returns:
        A remark if nothing was drawn because there is no browser; otherwise an empty list.
    """
    if not figures:
        return []
    if not find_browser():
        return [
            "Figures were exported as HTML only: PNG needs Chrome or Chromium on this machine, for "
            "example `apt-get install chromium`."
        ]
    specs = [
        {
            "fig": go.Figure(figure).update_layout(
                paper_bgcolor="white", plot_bgcolor="white", font={"color": "#0f172a"}
            ),
            "path": str(folder / f"{name}.png"),
            "opts": {
                "format": "png",
                "width": 1120 if len(figure.layout.annotations) > 2 else 560,
                "height": figure.layout.height or 320,
                "scale": PNG_SCALE,
            },
        }
        for name, figure in figures.items()
    ]
    kaleido.write_fig_from_object_sync(specs, kopts={"mathjax": False})
    return []


def find_browser() -> str | None:
    """Returns the path of Chrome or Chromium; None if neither is installed."""
    path: str | None = Chromium.find_browser(skip_local=False)
    return path
