"""Forms for names, notes and tags of studies and runs."""

from collections.abc import Sequence

import streamlit as st

from dashboard import actions
from dashboard.components.escape import escape_badge, escape_markdown
from engine.annotations import MAX_NAME, MAX_NOTE
from engine.errors import EngineError
from engine.records.runs import Run, Study

EDITED_STUDY = "edited_study"  # session state: the id of the study whose form is open
TAGS_PLACEHOLDER = "Choose or add tags"


def show_tags(tags: Sequence[str]) -> None:
    """Shows tags as a row of badges."""
    if tags:
        with st.container(horizontal=True, gap="small"):
            for tag in tags:
                st.badge(escape_badge(tag), color="gray", icon=":material/label:")


def edit_study(study: Study, all_tags: Sequence[str]) -> None:
    """Draws a form for the name, tags and note of a study.

    Args:
        study: the study.
        all_tags: the tags of all studies, as suggestions.
    """
    with st.form(f"edit_{study.id}", border=True):
        name = st.text_input("Name", study.name, max_chars=MAX_NAME, key=f"name_{study.id}")
        tags = st.multiselect(
            "Tags",
            sorted({*all_tags, *study.tags}),
            default=list(study.tags),
            accept_new_options=True,
            placeholder=TAGS_PLACEHOLDER,
            key=f"tags_{study.id}",
        )
        note = st.text_area("Note", study.note, max_chars=MAX_NOTE, key=f"note_{study.id}")
        with st.container(horizontal=True):
            is_saved = st.form_submit_button("Save", type="primary", icon=":material/check:")
            is_cancelled = st.form_submit_button("Cancel")
    if is_saved:
        try:
            actions.edit_study(study.id, name, note, tags)
        except EngineError as error:
            st.error(escape_markdown(str(error)), icon=":material/error:")
            return
    if is_saved or is_cancelled:
        del st.session_state[EDITED_STUDY]
        st.rerun()


def edit_run(run: Run, all_tags: Sequence[str]) -> None:
    """Draws a form for the tags and note of a run.

    Args:
        run: the run.
        all_tags: the tags of the study's runs, as suggestions.
    """
    with st.form(f"edit_run_{run.id}", border=False):
        tags = st.multiselect(
            "Tags",
            sorted({*all_tags, *run.tags}),
            default=list(run.tags),
            accept_new_options=True,
            placeholder=TAGS_PLACEHOLDER,
        )
        note = st.text_area("Note", run.note, max_chars=MAX_NOTE, height=120)
        if st.form_submit_button("Save", icon=":material/check:"):
            try:
                actions.annotate_run(run.id, note, tags)
            except EngineError as error:
                st.error(escape_markdown(str(error)), icon=":material/error:")
                return
            st.toast("Saved", icon=":material/check:")
            st.rerun()
