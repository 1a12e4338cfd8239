"""Choosing a study: the choice lives in the address, so that a view is a link."""

import streamlit as st

from dashboard import reads
from dashboard.components.empty import no_studies, nothing_here
from engine.records import Study


def pick_study() -> Study:
    """The study that the address names, else the one chosen last, else the newest.

    Without any there is an invitation, and the page ends here.
    """
    found = reads.studies(st.query_params.get("study", st.session_state.get("study_shown", "")))
    if not found:
        no_studies()
        st.stop()
    names = {study.id: f"{study.name} · study {study.id}{_archived(study)}" for study in found}

    # The address leads when it changed by itself: a link, another page, back and forward.
    shown = st.session_state.get("study_shown", "")
    asked = st.query_params.get("study", "")
    if asked != shown or "study" not in st.session_state:
        wanted = asked or shown or str(found[0].id)
        known = wanted.isdecimal() and int(wanted) in names
        st.session_state["study"] = int(wanted) if known else None
    chosen = st.selectbox(
        "Study",
        list(names),
        index=None,
        format_func=lambda study_id: names[study_id],
        placeholder="Choose a study",
        key="study",
    )
    if chosen is None:
        nothing_here("There is no such study; choose one of these.")
        st.stop()
    st.query_params["study"] = st.session_state["study_shown"] = str(chosen)
    return next(study for study in found if study.id == chosen)


def _archived(study: Study) -> str:
    return " · archived" if study.archived_at is not None else ""
