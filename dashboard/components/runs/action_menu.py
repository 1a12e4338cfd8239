"""Draws menus of actions on runs and studies; asks before an irreversible action."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard import actions
from dashboard.components.escape import escape_markdown
from engine.errors import EngineError
from engine.records.runs import Run, RunState
from engine.system.disk import format_bytes

LAUNCH_PAGE = "app_pages/launch.py"
# The key in the session state of (menu key, label of the action that waits for confirmation).
PENDING_ACTION = "pending_action"


@dataclass(frozen=True)
class MenuAction:
    """An entry of an action menu.

    Attributes:
        label: the label of the entry.
        icon: the name of a Material icon.
        on_select: performs the action.
        question: the question before an irreversible action; None: the action needs no
            confirmation.
    """

    label: str
    icon: str
    on_select: Callable[[], object]
    question: str | None = None


def menu(key: str, menu_actions: Sequence[MenuAction]) -> None:
    """Draws a menu and performs the selected action.

    An action with a question is performed by `confirmation`, which takes the same key.
    """
    if not menu_actions:
        return
    labels = {f":material/{action.icon}: {action.label}": action for action in menu_actions}
    selected_label = st.menu_button(
        "More",
        list(labels),
        type="tertiary",
        icon=":material/more_horiz:",
        key=f"menu_{key}",
    )
    if selected_label is None:
        return
    action = labels[selected_label]
    st.session_state.pop(PENDING_ACTION, None)
    if action.question is not None:
        st.session_state[PENDING_ACTION] = (key, action.label)
        return
    perform(action.on_select)


def confirmation(key: str, menu_actions: Sequence[MenuAction]) -> None:
    """Asks the question of the action that was selected from the menu `key`, if it has one."""
    pending_key, label = st.session_state.get(PENDING_ACTION, (None, None))
    action = next((action for action in menu_actions if action.label == label), None)
    if pending_key != key or action is None or action.question is None:
        return
    with st.container(border=True):
        st.markdown(f":material/help: {action.question}")
        with st.container(horizontal=True):
            is_confirmed = st.button(
                action.label, type="primary", key=f"yes_{key}", icon=f":material/{action.icon}:"
            )
            if is_confirmed or st.button("Cancel", key=f"no_{key}"):
                del st.session_state[PENDING_ACTION]
                if is_confirmed:
                    perform(action.on_select)
                st.rerun()


def perform(action: Callable[[], object]) -> None:
    """Performs an action and redraws the page, or shows why the action is not possible."""
    try:
        action()
    except EngineError as error:
        st.toast(escape_markdown(str(error)), icon=":material/error:")
        return
    st.rerun()


def run_actions(run: Run, has_others_before: bool) -> list[MenuAction]:
    """Lists the actions in the menu of a run.

    Args:
        run: the run.
        has_others_before: whether other runs are before it in the queue.
    """
    query = {"clone_run": str(run.id)}
    menu_actions = [
        MenuAction(
            "Clone", "content_copy", lambda: st.switch_page(LAUNCH_PAGE, query_params=query)
        ),
    ]
    if run.state == RunState.QUEUED and has_others_before:
        menu_actions.append(
            MenuAction("Move to front", "vertical_align_top", lambda: actions.move_to_front(run.id))
        )
    if run.is_over and run.state != RunState.DONE:
        question = "Retry from the first epoch? This deletes everything that the run has recorded."
        menu_actions.append(
            MenuAction("Retry from scratch", "replay", lambda: actions.retry_run(run.id), question)
        )
    if run.is_over:
        menu_actions.append(
            _archive_action(
                run.archived_at is not None,
                lambda is_archived: actions.archive_run(run.id, is_archived),
            )
        )
        question = f"Delete run {run.id} and all its files? This cannot be undone."
        menu_actions.append(
            MenuAction("Delete", "delete", lambda: actions.delete_runs([run.id]), question)
        )
    return menu_actions


def study_actions(
    name: str,
    runs: Sequence[Run],
    n_bytes: int,
    is_archived: bool,
    archive: Callable[[bool], object],
) -> list[MenuAction]:
    """Lists the actions in the menu of a study.

    Args:
        name: the name of the study, for the question before its deletion.
        runs: all runs of the study.
        n_bytes: the size of the study's files.
        is_archived: whether the study is archived.
        archive: archives (True) or unarchives (False) the study.
    """
    unfinished = [run for run in runs if not run.is_over]
    resumable = [run for run in runs if run.is_over and run.state != RunState.DONE]
    menu_actions = []
    if unfinished:
        menu_actions.append(
            MenuAction("Stop all runs", "stop", lambda: _each(actions.stop_run, unfinished))
        )
    if resumable:
        menu_actions.append(
            MenuAction(
                "Resume all runs", "play_arrow", lambda: _each(actions.resume_run, resumable)
            )
        )
    menu_actions.append(_archive_action(is_archived, archive))
    if not unfinished:
        question = (
            f"Delete {escape_markdown(name)} with its {len(runs)} runs and {format_bytes(n_bytes)} "
            "of files? This cannot be undone. To only hide it, use Archive."
        )
        run_ids = [run.id for run in runs]
        menu_actions.append(
            MenuAction("Delete", "delete", lambda: actions.delete_runs(run_ids), question)
        )
    return menu_actions


def _archive_action(is_archived: bool, archive: Callable[[bool], object]) -> MenuAction:
    label, icon = ("Unarchive", "unarchive") if is_archived else ("Archive", "archive")
    return MenuAction(label, icon, lambda: archive(not is_archived))


def _each(action: Callable[[int], object], runs: Sequence[Run]) -> None:
    for run in runs:
        action(run.id)
