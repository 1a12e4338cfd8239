"""The last lines of a run's log."""

import streamlit as st

from dashboard.queries import studies

REFRESH_S = 2.0
HEIGHT_PX = 420
ALL, WARNINGS = "All lines", "Warnings and errors"


def show_log(run_id: int, *, is_live: bool) -> None:
    """Shows the last lines of a run's log, or only its warnings and errors.

    Args:
        run_id: the run.
        is_live: whether new lines are shown while the page is open.
    """
    shown = st.selectbox("Lines", [ALL, WARNINGS], key=f"log_lines_{run_id}", width=240)

    def refresh() -> None:
        """Shows the lines that the log has now."""
        text = studies.log_tail(run_id, warnings_only=shown == WARNINGS)
        nothing = "The log has no warnings." if shown == WARNINGS else "The log is empty."
        # A container scrolls to the newest line; a block of code of fixed height would not.
        with st.container(height=HEIGHT_PX, autoscroll=True, border=False):
            st.code(text or nothing, language=None, wrap_lines=True)

    st.fragment(refresh, run_every=REFRESH_S if is_live else None)()
