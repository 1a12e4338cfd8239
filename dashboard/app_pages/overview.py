"""Overview: all studies, and what is running now."""

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from dashboard.components.empty_states import no_studies, nothing_here
from dashboard.components.runs.study_card import Extras, study_card
from dashboard.queries import curves, studies
from dashboard.queries.studies import StudyCard
from engine.records.runs import RunState

REFRESH_S = 2.0
IDLE_REFRESH_S = 15.0  # somebody may start a study elsewhere
PER_PAGE = 8
FILTERED_FROM = 4  # studies, from which on there is a search

STATES: dict[str, tuple[RunState, ...]] = {
    "running": (RunState.RUNNING, RunState.STOPPING),
    "queued": (RunState.QUEUED,),
    "done": (RunState.DONE,),
    "stopped": (RunState.STOPPED,),
    "failed": (RunState.FAILED, RunState.CRASHED, RunState.DIVERGED),
}

st.title("Overview", anchor=False)

at_first = studies.cards()
if not at_first:
    no_studies()
    st.stop()
fresh = [at_first]  # what was just read is not read again for the first drawing
unfinished = any(card.is_unfinished for card in at_first)
away = sum(card.study.archived_at is not None for card in at_first)
tags = sorted({tag for card in at_first for tag in card.tags})

search, data_sets, wanted_tags, states = "", [], [], []
with_archived = False
if len(at_first) >= FILTERED_FROM or away:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = st.text_input(
            "Search",
            type="search",
            placeholder="name, note, configuration",
            live=True,
            key="search",
            bind="query-params",
        )
        data_sets = st.multiselect(
            "Data",
            sorted({card.study.data for card in at_first}),
            key="data",
            bind="query-params",
            placeholder="all",
        )
        states = st.multiselect(
            "Runs", list(STATES), key="state", bind="query-params", placeholder="any state"
        )
        if tags:
            wanted_tags = st.multiselect(
                "Tags", tags, key="tag", bind="query-params", placeholder="any"
            )
        if away:
            with_archived = st.toggle(f"Archived ({away})", key="archived", bind="query-params")


def is_wanted(card: StudyCard) -> bool:
    """Whether the filters let a study through."""
    study = card.study
    words = f"{study.name} {study.note} {study.id} {' '.join(r.configuration for r in card.runs)}"
    return (
        (with_archived or study.archived_at is None)
        and (search or "").lower() in words.lower()
        and (not data_sets or study.data in data_sets)
        and (not wanted_tags or bool(set(wanted_tags) & set(card.tags)))
        and (not states or any(card.count(*STATES[state]) for state in states))
    )


def show_counts(cards: Sequence[StudyCard]) -> None:
    """How many studies and runs there are, and what they do."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.metric("Studies", len(cards), border=True, width=150)
        for label, state in (
            ("Runs running", "running"),
            ("Runs queued", "queued"),
            ("Runs done", "done"),
        ):
            count = sum(card.count(*STATES[state]) for card in cards)
            st.metric(label, count, border=True, width=150)
        if st.button("New study", type="primary", icon=":material/add:"):
            st.switch_page("app_pages/launch.py")


def show_studies(cards: Sequence[StudyCard]) -> None:
    """A page of cards."""
    now = datetime.now(UTC)
    thumbnails = studies.thumbnails(cards)
    sparks = curves.sparks([run.id for card in cards for run in card.first_seeds])
    for card in cards:
        extras = Extras(
            thumbnail=thumbnails.get(card.study.id),
            n_bytes=studies.disk_used(tuple(run.id for run in card.runs)),
            leader=studies.leader(card),
            sparks=sparks,
            goings=curves.goings(card.runs, studies.attempts(card.runs), now)
            if card.is_unfinished
            else {},
            known_tags=tags,
        )
        study_card(card, extras)


def show() -> None:
    """The counts, then the studies, newest first."""
    everything = fresh.pop() if fresh else studies.cards()
    listed = [card for card in everything if with_archived or card.study.archived_at is None]
    show_counts(listed)
    cards = [card for card in everything if is_wanted(card)]
    pages = max(1, -(-len(cards) // PER_PAGE))
    page = 1
    if pages > 1:
        page = st.pagination(pages, key="page", bind="query-params")
    show_studies(cards[(page - 1) * PER_PAGE : page * PER_PAGE])
    if not cards:
        nothing_here(
            "No study is like that; change the filters." if listed else "All studies are archived."
        )
    if any(card.is_unfinished for card in everything) != unfinished:
        st.rerun()


st.fragment(show, run_every=REFRESH_S if unfinished else IDLE_REFRESH_S)()
