"""Choosing a study: the choice lives in the address, so that a view is a link."""

import streamlit as st

from dashboard import reads
from dashboard.components.empty import no_studies
from engine.records import Study


def pick_study() -> Study:
    """The chosen study, the newest without a choice; without any, an invitation and the end."""
    found = reads.studies()
    if not found:
        no_studies()
        st.stop()
    names = {study.id: f"{study.name} · study {study.id}" for study in found}
    chosen = st.selectbox(
        "Study",
        list(names),
        format_func=lambda study_id: names[study_id],
        key="study",
        bind="query-params",
    )
    return next(study for study in found if study.id == chosen)
