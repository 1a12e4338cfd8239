"""Data: what is in a source, and what is wrong with it."""

import streamlit as st

from dashboard import actions
from dashboard.components.escape import plain
from dashboard.components.sources.source_form import source_form
from dashboard.components.sources.source_sections import (
    show_counts,
    show_faults,
    show_figures,
    show_pictures,
)
from dashboard.queries import sources
from engine.errors import EngineError
from engine.records.runs import RunState

REFRESH_S = 1.0

st.title("Data", anchor=False)
text = source_form("data", st.query_params.get("source", ""))
if text is None:
    st.stop()
try:
    look = sources.look(text)
except EngineError as error:
    st.error(plain(str(error)), icon=":material/error:")
    st.stop()
st.query_params["source"] = look.source.text
st.session_state["data_asked"] = look.source.text
if look.is_folder:
    st.caption(plain(look.source.about))


def show_progress() -> None:
    """How far the look is; the page is drawn anew when it has ended."""
    now = sources.newest_check(look.source.text)
    if now is None or now.state.is_finished():
        st.rerun()
    doing = "waiting for its turn" if now.state == RunState.QUEUED else f"{now.progress:.0%}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(now.progress, text=f"Looking at every picture once: {doing}", width="stretch")
        if st.button("Stop", type="tertiary", disabled=now.state == RunState.STOPPING):
            try:
                actions.stop_job(now.id)
            except EngineError as error:
                st.toast(plain(str(error)))


if look.job is not None and not look.job.state.is_finished():
    st.fragment(show_progress, run_every=REFRESH_S)()
    st.stop()

if look.summary is None:
    if look.changed is not None:
        st.warning(plain(look.changed), icon=":material/update:")
    if look.job is not None and look.job.state != RunState.DONE:
        st.warning(f"The last look ended: {plain(look.job.reason or look.job.state)}.")
    with st.container(border=True, horizontal_alignment="center"):
        st.subheader("These pictures have not been looked at", anchor=False)
        st.markdown(
            f"{len(look.source.names()):,} pairs were found by their names. A look reads each of "
            "them once: it finds what is wrong, what looks alike, and what is in them. Your files "
            "stay as they are."
        )
        if st.button("Look at them", type="primary", icon=":material/search:"):
            try:
                actions.check(look.source.text)
            except EngineError as error:
                st.error(plain(str(error)), icon=":material/error:")
                st.stop()
            st.rerun()
    st.stop()

show_counts(look)
st.page_link(
    "app_pages/launch.py",
    label="Train on these pairs",
    icon=":material/rocket_launch:",
    query_params={"source": look.source.text},
)
label = f"Faults ({len(look.faults):,})" if look.faults else "Faults"
pictures, figures, faults = st.tabs(["Pictures", "Figures", label])
with pictures:
    show_pictures(look)
with figures:
    show_figures(look)
with faults:
    show_faults(look)
