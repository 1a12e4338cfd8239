"""Declares components whose script and style sheet the browser loads once.

Streamlit sends the script of a component together with every change of its data. Therefore the
script given to Streamlit is the short `loader.js`, which imports the real script from `routes`.
"""

import json
from pathlib import Path

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from dashboard.routes import PREFIX
from dashboard.startup import HOW_TO_START

_LOADER = (Path(__file__).parent / "loader.js").read_text(encoding="utf-8")


def component(name: str, html: str, subject: str) -> ComponentRenderer:
    """Declares a component with the script and the style sheet in the folder `name`.

    Args:
        name: the name of the component's folder in `dashboard/components`, and of its files.
        html: the HTML of the component before its script runs.
        subject: the subject of the error message if the script cannot be loaded.
    """
    path = f"{PREFIX.removeprefix('/')}/static/{name}/{name}"
    constants = {
        "name": name,
        "script": f"{path}.js",
        "styles": f"{path}.css",
        "subject": subject,
        "howToStart": HOW_TO_START,
    }
    return st.components.v2.component(
        f"chromabench.{name}",
        html=html,
        js=f"const COMPONENT = {json.dumps(constants)}\n{_LOADER}",
        isolate_styles=False,
    )
