"""Plotly figures as PNG files, by a Chrome or Chromium where there is one."""

from collections.abc import Mapping
from pathlib import Path

import kaleido
import plotly.graph_objects as go
from choreographer.browsers.chromium import Chromium

PNG_SCALE = 2


def draw_pngs(figures: Mapping[str, go.Figure], folder: Path) -> list[str]:
    """Draws plotly figures as PNG through Kaleido; the reason, where no browser is here."""
    if not figures:
        return []
    if not find_browser():
        return [
            "Figures are there as HTML only: PNG needs a Chrome or Chromium on this machine, for "
            "example `apt-get install chromium`."
        ]
    specs = [
        {
            "fig": go.Figure(it).update_layout(
                paper_bgcolor="white", plot_bgcolor="white", font={"color": "#0f172a"}
            ),
            "path": str(folder / f"{name}.png"),
            "opts": {
                "format": "png",
                "width": 1120 if len(it.layout.annotations) > 2 else 560,
                "height": it.layout.height or 320,
                "scale": PNG_SCALE,
            },
        }
        for name, it in figures.items()
    ]
    kaleido.write_fig_from_object_sync(specs, kopts={"mathjax": False})
    return []


def find_browser() -> str | None:
    """Where a Chrome or Chromium is that can draw figures."""
    found: str | None = Chromium.find_browser(skip_local=False)
    return found
