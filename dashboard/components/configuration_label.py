"""Shows names of configurations with a dot in the colour that a configuration has in all charts."""

from collections.abc import Iterable
from pathlib import Path

import streamlit as st

from engine.report import theme
from engine.report.rendering import render

TEMPLATES = Path(__file__).parent / "templates"


def configuration_label(configuration: str, text: str, dot_size: str = "1em") -> None:
    """Shows the name of a configuration in bold after a dot in its colour.

    Args:
        configuration: the name.
        text: plain text after the name.
        dot_size: the size of the dot in CSS units.
    """
    label = render(
        TEMPLATES / "configuration.html.jinja",
        configuration=configuration,
        colour=theme.colour(configuration),
        text=text,
        dot_size=dot_size,
    )
    st.html(label)


def legend(configurations: Iterable[str]) -> None:
    """Shows the names of configurations in one line, each after a dot in its colour."""
    colours = {name: theme.colour(name) for name in configurations}
    st.html(render(TEMPLATES / "legend.html.jinja", colours=colours))
