"""The dashboard: the ASGI application with its routes, and the script that shows its pages.

Servers import this file and serve `app`: `streamlit run dashboard/app.py`, `python -m dashboard`,
`uvicorn dashboard.app:app`. Streamlit then runs the file as a script whenever it shows a page.
"""

import sys
from pathlib import Path

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

# `streamlit run` adds only the folder of this file, and a checkout need not be installed.
PROJECT = str(Path(__file__).resolve().parent.parent)
if PROJECT not in sys.path:
    sys.path.append(PROJECT)

from dashboard import startup
from dashboard.components.queue_banner import queue_banner
from dashboard.routes import ROUTES
from engine.system import extras

SIDEBAR_PX = 200
STATIC = Path(__file__).parent / "static"
# fmt: off
PAGES = (
    # name and file, icon, help
    ("overview", "dashboard",      "All studies and their progress."),
    ("data",     "imagesmode",     "Contents of a data source and problems with its files."),
    ("launch",   "rocket_launch",  "Configure and start a study."),
    ("live",     "monitoring",     "Curves and newest samples of a study while it runs."),
    ("run",      "directions_run", "One run: curves, samples, metrics, settings and history."),
    ("gallery",  "photo_library",  "Pictures of all runs side by side, by epoch or by score."),
    ("compare",  "table_chart",    "Metrics and findings of a study, with downloads."),
    ("colorize", "palette",        "Colorize your own pictures with trained models."),
)
# fmt: on


def show_page() -> None:
    """Shows the navigation and the selected page, or the sign-in if one is set up."""
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
        missing_package = extras.missing_message("auth", "The sign-in")
        if missing_package is not None:
            st.error(missing_package)
        else:
            st.button("Sign in", on_click=st.login, type="primary", icon=":material/login:")
        st.stop()

    pages = [
        st.Page(
            f"app_pages/{name}.py",
            title=name.capitalize(),
            icon=f":material/{icon}:",
            default=name == "overview",
            help=purpose,
        )
        for name, icon, purpose in PAGES
    ]
    page = st.navigation(pages)
    queue_banner()
    page.run()


if get_script_run_ctx(suppress_warning=True) is not None:
    show_page()
elif __name__ == "__main__":  # `python dashboard/app.py`, without a server
    startup.exit_with_error(startup.HOW_TO_START, 2)
else:
    startup.check_installation()
    startup.configure_log()
    startup.log_ignored_variables()
    startup.warn_if_exposed()
    startup.log_weights_hint()
    # `streamlit run` finds the application by this assignment.
    app = st.App(__file__, routes=ROUTES)
