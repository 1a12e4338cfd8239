"""The card of a study on the Overview page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard import actions
from dashboard.components.configuration_label import configuration_label, legend
from dashboard.components.escape import escape_markdown
from dashboard.components.launch.extend_form import EXTENDED_STUDY, extend_form
from dashboard.components.runs.action_menu import (
    PENDING_ACTION,
    MenuAction,
    confirmation,
    menu,
    study_actions,
)
from dashboard.components.runs.annotations import EDITED_STUDY, edit_study, show_tags
from dashboard.components.runs.status import activity, format_duration, format_time, state_badges
from dashboard.queries.studies import Leader, StudyCard
from engine.jobs.progress import RunProgress, study_seconds_left
from engine.metrics.catalog import CATALOG
from engine.report import theme
from engine.report.sparkline import sparkline
from engine.system.disk import format_bytes

LINKED_PAGES = (
    ("live", "Live", ":material/monitoring:"),
    ("gallery", "Gallery", ":material/photo_library:"),
    ("compare", "Compare", ":material/table_chart:"),
)
MAX_NOTE_PREVIEW = 160  # characters


@dataclass(frozen=True)
class StudyCardData:
    """The data that a card shows besides the study and its runs.

    Attributes:
        thumbnail: the file of the newest samples; None if there are none.
        n_bytes: the size of the study's files.
        leader: the leading configuration; None if no configuration is significantly better than
            all others.
        psnr_by_epoch: run id -> validation PSNR, epoch by epoch.
        progress: run id -> progress of an active run.
        all_tags: the tags of all studies, as suggestions for editing.
    """

    thumbnail: str | None
    n_bytes: int
    leader: Leader | None
    psnr_by_epoch: Mapping[int, Sequence[float]]
    progress: Mapping[int, RunProgress]
    all_tags: Sequence[str]


def study_card(card: StudyCard, data: StudyCardData) -> None:
    """Draws the card of a study."""
    menu_key, menu_actions = f"study_{card.study.id}", _menu_actions(card, data.n_bytes)
    with st.container(border=True):
        picture, facts, chart = st.columns([5, 7, 4], vertical_alignment="center", gap="medium")
        with picture:
            _thumbnail(card, data.thumbnail)
        with facts:
            _facts(card, data)
        with chart:
            _psnr_chart(card, data.psnr_by_epoch)
            if data.leader is not None:
                _leader(data.leader)
        with st.container(horizontal=True, vertical_alignment="center"):
            _links(card)
            menu(menu_key, menu_actions)
        confirmation(menu_key, menu_actions)
        if st.session_state.get(PENDING_ACTION, ("", ""))[0] != menu_key:
            if st.session_state.get(EXTENDED_STUDY) == card.study.id:
                extend_form(card)
            if st.session_state.get(EDITED_STUDY) == card.study.id:
                edit_study(card.study, data.all_tags)


def _menu_actions(card: StudyCard, n_bytes: int) -> list[MenuAction]:
    study = card.study
    return [
        MenuAction(
            "Edit name, tags and note",
            "edit",
            lambda: st.session_state.update({EDITED_STUDY: study.id}),
        ),
        MenuAction(
            "Add seeds, configurations or epochs",
            "add",
            lambda: st.session_state.update({EXTENDED_STUDY: study.id}),
        ),
        *study_actions(
            f"study {study.id}, {study.name},",
            card.runs,
            n_bytes,
            study.archived_at is not None,
            lambda is_archived: actions.archive_study(study.id, is_archived),
        ),
    ]


def _links(card: StudyCard) -> None:
    query = {"study": str(card.study.id)}
    for page, label, icon in LINKED_PAGES:
        st.page_link(f"app_pages/{page}.py", label=label, icon=icon, query_params=query)
    st.page_link(
        "app_pages/launch.py",
        label="Clone",
        icon=":material/content_copy:",
        query_params={"clone": str(card.study.id)},
    )


def _thumbnail(card: StudyCard, thumbnail: str | None) -> None:
    if thumbnail:
        st.image(thumbnail, width="stretch", alt=f"newest samples of {card.study.name}")
    elif card.is_unfinished:
        st.caption("The first samples appear after the first epoch.")
    else:
        st.caption("No run has any samples.")


def _facts(card: StudyCard, data: StudyCardData) -> None:
    study = card.study
    st.subheader(escape_markdown(study.name), anchor=False)
    archived = " · archived" if study.archived_at is not None else ""
    st.caption(
        f"study {study.id} · {escape_markdown(study.data)} · budget {study.budget.name}, "
        f"{study.budget.px} px · {format_time(study.created_at)} · "
        f"{format_bytes(data.n_bytes)}{archived}"
    )
    state_badges(card.runs)
    show_tags(study.tags)
    if study.note:
        st.caption(escape_markdown(study.note.splitlines()[0][:MAX_NOTE_PREVIEW]))
    if card.is_unfinished:
        seconds_left = study_seconds_left(card.runs, data.progress)
        left = f", about {format_duration(seconds_left)} left" if seconds_left is not None else ""
        st.progress(card.progress, f"{card.progress:.0%} trained{left}")
        for run in card.runs:
            if run.state.is_active():
                now = activity(run, data.progress.get(run.id))
                st.caption(f"**{run.configuration}**, seed {run.seed}: {now}")


def _psnr_chart(card: StudyCard, psnr_by_epoch: Mapping[int, Sequence[float]]) -> None:
    """Draws the validation PSNR of all runs as a sparkline with a legend."""
    lines: dict[str, list[tuple[str, Sequence[float]]]] = {}
    for run in card.runs:
        if values := psnr_by_epoch.get(run.id):
            colour = theme.colour(run.configuration)
            lines.setdefault(run.configuration, []).append((colour, values))
    if not lines:
        return
    metric = CATALOG["val_psnr"]
    best = max(max(values) for of_configuration in lines.values() for _, values in of_configuration)
    highest = f"up to {metric.format(best)} {metric.unit}"
    description = f"{metric.label} by epoch, {highest}"
    st.image(sparkline(lines, description), width="stretch", alt=description)
    st.caption(f"{metric.label}, {highest}")
    legend(lines)


def _leader(leader: Leader) -> None:
    metric = CATALOG[leader.metric]
    text = f" leads in {metric.label}: {metric.format(leader.value)} {metric.arrow}"
    configuration_label(leader.configuration, text)
