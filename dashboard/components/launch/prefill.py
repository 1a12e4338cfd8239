"""Fills the launch form from a published study, or from an existing study or run."""

import streamlit as st

from dashboard.components.escape import escape_markdown
from dashboard.components.launch.configurations_form import (
    SELECTED,
    clear_changes,
    fill_configurations,
)
from dashboard.components.launch.launch_form import fill_changes
from dashboard.queries import launch
from engine.errors import EngineError
from engine.presets import PUBLISHED_STUDIES, get_configurations

COPIED_FROM = "launch_cloned"  # session state: the study or run that the form was filled from


def published_studies() -> None:
    """Draws one button per published study; the button fills in its budget and configurations."""
    st.pills(
        "Published studies",
        list(PUBLISHED_STUDIES),
        key="launch_published",
        on_change=_fill_from_published,
        help="Fills in the budget and the configurations of a published study.",
    )


def _fill_from_published() -> None:
    title = st.session_state["launch_published"]
    if title:
        budget, configurations = PUBLISHED_STUDIES[title]
        st.session_state["launch_budget"] = budget
        fill_configurations(get_configurations(configurations))


def prefill_from_url() -> str:
    """Fills the form from the study or run in the URL, if any, and returns the data source.

    Without a study or run, the data source is the URL parameter `source`, or an empty text.
    """
    source = st.query_params.get("source", "")
    # Streamlit deletes the state of widgets when the user leaves the page.
    is_new_visit = SELECTED not in st.session_state
    if is_new_visit:
        clear_changes()
    for parameter, read_prefill in (
        ("clone", launch.prefill_from_study),
        ("clone_run", launch.prefill_from_run),
    ):
        cloned_id = st.query_params.get(parameter, "")
        if not cloned_id.isdecimal():
            continue
        try:
            prefill = read_prefill(int(cloned_id))
        except EngineError as error:
            st.warning(escape_markdown(str(error)), icon=":material/error:")
            continue
        if is_new_visit or st.session_state.get(COPIED_FROM) != prefill.copied_from:
            _fill(prefill)
            st.session_state[COPIED_FROM] = prefill.copied_from
        source = prefill.data
        st.caption(
            f":material/content_copy: Copied from {prefill.copied_from}. Seeds start at 0. "
            "You can edit every field."
        )
    return source


def _fill(prefill: launch.LaunchPrefill) -> None:
    st.session_state["launch_source"] = st.session_state["launch_requested"] = prefill.data
    st.session_state["launch_budget"] = prefill.budget
    st.session_state["launch_seeds"] = prefill.seeds
    st.session_state["launch_name"] = prefill.name
    fill_configurations(prefill.configurations)
    fill_changes(prefill.budget, prefill.changes)
