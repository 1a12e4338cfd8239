"""Draws choices of studies, runs and options, and keeps them in the URL as links to a view."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import streamlit as st

from dashboard.components.empty_states import empty_state, no_studies
from dashboard.queries import studies
from engine.metrics.catalog import CATALOG, PER_IMAGE_METRICS
from engine.records.runs import Run, RunState, Study

MAX_RUNS_WITHOUT_PICKER = 3
MAX_DEFAULT_RUNS = 12  # lines of more runs are hard to tell apart
NONE = "none"

Option = TypeVar("Option")


def choice(
    key: str,
    options: Sequence[Option],
    label: str,
    *,
    labels: Callable[[Option], str] = str,
    default: Option | None = None,
    list_width: int | None = None,
    help_text: str | None = None,
    is_label_visible: bool = True,
) -> Option:
    """Draws a choice of exactly one option; the URL contains the label of the selected option.

    Args:
        key: the key of the widget and the name of the URL parameter.
        options: at least one option.
        label: the label of the widget.
        labels: returns the label of an option.
        default: the option that is selected at first; None selects the first option.
        list_width: the width of a drop-down list in pixels; None for a row of buttons.
        help_text: the tooltip.
        is_label_visible: whether the label is shown; a hidden label is only for screen readers.
    """
    first = options[0] if default is None else default
    if list_width is not None:
        return st.selectbox(
            label,
            options,
            index=options.index(first),
            format_func=labels,
            key=key,
            bind="query-params",
            help=help_text,
            width=list_width,
        )
    selected = st.segmented_control(
        label,
        options,
        default=first,
        required=True,
        format_func=labels,
        key=key,
        bind="query-params",
        help=help_text,
        label_visibility="visible" if is_label_visible else "collapsed",
    )
    assert selected is not None
    return selected


def choose_image_metric(key: str, list_width: int) -> str:
    """Draws a select box of the metrics that order pictures; returns the selected metric."""
    return choice(
        key,
        PER_IMAGE_METRICS,
        "Metric",
        labels=lambda name: CATALOG[name].label,
        list_width=list_width,
    )


def pick_study() -> Study:
    """Draws the choice of a study; selects the study in the URL, else the last or the newest one.

    Stops the page if the study in the URL does not exist, or if there are no studies; the page then
    offers the demo study.
    """
    open_id = st.query_params.get("study", st.session_state.get("study_shown", ""))
    listed = studies.listed_studies(open_id)
    names = {
        study.id: f"{study.name} · study {study.id}"
        f"{' · archived' if study.archived_at is not None else ''}"
        for study in listed
    }
    study_id = _pick("study", names)
    return next(study for study in listed if study.id == study_id)


def pick_run() -> Run:
    """Draws the choice of a run; selects the run in the URL, else the last or the newest one.

    Stops the page if the run in the URL does not exist, or if there are no runs; the page then
    offers the demo study.
    """
    runs = studies.all_runs()
    names = {
        run.id: f"run {run.id}: {run.config.label} · study {run.study_id}" for run in reversed(runs)
    }
    run_id = _pick("run", names)
    return next(run for run in runs if run.id == run_id)


def _pick(kind: str, names: Mapping[int, str]) -> int:
    """Draws the choice of a study or run, and keeps its id in the URL parameter `kind`.

    Args:
        kind: `study` or `run`.
        names: id -> label, newest first.
    """
    if not names:
        no_studies()
        st.stop()
    # A URL that was changed by a link, another page, Back or Forward replaces the selection.
    shown_id = st.session_state.get(f"{kind}_shown", "")
    url_id = st.query_params.get(kind, "")
    if url_id != shown_id or kind not in st.session_state:
        next_id = url_id or shown_id or str(next(iter(names)))
        exists = next_id.isdecimal() and int(next_id) in names
        st.session_state[kind] = int(next_id) if exists else None
    selected_id = st.selectbox(
        kind.capitalize(),
        list(names),
        index=None,
        format_func=lambda number: names[number],
        placeholder=f"Choose a {kind}",
        key=kind,
    )
    if selected_id is None:
        empty_state(f"This {kind} does not exist. Choose another one.")
        st.stop()
    st.query_params[kind] = st.session_state[f"{kind}_shown"] = str(selected_id)
    return selected_id


def pick_runs(
    study: Study, runs: Sequence[Run], max_default_runs: int = MAX_DEFAULT_RUNS
) -> list[Run]:
    """Draws the choice of runs: at first the runs in the URL, else runs that are not archived.

    A study of at most `MAX_RUNS_WITHOUT_PICKER` runs has no choice unless the URL names runs.

    Args:
        study: the study.
        runs: all runs of the study.
        max_default_runs: the maximum number of runs that are selected at first; active runs are
            selected before other runs.
    """
    names = {run.id: run.config.label for run in runs}
    listed = [run for run in runs if run.archived_at is None] or list(runs)
    active_first = sorted(listed, key=lambda run: (not run.state.is_active(), run.id))
    default = sorted(run.id for run in active_first[:max_default_runs])
    if len(runs) <= MAX_RUNS_WITHOUT_PICKER and not _ids_in_url("runs", names):
        return listed

    n_done = sum(run.state == RunState.DONE for run in runs)
    help_text = f"The study has {len(runs)} runs; {n_done} of them are done."
    selected = pick_many("Runs", names, default, "runs", f"_{study.id}", help_text)
    return [run for run in runs if run.id in selected]


def pick_many(
    label: str,
    names: Mapping[int, str],
    default: Sequence[int],
    parameter: str,
    key_suffix: str = "",
    help_text: str | None = None,
) -> list[int]:
    """Draws the choice of several ids and keeps them in the URL, separated by dots.

    Args:
        label: the label of the widget.
        names: id -> label.
        default: the ids that are selected at first; the URL omits the default selection.
        parameter: the name of the URL parameter.
        key_suffix: distinguishes widgets that share a URL parameter.
        help_text: the tooltip.
    """
    in_url = st.query_params.get(parameter, "")
    # A URL that was changed by a link, Back or Forward replaces the selection.
    key, written_key = f"{parameter}{key_suffix}", f"{parameter}_written{key_suffix}"
    if key not in st.session_state or st.session_state.get(written_key, "") != in_url:
        ids = _ids_in_url(parameter, names)
        st.session_state[key] = ids or ([] if in_url == NONE else list(default))
    selected = st.multiselect(
        label, list(names), format_func=lambda number: names[number], key=key, help=help_text
    )
    is_default = sorted(selected) == sorted(default)
    new_value = "" if is_default else ".".join(map(str, selected)) or NONE
    st.session_state[written_key] = new_value
    if new_value:
        st.query_params[parameter] = new_value
    else:
        st.query_params.pop(parameter, None)
    return selected


def _ids_in_url(parameter: str, names: Mapping[int, str]) -> list[int]:
    """Parses the ids in a URL parameter and leaves out ids that do not exist."""
    parts = st.query_params.get(parameter, "").split(".")
    return [int(part) for part in parts if part.isdecimal() and int(part) in names]


def pick_other_run(key: str, label: str, names: Mapping[int, str]) -> int | None:
    """Draws the choice of a run to compare with; returns None until the user selects a run.

    Args:
        key: the key of the widget and the name of the URL parameter.
        label: the label of the widget.
        names: run id -> label.
    """
    return st.selectbox(
        label,
        list(names),
        index=None,
        format_func=lambda run_id: names[run_id],
        placeholder="Choose a run",
        key=key,
        bind="query-params",
    )
