"""Overview: all studies, and what is running now."""

import streamlit as st

from dashboard import reads
from dashboard.components.empty import no_studies
from dashboard.components.study_card import study_card
from engine.records import RunState

REFRESH_S = 2.0
IDLE_REFRESH_S = 15.0  # somebody may start a study elsewhere

st.title("Overview", anchor=False)

cards = reads.cards()
if not cards:
    no_studies()
    st.stop()


def show() -> None:
    """The counts, then the studies, newest first."""
    cards = reads.cards()
    with st.container(horizontal=True):
        st.metric("Studies", len(cards), border=True)
        for label, states in (
            ("Runs training", (RunState.RUNNING, RunState.STOPPING)),
            ("Runs waiting", (RunState.QUEUED,)),
            ("Runs done", (RunState.DONE,)),
        ):
            count = sum(card.count(*states) for card in cards)
            st.metric(label, count, border=True)
    for card in cards:
        study_card(card)
    if any(card.is_unfinished for card in cards) != unfinished:
        st.rerun()


unfinished = any(card.is_unfinished for card in cards)
st.fragment(show, run_every=REFRESH_S if unfinished else IDLE_REFRESH_S)()
