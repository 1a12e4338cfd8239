"""Draws a few curves as a small SVG without axes, for lists. Torch-free."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.report.rendering import render

TEMPLATE = Path(__file__).parent / "templates" / "sparkline.svg.jinja"
WIDTH, HEIGHT, MARGIN = 220, 56, 5


def sparkline(lines: Mapping[str, Sequence[tuple[str, Sequence[float]]]], description: str) -> str:
    """Draws lines on common axes; returns "" if there are no values.

    Args:
        lines: name -> lines; each line is a colour and values at equal distances.
        description: the text of the image for screen readers.
    """
    drawn = [line for lines_of_name in lines.values() for line in lines_of_name if line[1]]
    values = [value for _, line in drawn for value in line]
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    longest = max(len(line) for _, line in drawn)
    step = (WIDTH - 2 * MARGIN) / max(1, longest - 1)
    drawn_lines = []
    for colour, line in drawn:
        points = [
            (
                f"{MARGIN + index * step:.1f}",
                f"{HEIGHT - MARGIN - (value - low) / span * (HEIGHT - 2 * MARGIN):.1f}",
            )
            for index, value in enumerate(line)
        ]
        path = " ".join(f"{x},{y}" for x, y in points) if len(points) > 1 else ""
        end_x, end_y = points[-1]
        drawn_lines.append({"colour": colour, "path": path, "end_x": end_x, "end_y": end_y})
    return render(TEMPLATE, lines=drawn_lines, description=description, width=WIDTH, height=HEIGHT)
