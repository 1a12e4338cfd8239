"""The search and the filters of the Overview page."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard.queries.studies import StudyCard
from engine.records.runs import RunState

MIN_STUDIES_TO_FILTER = 4

STATE_GROUPS: dict[str, tuple[RunState, ...]] = {
    "running": (RunState.RUNNING, RunState.STOPPING),
    "queued": (RunState.QUEUED,),
    "done": (RunState.DONE,),
    "stopped": (RunState.STOPPED,),
    "failed": (RunState.FAILED, RunState.CRASHED, RunState.DIVERGED),
}


@dataclass(frozen=True)
class StudyFilters:
    """Filters of the studies on the Overview page; an empty filter accepts all studies.

    Attributes:
        search: text in the study's name, note or id, or in the name of a configuration.
        data_sources: data sources as in `Study.data`.
        tags: tags of which the study has at least one.
        states: keys of `STATE_GROUPS`; at least one run of the study is in one of these states.
        with_archived: whether archived studies are listed too.
    """

    search: str = ""
    data_sources: Sequence[str] = ()
    tags: Sequence[str] = ()
    states: Sequence[str] = ()
    with_archived: bool = False

    def is_visible(self, card: StudyCard) -> bool:
        """Returns whether a study is listed if all filters except `with_archived` are empty."""
        return self.with_archived or card.study.archived_at is None

    def matches(self, card: StudyCard) -> bool:
        """Returns whether a study passes all filters."""
        study, configurations = card.study, " ".join(run.configuration for run in card.runs)
        text = f"{study.name} {study.note} {study.id} {configurations}".lower()
        return (
            self.is_visible(card)
            and self.search.lower() in text
            and (not self.data_sources or study.data in self.data_sources)
            and (not self.tags or bool(set(self.tags) & set(card.tags)))
            and (not self.states or any(card.count(*STATE_GROUPS[state]) for state in self.states))
        )


def study_filters(cards: Sequence[StudyCard], all_tags: Sequence[str]) -> StudyFilters:
    """Draws the search and the filters, unless there are few studies and none is archived.

    Args:
        cards: all studies.
        all_tags: the tags of all studies.
    """
    n_archived = sum(card.study.archived_at is not None for card in cards)
    if len(cards) < MIN_STUDIES_TO_FILTER and not n_archived:
        return StudyFilters()
    tags, with_archived = [], False
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = st.text_input(
            "Search",
            type="search",
            placeholder="Name, note or configuration",
            live=True,
            key="search",
            bind="query-params",
        )
        data_sources = st.multiselect(
            "Data",
            sorted({card.study.data for card in cards}),
            key="data",
            bind="query-params",
            placeholder="All",
        )
        states = st.multiselect(
            "Run states", list(STATE_GROUPS), key="state", bind="query-params", placeholder="All"
        )
        if all_tags:
            tags = st.multiselect(
                "Tags", all_tags, key="tag", bind="query-params", placeholder="All"
            )
        if n_archived:
            with_archived = st.toggle(
                f"Show archived ({n_archived})", key="archived", bind="query-params"
            )
    return StudyFilters(search or "", data_sources, tags, states, with_archived)
