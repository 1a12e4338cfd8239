"""Choosing a study and some of its runs: the choice lives in the address: a view is a link."""

from collections.abc import Sequence

import streamlit as st

from dashboard import reads
from dashboard.components.empty import no_studies, nothing_here
from engine.records import Run, RunState, Study

FEW = 3  # runs of a study, that are always all shown
NONE = "none"
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
    names = {run.id: run.config.label for run in runs}
    listed = [run for run in runs if run.archived_at is None] or list(runs)
    at_first = sorted(listed, key=lambda run: (not run.state.is_active(), run.id))[:few]
    default = sorted(run.id for run in at_first)
    address = st.query_params.get("runs", "")
    asked = [int(it) for it in address.split(".") if it.isdecimal() and int(it) in names]
    if len(runs) <= FEW and not asked:
        return listed

    # The address leads when it changed by itself: a link, back and forward.
    key, written = f"runs_{study.id}", f"runs_written_{study.id}"
    if key not in st.session_state or st.session_state.get(written, "") != address:
        st.session_state[key] = asked or ([] if address == NONE else default)
    done = sum(run.state == RunState.DONE for run in runs)
    chosen = st.multiselect(
        "Runs",
        list(names),
        format_func=lambda run_id: names[run_id],
        key=key,
        help=f"The study has {len(runs)} runs, {done} of them done.",
    )
    says = "" if sorted(chosen) == default else ".".join(map(str, chosen)) or NONE
    st.session_state[written] = says
    if says:
        st.query_params["runs"] = says
    else:
        st.query_params.pop("runs", None)
    return [run for run in runs if run.id in chosen]


def _archived(study: Study) -> str:
    return " · archived" if study.archived_at is not None else ""
