"""Choosing a study and some of its runs: the choice lives in the address: a view is a link."""

from collections.abc import Sequence

import streamlit as st

from dashboard import reads
from dashboard.components.empty import no_studies, nothing_here
from engine.records import Run, RunState, Study

SHOWN_AT_FIRST = 12  # runs; more at once are no longer told apart


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


def pick_run() -> Run:
    """The run that the address names, else the newest; without any the page ends here."""
    found = reads.all_runs()
    if not found:
        no_studies()
        st.stop()
    names = {
        run.id: f"run {run.id}: {run.configuration}, seed {run.seed} · study {run.study_id}"
        for run in reversed(found)
    }
    asked, shown = st.query_params.get("run", ""), st.session_state.get("run_shown", "")
    if asked != shown or "run" not in st.session_state:
        wanted = asked or shown or str(found[-1].id)
        known = wanted.isdecimal() and int(wanted) in names
        st.session_state["run"] = int(wanted) if known else None
    chosen = st.selectbox(
        "Run",
        list(names),
        index=None,
        format_func=lambda run_id: names[run_id],
        placeholder="Choose a run",
        key="run",
    )
    if chosen is None:
        nothing_here("There is no such run; choose one of these.")
        st.stop()
    st.query_params["run"] = st.session_state["run_shown"] = str(chosen)
    return next(run for run in found if run.id == chosen)


def pick_runs(study: Study, runs: Sequence[Run], few: int = SHOWN_AT_FIRST) -> list[Run]:
    """The runs that the address names, else those that are not archived; a study of a few: all.

    Args:
        study: whose.
        runs: all of it.
        few: as many are shown at first, those at work before others.
    """
    names = {run.id: f"{run.configuration}, seed {run.seed}" for run in runs}
    listed = [run for run in runs if run.archived_at is None] or list(runs)
    at_first = sorted(listed, key=lambda run: (not run.state.is_active(), run.id))[:few]
    default = sorted(run.id for run in at_first)
    asked = [int(it) for it in st.query_params.get("runs", "").split(".") if it.isdecimal()]
    wanted = [run_id for run_id in asked if run_id in names] or default
    if len(runs) <= 3 and len(wanted) == len(runs):
        return list(runs)
    key = f"runs_{study.id}"
    if key not in st.session_state:
        st.session_state[key] = wanted
    done = sum(run.state == RunState.DONE for run in runs)
    chosen = st.multiselect(
        "Runs",
        list(names),
        format_func=lambda run_id: names[run_id],
        key=key,
        help=f"The study has {len(runs)} runs, {done} of them done.",
    )
    if sorted(chosen) == default:
        st.query_params.pop("runs", None)
    else:
        st.query_params["runs"] = ".".join(map(str, chosen))
    return [run for run in runs if run.id in chosen]


def _archived(study: Study) -> str:
    return " · archived" if study.archived_at is not None else ""
