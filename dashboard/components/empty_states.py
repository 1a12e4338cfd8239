"""What a page shows when there is nothing yet: what it would show, and the way there."""

import uuid

import streamlit as st

from dashboard import actions
from dashboard.components.escape import plain
from engine.errors import EngineError


def no_studies() -> None:
    """An invitation to start the demo study."""
    with st.container(border=True, horizontal_alignment="center"):
        st.subheader("Nothing has been trained yet", anchor=False)
        st.markdown(
            "The demo study trains three configurations on about 2,100 pairs of line art and "
            "colour, and compares them. It takes about four minutes on two CPU cores."
        )
        key = st.session_state.setdefault("demo_key", uuid.uuid4().hex)
        if st.button("Start the demo study", type="primary", icon=":material/rocket_launch:"):
            try:
                study_id = actions.start_demo(key)
            except EngineError as error:
                st.error(plain(str(error)))
                return
            del st.session_state["demo_key"]
            st.switch_page("app_pages/live.py", query_params={"study": str(study_id)})


def nothing_here(text: str) -> None:
    """A quiet sentence in the place of what is not there yet."""
    st.info(text, icon=":material/hourglass_empty:")
