"""Navigation and page setup."""

from pathlib import Path

import streamlit as st

SIDEBAR_PX = 200
STATIC = Path(__file__).parent / "static"

st.set_page_config(
    page_title="Chromabench",
    page_icon=STATIC / "icon.png",
    layout="wide",
    initial_sidebar_state=SIDEBAR_PX,
)
st.logo(STATIC / "logo.svg", size="large", icon_image=STATIC / "icon.png")

# `st.user` has this key only if a sign-in is set up (docs/security.md).
if "is_logged_in" in st.user and not st.user.is_logged_in:
    st.title("Chromabench", anchor=False)
    st.button("Sign in", on_click=st.login, type="primary", icon=":material/login:")
    st.stop()

st.navigation(
    [
        st.Page(
            "app_pages/overview.py",
            title="Overview",
            icon=":material/dashboard:",
            default=True,
            help="All studies and their progress.",
        ),
        st.Page(
            "app_pages/data.py",
            title="Data",
            icon=":material/imagesmode:",
            help="Contents of a data source and problems with its files.",
        ),
        st.Page(
            "app_pages/launch.py",
            title="Launch",
            icon=":material/rocket_launch:",
            help="Configure and start a study.",
        ),
        st.Page(
            "app_pages/live.py",
            title="Live",
            icon=":material/monitoring:",
            help="Curves and newest samples of a study while it runs.",
        ),
        st.Page(
            "app_pages/run.py",
            title="Run",
            icon=":material/directions_run:",
            help="One run: curves, samples, metrics, settings and history.",
        ),
        st.Page(
            "app_pages/gallery.py",
            title="Gallery",
            icon=":material/photo_library:",
            help="Pictures of all runs side by side, by epoch or by score.",
        ),
        st.Page(
            "app_pages/compare.py",
            title="Compare",
            icon=":material/table_chart:",
            help="Metrics and findings of a study, with downloads.",
        ),
        st.Page(
            "app_pages/colorize.py",
            title="Colorize",
            icon=":material/palette:",
            help="Colorize your own pictures with trained models.",
        ),
    ]
).run()
