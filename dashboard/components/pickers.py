"""Choosing a study and some of its runs: the choice lives in the address: a view is a link."""

from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard.components.empty_states import no_studies, nothing_here
from dashboard.queries import studies
from engine.records.runs import Run, RunState, Study

FEW = 3  # runs of a study, that are always all shown
NONE = "none"
SHOWN_AT_FIRST = 12  # runs; more at once are no longer told apart


def pick_study() -> Study:
    """The study that the address names, else the one chosen last, else the newest.

    Without any there is an invitation, and the page ends here.
    """
    found = studies.studies(st.query_params.get("study", st.session_state.get("study_shown", "")))
    names = {study.id: f"{study.name} · study {study.id}{_archived(study)}" for study in found}
    chosen = _pick("study", names)
    return next(study for study in found if study.id == chosen)


def pick_run() -> Run:
    """The run that the address names, else the one chosen last, else the newest; as above."""
    found = studies.all_runs()
    names = {
        run.id: f"run {run.id}: {run.config.label} · study {run.study_id}"
        for run in reversed(found)
    }
    chosen = _pick("run", names)
    return next(run for run in found if run.id == chosen)


def _pick(kind: str, names: Mapping[int, str]) -> int:
    """A choice among things of a kind, the newest first, that lives in the address."""
    if not names:
        no_studies()
        st.stop()
    # The address leads when it changed by itself: a link, another page, back and forward.
    shown = st.session_state.get(f"{kind}_shown", "")
    asked = st.query_params.get(kind, "")
    if asked != shown or kind not in st.session_state:
        wanted = asked or shown or str(next(iter(names)))
        known = wanted.isdecimal() and int(wanted) in names
        st.session_state[kind] = int(wanted) if known else None
    chosen = st.selectbox(
        kind.capitalize(),
        list(names),
        index=None,
        format_func=lambda it: names[it],
        placeholder=f"Choose a {kind}",
        key=kind,
    )
    if chosen is None:
        nothing_here(f"There is no such {kind}; choose one of these.")
        st.stop()
    st.query_params[kind] = st.session_state[f"{kind}_shown"] = str(chosen)
    return chosen


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

    done = sum(run.state == RunState.DONE for run in runs)
    chosen = pick_many(
        "Runs",
        names,
        default,
        "runs",
        f"_{study.id}",
        f"The study has {len(runs)} runs, {done} of them done.",
    )
    return [run for run in runs if run.id in chosen]


def pick_many(
    label: str,
    names: Mapping[int, str],
    default: Sequence[int],
    parameter: str,
    of: str = "",
    about: str | None = None,
) -> list[int]:
    """A choice of several things by their numbers that lives in the address.

    Args:
        label: what they are called.
        names: number -> how it is shown.
        default: what is chosen at first; the address does not say it.
        parameter: of the address.
        of: told apart by, where the same parameter chooses among other things elsewhere.
        about: a help text.
    """
    address = st.query_params.get(parameter, "")
    asked = [int(it) for it in address.split(".") if it.isdecimal() and int(it) in names]
    # The address leads when it changed by itself: a link, back and forward.
    key, written = f"{parameter}{of}", f"{parameter}_written{of}"
    if key not in st.session_state or st.session_state.get(written, "") != address:
        st.session_state[key] = asked or ([] if address == NONE else list(default))
    chosen = st.multiselect(
        label, list(names), format_func=lambda it: names[it], key=key, help=about
    )
    says = "" if sorted(chosen) == sorted(default) else ".".join(map(str, chosen)) or NONE
    st.session_state[written] = says
    if says:
        st.query_params[parameter] = says
    else:
        st.query_params.pop(parameter, None)
    return chosen


def _archived(study: Study) -> str:
    return " · archived" if study.archived_at is not None else ""
