"""The navigation and nothing else."""

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

# Only where a sign-in is set up (docs/security.md) does `st.user` know of one.
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
            help="All studies, and what is running now.",
        ),
        st.Page(
            "app_pages/data.py",
            title="Data",
            icon=":material/imagesmode:",
            help="What is in a source, and what is wrong with it.",
        ),
        st.Page(
            "app_pages/launch.py",
            title="Launch",
            icon=":material/rocket_launch:",
            help="Start a comparison.",
        ),
        st.Page(
            "app_pages/live.py",
            title="Live",
            icon=":material/monitoring:",
            help="Curves and newest samples of a study as they move.",
        ),
        st.Page(
            "app_pages/run.py",
            title="Run",
            icon=":material/directions_run:",
            help="One run: settings, attempts, samples, numbers, a note.",
        ),
        st.Page(
            "app_pages/gallery.py",
            title="Gallery",
            icon=":material/photo_library:",
            help="The same pictures through the epochs, side by side.",
        ),
        st.Page(
            "app_pages/compare.py",
            title="Compare",
            icon=":material/table_chart:",
            help="The comparison table and its CSV.",
        ),
        st.Page(
            "app_pages/colorize.py",
            title="Colorize",
            icon=":material/palette:",
            help="Drop a picture, see its colours by the best model, or by several.",
        ),
    ]
).run()
