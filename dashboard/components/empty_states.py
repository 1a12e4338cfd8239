"""Messages for pages without content."""

import uuid

import streamlit as st

from dashboard import actions
from dashboard.components.escape import escape_markdown
from engine.errors import EngineError


def no_studies() -> None:
    """Offers to start the demo study."""
    with st.container(border=True, horizontal_alignment="center"):
        st.subheader("No studies yet", anchor=False, text_alignment="center")
        st.markdown(
            "The demo study trains four configurations on about 2,100 pairs of line art and "
            "colour pictures and compares them. It takes about six minutes on two CPU cores.",
            text_alignment="center",
        )
        form_key = st.session_state.setdefault("demo_key", uuid.uuid4().hex)
        if st.button("Start demo study", type="primary", icon=":material/rocket_launch:"):
            try:
                study_id = actions.start_demo(form_key)
            except EngineError as error:
                st.error(escape_markdown(str(error)))
                return
            del st.session_state["demo_key"]
            st.switch_page("app_pages/live.py", query_params={"study": str(study_id)})


def empty_state(text: str) -> None:
    """Shows why a section has no content yet."""
    st.info(text, icon=":material/hourglass_empty:")
