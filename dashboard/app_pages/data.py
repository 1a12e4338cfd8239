"""Data: the contents of a data source and problems with its files."""

import streamlit as st

from dashboard.components.escape import escape_markdown
from dashboard.components.sources import source_sections as sections
from dashboard.components.sources.source_form import source_form
from dashboard.queries import sources
from engine.errors import EngineError

st.title("Data", anchor=False)
text = source_form("data", st.query_params.get("source", ""))
if text is None:
    st.stop()
try:
    status = sources.source_status(text)
except EngineError as error:
    st.error(escape_markdown(str(error)), icon=":material/error:")
    st.stop()
st.query_params["source"] = status.source.text
st.session_state["data_requested"] = status.source.text
if status.is_folder:
    st.caption(escape_markdown(status.source.about))

if status.newest_scan is not None and not status.newest_scan.state.is_finished():
    sections.show_scan(status)
    st.stop()
if status.summary is None:
    sections.offer_scan(status)
    st.stop()

sections.show_counts(status)
st.page_link(
    "app_pages/launch.py",
    label="Train on this source",
    icon=":material/rocket_launch:",
    query_params={"source": status.source.text},
)
faults_label = f"Faults ({len(status.faults):,})" if status.faults else "Faults"
pictures, statistics, faults = st.tabs(["Pictures", "Statistics", faults_label])
with pictures:
    sections.show_pictures(status)
with statistics:
    sections.show_statistics(status)
with faults:
    sections.show_faults(status)
