"""The ASGI application that `python -m dashboard` serves: pages and routes."""

from pathlib import Path

import streamlit as st

from dashboard.routes import ROUTES

app = st.App(Path(__file__).parent / "app.py", routes=ROUTES)
