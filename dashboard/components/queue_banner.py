"""The banner at the top of every page while queued jobs cannot run."""

import streamlit as st

from dashboard import actions
from dashboard.components.escape import escape_markdown
from engine.errors import EngineError

SHOWN_REASON = "queue_banner"  # session state: the reason in the banner; None without a banner


def queue_banner() -> None:
    """Continues unfinished jobs, and shows why if that is not possible."""
    reason = _continue_queue()
    st.session_state[SHOWN_REASON] = reason
    if reason is not None:
        st.warning(
            f"Queued jobs do not run. {escape_markdown(reason)}", icon=":material/pause_circle:"
        )


def watch_queue() -> None:
    """Continues unfinished jobs; redraws the page if the banner is to change.

    Fragments that refresh themselves call this function, so that idle pages need no timer.
    """
    if _continue_queue() != st.session_state.get(SHOWN_REASON):
        st.rerun()


def _continue_queue() -> str | None:
    """Returns the reason why unfinished jobs cannot run, or None."""
    try:
        actions.continue_queue()
    except EngineError as error:
        return str(error)
    return None
