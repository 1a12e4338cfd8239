"""What people write about studies and runs: a name, a note, tags."""

from collections.abc import Sequence

import streamlit as st

from dashboard import actions
from dashboard.components.escape import plain
from engine.annotations import MAX_NAME, MAX_NOTE
from engine.errors import EngineError
from engine.records.runs import Run, Study

EDITING = "editing_study"  # the study whose form is open


def show_tags(tags: Sequence[str]) -> None:
    """Tags as badges in a row."""
    if tags:
        with st.container(horizontal=True, gap="small"):
            for tag in tags:
                st.badge(plain(tag), color="gray", icon=":material/label:")


def edit_study(study: Study, known_tags: Sequence[str]) -> None:
    """A form for a study's name, tags and note."""
    with st.form(f"edit_{study.id}", border=True):
        name = st.text_input("Name", study.name, max_chars=MAX_NAME, key=f"name_{study.id}")
        tags = st.multiselect(
            "Tags",
            sorted({*known_tags, *study.tags}),
            default=list(study.tags),
            accept_new_options=True,
            placeholder="type a new one, or choose",
            key=f"tags_{study.id}",
        )
        note = st.text_area("Note", study.note, max_chars=MAX_NOTE, key=f"note_{study.id}")
        with st.container(horizontal=True):
            is_saved = st.form_submit_button("Save", type="primary", icon=":material/check:")
            is_left = st.form_submit_button("Leave it")
    if is_saved:
        try:
            actions.edit_study(study.id, name, note, tags)
        except EngineError as error:
            st.error(plain(str(error)), icon=":material/error:")
            return
    if is_saved or is_left:
        del st.session_state[EDITING]
        st.rerun()


def edit_run(run: Run, known_tags: Sequence[str]) -> None:
    """A run's tags and note, kept when Save is pressed."""
    with st.form(f"edit_run_{run.id}", border=False):
        tags = st.multiselect(
            "Tags",
            sorted({*known_tags, *run.tags}),
            default=list(run.tags),
            accept_new_options=True,
            placeholder="type a new one, or choose",
        )
        note = st.text_area("Note", run.note, max_chars=MAX_NOTE, height=120)
        if st.form_submit_button("Save", icon=":material/check:"):
            try:
                actions.annotate_run(run.id, note, tags)
            except EngineError as error:
                st.error(plain(str(error)), icon=":material/error:")
                return
            st.toast("Saved", icon=":material/check:")
            st.rerun()
