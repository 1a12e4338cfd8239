"""A study in the overview: state of its runs, newest samples, ways into it."""

from datetime import UTC, datetime

import streamlit as st

from dashboard import actions
from dashboard.components.deeds import PENDING, Deed, confirmation, menu, study_deeds
from dashboard.components.extend_form import EXTENDING, extend_form
from dashboard.components.status import badge, doing, moment
from dashboard.components.text import plain
from dashboard.reads import StudyCard
from engine.disk import say_bytes

PAGES = (
    ("live", "Live", ":material/monitoring:"),
    ("gallery", "Gallery", ":material/photo_library:"),
    ("compare", "Compare", ":material/table_chart:"),
)


def study_card(card: StudyCard) -> None:
    """One bordered card."""
    study, now = card.study, datetime.now(UTC)
    adding = Deed(
        "Add seeds, epochs…", "add", lambda: st.session_state.update({EXTENDING: study.id})
    )
    deeds = study_deeds(
        f"study {study.id}, {study.name},",
        card.runs,
        card.n_bytes,
        study.archived_at is not None,
        lambda is_away: actions.archive_study(study.id, is_away),
    )
    with st.container(border=True):
        words, picture = st.columns([3, 2], vertical_alignment="center")
        with words:
            st.subheader(plain(study.name), anchor=False)
            archived = " · archived" if study.archived_at is not None else ""
            st.caption(
                f"study {study.id} · {plain(study.data)} · budget {study.budget.name} · "
                f"{study.budget.px} px · {moment(study.created_at)} · "
                f"{say_bytes(card.n_bytes)}{archived}"
            )
            if card.is_unfinished:
                st.progress(card.progress, f"{card.progress:.0%} of training")
            for run in card.runs:
                with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                    badge(run)
                    st.markdown(f"**{run.configuration}**, seed {run.seed}", width="content")
                    st.caption(doing(run, now, before=card.before.get(run.id, 0)), width="content")
            with st.container(horizontal=True, vertical_alignment="center"):
                for page, label, icon in PAGES:
                    link = {"study": str(study.id)}
                    st.page_link(f"app_pages/{page}.py", label=label, icon=icon, query_params=link)
                clone = {"clone": str(study.id)}
                icon = ":material/content_copy:"
                st.page_link("app_pages/launch.py", label="Clone", icon=icon, query_params=clone)
                menu(f"study_{study.id}", [adding, *deeds])
        if card.thumbnail:
            picture.image(card.thumbnail, width="stretch", alt=f"newest samples of {study.name}")
        else:
            picture.caption(
                "The first samples appear after the first epoch."
                if card.is_unfinished
                else "No run got as far as its first samples."
            )
        confirmation(f"study_{study.id}", deeds)
        asked = st.session_state.get(PENDING, ("", ""))[0]
        if st.session_state.get(EXTENDING) == study.id and asked != f"study_{study.id}":
            extend_form(card)
