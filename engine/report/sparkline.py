"""A few lines as a small picture without axes, for lists. Torch-free."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, MARGIN = 220, 56, 5


def sparkline(lines: Mapping[str, Sequence[tuple[str, Sequence[float]]]], about: str) -> str:
    """An SVG of lines on common axes.

    Args:
        lines: name -> its lines, each a colour and its values at equal distances.
        about: what it shows, for those who do not see it.
    """
    everything = [line for of_name in lines.values() for line in of_name if line[1]]
    values = [value for _, line in everything for value in line]
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    longest = max(len(line) for _, line in everything)
    across = (WIDTH - 2 * MARGIN) / max(1, longest - 1)
    parts = []
    for colour, line in everything:
        places = [
            (
                MARGIN + index * across,
                HEIGHT - MARGIN - (value - low) / span * (HEIGHT - 2 * MARGIN),
            )
            for index, value in enumerate(line)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        if len(places) > 1:
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" '
                'stroke-linejoin="round" stroke-linecap="round"/>'
            )
        x, y = places[-1]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" '
        f'height="{HEIGHT}" role="img" aria-label="{escape(about)}">'
        f"{''.join(parts)}</svg>"
    )
