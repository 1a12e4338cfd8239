"""What can be done with runs and studies: a menu each, and a question where there is no undo."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard import actions
from dashboard.components.escape import plain
from engine.errors import EngineError
from engine.records.runs import Run, RunState
from engine.system.disk import say_bytes

LAUNCH = "app_pages/launch.py"
PENDING = "pending_deed"  # (key, label) of the deed that waits for its answer


@dataclass(frozen=True)
class Deed:
    """Something that can be done.

    Attributes:
        label: what it is called in the menu.
        icon: of Material.
        do: does it.
        question: is asked first, where it cannot be undone.
    """

    label: str
    icon: str
    do: Callable[[], object]
    question: str | None = None


def menu(key: str, deeds: Sequence[Deed]) -> None:
    """A menu of deeds; one with a question waits for `confirmation` of the same key."""
    if not deeds:
        return
    labels = {f":material/{it.icon}: {it.label}": it for it in deeds}
    chosen = st.menu_button(
        "More",
        list(labels),
        type="tertiary",
        icon=":material/more_horiz:",
        key=f"menu_{key}",
    )
    if chosen is None:
        return
    deed = labels[chosen]
    st.session_state.pop(PENDING, None)
    if deed.question is not None:
        st.session_state[PENDING] = (key, deed.label)
        return
    perform(deed.do)


def confirmation(key: str, deeds: Sequence[Deed]) -> None:
    """The question of the deed that was chosen from the menu of this key, if any."""
    pending_key, label = st.session_state.get(PENDING, (None, None))
    deed = next((it for it in deeds if it.label == label), None)
    if pending_key != key or deed is None or deed.question is None:
        return
    with st.container(border=True):
        st.markdown(f":material/help: {deed.question}")
        with st.container(horizontal=True):
            agreed = st.button(
                deed.label, type="primary", key=f"yes_{key}", icon=f":material/{deed.icon}:"
            )
            if agreed or st.button("Keep it as it is", key=f"no_{key}"):
                del st.session_state[PENDING]
                if agreed:
                    perform(deed.do)
                st.rerun()


def perform(do: Callable[[], object]) -> None:
    """Does it; says why where it cannot be done, and shows what has changed."""
    try:
        do()
    except EngineError as error:
        st.toast(plain(str(error)), icon=":material/error:")
        return
    st.rerun()


def run_deeds(run: Run, waits: bool) -> list[Deed]:
    """What the menu of a run holds, by its state.

    Args:
        run: whose.
        waits: whether others are before it in the queue.
    """
    clone = {"clone_run": str(run.id)}
    deeds = [
        Deed("Clone", "content_copy", lambda: st.switch_page(LAUNCH, query_params=clone)),
    ]
    if run.state == RunState.QUEUED and waits:
        deeds.append(
            Deed("Move to front", "vertical_align_top", lambda: actions.move_to_front(run.id))
        )
    if run.is_over and run.state != RunState.DONE:
        question = "Begin again from the first epoch? What this run has recorded is removed."
        deeds.append(Deed("Begin again", "replay", lambda: actions.retry_run(run.id), question))
    if run.is_over:
        deeds.append(
            _archiving(run.archived_at is not None, lambda it: actions.archive_run(run.id, it))
        )
        question = f"Remove run {run.id} with all its files, for good?"
        deeds.append(Deed("Delete", "delete", lambda: actions.delete_runs([run.id]), question))
    return deeds


def study_deeds(
    name: str, runs: Sequence[Run], n_bytes: int, is_away: bool, archive: Callable[[bool], object]
) -> list[Deed]:
    """What the menu of a study holds, by the states of its runs."""
    busy = [run for run in runs if not run.is_over]
    open_end = [run for run in runs if run.is_over and run.state != RunState.DONE]
    deeds = []
    if busy:
        deeds.append(Deed("Stop all runs", "stop", lambda: _each(actions.stop_run, busy)))
    if open_end:
        label = "Resume all runs"
        deeds.append(Deed(label, "play_arrow", lambda: _each(actions.resume_run, open_end)))
    deeds.append(_archiving(is_away, archive))
    if not busy:
        question = (
            f"Remove {plain(name)} with its {len(runs)} runs and {say_bytes(n_bytes)} of files, "
            "for good? Archive only puts it out of the list."
        )
        ids = [run.id for run in runs]
        deeds.append(Deed("Delete", "delete", lambda: actions.delete_runs(ids), question))
    return deeds


def _archiving(is_away: bool, archive: Callable[[bool], object]) -> Deed:
    label, icon = ("List again", "unarchive") if is_away else ("Archive", "archive")
    return Deed(label, icon, lambda: archive(not is_away))


def _each(do: Callable[[int], object], runs: Sequence[Run]) -> None:
    for run in runs:
        do(run.id)
