"""Overview: all studies and their progress."""

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from dashboard.components.empty_states import empty_state, no_studies
from dashboard.components.queue_banner import watch_queue
from dashboard.components.runs.study_card import StudyCardData, study_card
from dashboard.components.runs.study_filters import STATE_GROUPS, study_filters
from dashboard.queries import curves, studies
from dashboard.queries.studies import StudyCard

REFRESH_S = 2.0
IDLE_REFRESH_S = 15.0  # another session or the command line may start a study
STUDIES_PER_PAGE = 8

st.title("Overview", anchor=False)

first_cards = studies.study_cards()
if not first_cards:
    no_studies()
    st.stop()
# The first run of the fragment uses these cards instead of reading the store again.
unused_cards = [first_cards]
was_unfinished = any(card.is_unfinished for card in first_cards)
all_tags = sorted({tag for card in first_cards for tag in card.tags})
filters = study_filters(first_cards, all_tags)


def show_counts(cards: Sequence[StudyCard]) -> None:
    """Shows the number of studies and of runs by state."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.metric("Studies", len(cards), border=True, width=150)
        for state in ("running", "queued", "done"):
            count = sum(card.count(*STATE_GROUPS[state]) for card in cards)
            st.metric(f"{state.capitalize()} runs", count, border=True, width=150)
        if st.button("New study", type="primary", icon=":material/add:"):
            st.switch_page("app_pages/launch.py")


def show_cards(cards: Sequence[StudyCard]) -> None:
    """Shows the cards of one page."""
    now = datetime.now(UTC)
    thumbnails = studies.thumbnails(cards)
    psnr_by_epoch = curves.psnr_by_epoch([run.id for card in cards for run in card.first_seeds])
    for card in cards:
        progress = (
            curves.run_progress(card.runs, studies.attempts(card.runs), now)
            if card.is_unfinished
            else {}
        )
        data = StudyCardData(
            thumbnail=thumbnails.get(card.study.id),
            n_bytes=studies.disk_used(tuple(run.id for run in card.runs)),
            leader=studies.leader(card),
            psnr_by_epoch=psnr_by_epoch,
            progress=progress,
            all_tags=all_tags,
        )
        study_card(card, data)


def refresh() -> None:
    """Draws the counts and the studies, newest first."""
    watch_queue()
    cards = unused_cards.pop() if unused_cards else studies.study_cards()
    visible = [card for card in cards if filters.is_visible(card)]
    show_counts(visible)
    matching = [card for card in cards if filters.matches(card)]
    n_pages = max(1, -(-len(matching) // STUDIES_PER_PAGE))
    page = 1
    if n_pages > 1:
        page = st.pagination(n_pages, key="page", bind="query-params")
    show_cards(matching[(page - 1) * STUDIES_PER_PAGE : page * STUDIES_PER_PAGE])
    if not matching:
        empty_state("No studies match these filters." if visible else "All studies are archived.")
    if any(card.is_unfinished for card in cards) != was_unfinished:
        st.rerun()


st.fragment(refresh, run_every=REFRESH_S if was_unfinished else IDLE_REFRESH_S)()
