"""A study in the overview: state of its runs, newest samples, ways into it."""

from datetime import UTC, datetime

import streamlit as st

from dashboard.components.status import badge, doing, moment
from dashboard.components.text import plain
from dashboard.reads import StudyCard

PAGES = (
    ("live", "Live", ":material/monitoring:"),
    ("gallery", "Gallery", ":material/photo_library:"),
    ("compare", "Compare", ":material/table_chart:"),
)


def study_card(card: StudyCard) -> None:
    """One bordered card."""
    study = card.study
    with st.container(border=True):
        words, picture = st.columns([3, 2], vertical_alignment="center")
        with words:
            st.subheader(plain(study.name), anchor=False)
            st.caption(
                f"study {study.id} · {plain(study.data)} · budget {study.budget.name} · "
                f"{study.budget.px} px · {moment(study.created_at)}"
            )
            if card.is_unfinished:
                st.progress(card.progress, f"{card.progress:.0%} of training")
            for run in card.runs:
                with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                    badge(run)
                    st.markdown(f"**{run.configuration}**, seed {run.seed}", width="content")
                    st.caption(doing(run, datetime.now(UTC)), width="content")
            with st.container(horizontal=True):
                for page, label, icon in PAGES:
                    link = {"study": str(study.id)}
                    st.page_link(f"app_pages/{page}.py", label=label, icon=icon, query_params=link)
        if card.thumbnail:
            picture.image(card.thumbnail, width="stretch", alt=f"newest samples of {study.name}")
        else:
            picture.caption("The first samples appear after the first epoch.")
