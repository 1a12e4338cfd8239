"""The lines of the Compare page about exports to MLflow: what is uploaded, or why it failed."""

import streamlit as st

from dashboard import actions
from dashboard.components.escape import escape_markdown
from dashboard.components.runs.action_menu import perform
from dashboard.queries.exports import export_lines

REFRESH_S = 2.0


def show_exports(study_id: int) -> None:
    """Shows the exports of a study that are not finished or have failed, if there are any."""
    if export_lines(study_id):
        st.fragment(_show_lines, run_every=REFRESH_S)(study_id)


def _show_lines(study_id: int) -> None:
    for line in export_lines(study_id):
        sign = ":orange[:material/warning:]" if line.has_error else ":material/cloud_upload:"
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(f"{sign} {escape_markdown(line.sentence)}", width="stretch")
            key = f"cancel_export_{line.export_id}"
            if line.can_cancel and st.button("Cancel", type="tertiary", key=key):
                perform(lambda: actions.cancel_exports(study_id))
