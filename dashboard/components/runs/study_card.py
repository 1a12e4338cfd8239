"""A study in the overview: how it stands, who leads, its newest samples, ways into it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import streamlit as st

from dashboard import actions
from dashboard.components.escape import plain
from dashboard.components.launch.extend_form import EXTENDING, extend_form
from dashboard.components.runs.action_menu import PENDING, Deed, confirmation, menu, study_deeds
from dashboard.components.runs.annotations import EDITING, edit_study, show_tags
from dashboard.components.runs.status import doing, duration, moment, state_badges
from dashboard.queries.studies import Leader, StudyCard
from engine.jobs.progress import Going, study_seconds_left
from engine.metrics.catalog import CATALOG
from engine.report import theme
from engine.report.sparkline import sparkline
from engine.system.disk import say_bytes

PAGES = (
    ("live", "Live", ":material/monitoring:"),
    ("gallery", "Gallery", ":material/photo_library:"),
    ("compare", "Compare", ":material/table_chart:"),
)


@dataclass(frozen=True)
class Extras:
    """What a card shows beside the study and its runs."""

    thumbnail: str | None
    n_bytes: int
    leader: Leader | None
    sparks: Mapping[int, Sequence[float]]  # run -> validation PSNR by epoch
    goings: Mapping[int, Going]
    known_tags: Sequence[str]


def study_card(card: StudyCard, extras: Extras) -> None:
    """One bordered card."""
    study = card.study
    deeds = _deeds(card, extras.n_bytes)
    with st.container(border=True):
        picture, words, curve = st.columns([5, 7, 4], vertical_alignment="center", gap="medium")
        with picture:
            _picture(card, extras.thumbnail)
        with words:
            _words(card, extras)
        with curve:
            _curve(card, extras)
        with st.container(horizontal=True, vertical_alignment="center"):
            for page, label, icon in PAGES:
                link = {"study": str(study.id)}
                st.page_link(f"app_pages/{page}.py", label=label, icon=icon, query_params=link)
            clone = {"clone": str(study.id)}
            icon = ":material/content_copy:"
            st.page_link("app_pages/launch.py", label="Clone", icon=icon, query_params=clone)
            menu(f"study_{study.id}", deeds)
        confirmation(f"study_{study.id}", deeds)
        asked = st.session_state.get(PENDING, ("", ""))[0]
        if asked != f"study_{study.id}":
            if st.session_state.get(EXTENDING) == study.id:
                extend_form(card)
            if st.session_state.get(EDITING) == study.id:
                edit_study(study, extras.known_tags)


def _deeds(card: StudyCard, n_bytes: int) -> list[Deed]:
    study = card.study
    adding = {EXTENDING: study.id}
    editing = {EDITING: study.id}
    return [
        Deed("Rename, tags, note…", "edit", lambda: st.session_state.update(editing)),
        Deed("Add seeds, epochs…", "add", lambda: st.session_state.update(adding)),
        *study_deeds(
            f"study {study.id}, {study.name},",
            card.runs,
            n_bytes,
            study.archived_at is not None,
            lambda is_away: actions.archive_study(study.id, is_away),
        ),
    ]


def _picture(card: StudyCard, thumbnail: str | None) -> None:
    if thumbnail:
        st.image(thumbnail, width="stretch", alt=f"newest samples of {card.study.name}")
    elif card.is_unfinished:
        st.caption("The first samples appear after the first epoch.")
    else:
        st.caption("No run got as far as its first samples.")


def _words(card: StudyCard, extras: Extras) -> None:
    study = card.study
    st.subheader(plain(study.name), anchor=False)
    archived = " · archived" if study.archived_at is not None else ""
    st.caption(
        f"study {study.id} · {plain(study.data)} · budget {study.budget.name}, "
        f"{study.budget.px} px · {moment(study.created_at)} · "
        f"{say_bytes(extras.n_bytes)}{archived}"
    )
    state_badges(card.runs)
    show_tags(study.tags)
    if study.note:
        st.caption(plain(study.note.splitlines()[0][:160]))
    if card.is_unfinished:
        left = study_seconds_left(card.runs, extras.goings)
        about = f", about {duration(left)} left" if left is not None else ""
        st.progress(card.progress, f"{card.progress:.0%} of training{about}")
        for run in card.runs:
            if run.state.is_active():
                now = doing(run, extras.goings.get(run.id))
                st.caption(f"**{run.configuration}**, seed {run.seed}: {now}")


def _curve(card: StudyCard, extras: Extras) -> None:
    """The main metric as it went, and who leads."""
    lines: dict[str, list[tuple[str, Sequence[float]]]] = {}
    for run in card.runs:
        if values := extras.sparks.get(run.id):
            colour = theme.colour(run.configuration)
            lines.setdefault(run.configuration, []).append((colour, values))
    metric = CATALOG["val_psnr"]
    if lines:
        best = max(value for of_name in lines.values() for _, it in of_name for value in it)
        about = f"{metric.label} by epoch, at most {metric.format(best)} {metric.unit}"
        st.image(sparkline(lines, about), width="stretch", alt=about)
        st.caption(f"{metric.label}, up to {metric.format(best)} {metric.unit}")
        keys = (
            f"<span style='white-space:nowrap'><span style='color:{theme.colour(name)}'>●</span> "
            f"{escape(name)}</span>"
            for name in lines
        )
        st.html(f"<small>{' &nbsp; '.join(keys)}</small>")
    if extras.leader is not None:
        judged, leader = CATALOG[extras.leader.metric], extras.leader
        colour = theme.colour(leader.configuration)
        st.html(
            f"<span aria-hidden='true' style='color:{colour}'>●</span> "
            f"<b>{escape(leader.configuration)}</b> leads in {escape(judged.label)}: "
            f"{judged.format(leader.value)} {judged.arrow}"
        )
