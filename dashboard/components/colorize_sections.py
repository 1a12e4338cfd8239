"""Parts of the Colorize page: how the model server stands, and an answer with its swipe."""

import time

import streamlit as st

from dashboard.components.escape import plain
from dashboard.components.swipe.swipe import swipe
from dashboard.queries import colorize
from engine.errors import EngineError
from engine.report import theme
from engine.serve.ranking import Candidate

LOOK_EVERY_S = 1.0
WIDEST = 560  # pixels of an answer alone on the page
UNSEEN_S = 5.0  # until a process that was started can be seen to be there
STARTED = "model_server_started"


def show_server() -> str | None:
    """Where the server is; None while there is none to ask, with what to do about it."""
    standing = colorize.standing()
    if standing.state == "ready":
        st.session_state.pop(STARTED, None)
        return standing.url
    st.fragment(_wait, run_every=LOOK_EVERY_S)()
    return None


def _wait() -> None:
    standing = colorize.standing()
    if standing.state == "ready":
        st.rerun()
    started = st.session_state.get(STARTED)
    if standing.state == "none" and standing.url is not None:
        st.error(plain(standing.detail), icon=":material/cloud_off:")
    elif standing.state == "waiting":
        st.info(f"The model server waits: {plain(standing.detail)}.", icon=":material/hourglass:")
    elif standing.state == "starting" or (started is not None and time.time() - started < UNSEEN_S):
        waited = "" if started is None else f" {time.time() - started:.0f} s so far."
        with st.container(border=True):
            st.progress(0.0, f"Starting the model server: torch and the best model.{waited}")
    else:
        _offer(started)


def _offer(started: float | None) -> None:
    """The button that starts a server; what the last one said, where it has ended by itself."""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(
            "Models run in a process of their own, which is not running. It takes a few seconds "
            "to start and ends by itself half an hour after the last picture.",
            width="stretch",
        )
        if st.button("Start the model server", type="primary", icon=":material/play_arrow:"):
            try:
                colorize.start()
            except EngineError as error:
                st.error(plain(str(error)))
                return
            st.session_state[STARTED] = time.time()
            st.rerun(scope="fragment")
    said = colorize.log_tail()
    if started is not None and said:
        st.error("The model server has ended; this is the last that it said.")
        st.code(said, language=None)


def show_answer(
    url: str, given: bytes, before: bytes, size: tuple[int, int], model: Candidate
) -> None:
    """A model's colours of a picture, with what was done to it and a download."""
    run = model.run
    colour = theme.colour(run.configuration)
    st.html(
        f'<span style="color:{colour}">●</span> <strong>{run.configuration}</strong>, seed '
        f"{run.seed} · run {run.id}"
    )
    as_is = st.session_state.get(f"as_is_{run.id}", False)
    try:
        with st.spinner("colouring"):
            coloured = colorize.colour(url, given, model, as_is)
            after, _ = colorize.preview(coloured.picture)
    except EngineError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    scale = min(1.0, WIDEST / max(size)) if max(size) > WIDEST else max(1.0, 256 / max(size))
    shown = (round(size[0] * scale), round(size[1] * scale))
    about = f"the picture as run {run.id}, {run.configuration}, colours it"
    swipe(f"swipe_{run.id}", before, after, shown, about)
    st.download_button(
        "Download",
        coloured.picture,
        file_name=f"coloured-run-{run.id}.png",
        mime="image/png",
        icon=":material/download:",
        on_click="ignore",
        key=f"download_{run.id}",
        help=f"A PNG of {size[0]:,} x {size[1]:,} pixels, as large as the picture given.",
    )
    if coloured.notes:
        st.caption(f":material/info: {plain(coloured.notes)}")
    if colorize.expects(run) == "line art" and (as_is or coloured.is_extracted):
        st.toggle(
            "It is line art",
            key=f"as_is_{run.id}",
            help="Give it to the model as it is, without extracting lines.",
        )


def show_target(target: bytes) -> None:
    """What was wanted of a validation picture."""
    st.html("<strong>target</strong> · what was wanted")
    shown, _ = colorize.preview(target)
    st.image(shown, width="stretch", alt="the target")
