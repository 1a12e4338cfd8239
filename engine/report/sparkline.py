"""Draws a few curves as a small SVG without axes, for lists. Torch-free."""

from collections.abc import Mapping, Sequence
from html import escape

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
    parts = []
    for colour, line in drawn:
        points = [
            (
                MARGIN + index * step,
                HEIGHT - MARGIN - (value - low) / span * (HEIGHT - 2 * MARGIN),
            )
            for index, value in enumerate(line)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        if len(points) > 1:
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" '
                'stroke-linejoin="round" stroke-linecap="round"/>'
            )
        x, y = points[-1]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" '
        f'height="{HEIGHT}" role="img" aria-label="{escape(description)}">'
        f"{''.join(parts)}</svg>"
    )
