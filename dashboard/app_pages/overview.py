"""Overview: all studies, and what is running now."""

import streamlit as st

from dashboard import reads
from dashboard.components.empty import no_studies, nothing_here
from dashboard.components.study_card import study_card
from engine.records import RunState

REFRESH_S = 2.0
IDLE_REFRESH_S = 15.0  # somebody may start a study elsewhere

st.title("Overview", anchor=False)

cards = reads.cards()
if not cards:
    no_studies()
    st.stop()


away = sum(card.study.archived_at is not None for card in cards)
with_archived = bool(away) and st.toggle(f"Show archived ({away})", key="with_archived")


def show() -> None:
    """The counts, then the studies, newest first."""
    everything = reads.cards()
    cards = [it for it in everything if with_archived or it.study.archived_at is None]
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
    if not cards:
        nothing_here("All studies are archived.")
    if any(card.is_unfinished for card in everything) != unfinished:
        st.rerun()


unfinished = any(card.is_unfinished for card in cards)
st.fragment(show, run_every=REFRESH_S if unfinished else IDLE_REFRESH_S)()
