"""What `python -m dashboard` serves: the pages, and what their components fetch by themselves."""

from pathlib import Path

import streamlit as st

from dashboard.routes import ROUTES

app = st.App(Path(__file__).parent / "app.py", routes=ROUTES)
