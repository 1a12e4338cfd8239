"""Sections of the Colorize page: status of the model server, and results."""

import time

import streamlit as st

from dashboard import actions
from dashboard.components.configuration_label import configuration_label
from dashboard.components.escape import escape_markdown
from dashboard.components.pickers import choice
from dashboard.components.swipe.swipe import swipe
from dashboard.queries import colorize
from engine.errors import EngineError
from engine.options.decodings import Decoding, parse_decoding
from engine.serve.ranking import Candidate

STATUS_REFRESH_S = 1.0
MIN_SIDE_PX, MAX_SIDE_PX = 256, 560  # longer side of a result on the page
START_GRACE_S = 5.0  # a new process needs this time until its status can be read
# Label -> decoding of the colours that a user can choose; None: the decoding of the run.
COLOURS = {"Recommended": None, "Natural, pale": "mean", "Vivid": "median:4+flat"}
OTHER_COLOURS, N_OTHER_ANSWERS = "sample:0.5+flat", 3
COLOURS_WIDTH_PX, OTHER_ANSWER_PX = 200, 135
STARTED_AT = "model_server_started"  # session state: the time when this session started a server


def show_server() -> str | None:
    """Returns the URL of the model server; shows a status and returns None until it is ready."""
    status = colorize.server_status()
    if status.state == "ready":
        st.session_state.pop(STARTED_AT, None)
        return status.url
    st.fragment(_show_server_status, run_every=STATUS_REFRESH_S)()
    return None


def _show_server_status() -> None:
    status = colorize.server_status()
    if status.state == "ready":
        st.rerun()
    started_at = st.session_state.get(STARTED_AT)
    seconds = None if started_at is None else time.time() - started_at
    if status.state == "none" and status.url is not None:
        st.error(escape_markdown(status.detail), icon=":material/cloud_off:")
    elif status.state == "waiting":
        st.info(
            f"The model server is waiting: {escape_markdown(status.detail)}.",
            icon=":material/hourglass:",
        )
    elif status.state == "starting" or (seconds is not None and seconds < START_GRACE_S):
        elapsed = "" if seconds is None else f" ({seconds:.0f} s)"
        with st.container(border=True):
            st.progress(0.0, f"Starting the model server and loading the best model{elapsed}")
    else:
        _offer_start(was_started=started_at is not None)


def _offer_start(*, was_started: bool) -> None:
    """Shows the button that starts a server.

    Args:
        was_started: whether this session started a server. No server is running now, so a started
            server has exited, and its log is shown.
    """
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(
            "The model server is not running. It takes a few seconds to start and stops "
            "automatically after 30 minutes without a request.",
            width="stretch",
        )
        if st.button("Start model server", type="primary", icon=":material/play_arrow:"):
            try:
                actions.start_model_server()
            except EngineError as error:
                st.error(escape_markdown(str(error)))
                return
            st.session_state[STARTED_AT] = time.time()
            st.rerun(scope="fragment")
    log = colorize.server_log_tail()
    if was_started and log:
        st.error("The model server exited. Last log lines:")
        st.code(log, language=None)


def show_result(
    url: str, picture: bytes, before: bytes, size: tuple[int, int], model: Candidate
) -> None:
    """Colorizes a picture and shows the result with a download.

    Args:
        url: the URL of the model server.
        picture: the file to colorize.
        before: a small WebP file of the picture.
        size: width and height of the picture in pixels.
        model: the model to use.
    """
    run = model.run
    configuration_label(run.configuration, f", seed {run.seed} · run {run.id}")
    as_is = st.session_state.get(f"as_is_{run.id}", False)
    # The colours are chosen below the picture, so that the pictures of all models are level.
    picture_area = st.container()
    decoding = None if model.decoding is None else _choose_colours(run.id)
    with picture_area:
        try:
            with st.spinner("Colorizing"):
                result = colorize.colorize_picture(url, picture, model, as_is, decoding)
                after, _ = colorize.preview(result.picture)
        except EngineError as error:
            st.error(escape_markdown(str(error)), icon=":material/error:")
            return
        description = f"the picture colorized by run {run.id}, {run.configuration}"
        swipe(f"swipe_{run.id}", before, after, _shown_size(size), description)
    st.download_button(
        "Download",
        result.picture,
        file_name=f"colorized-run-{run.id}.png",
        mime="image/png",
        icon=":material/download:",
        on_click="ignore",
        key=f"download_{run.id}",
        help=f"PNG of {size[0]:,} x {size[1]:,} pixels, the size of the input.",
    )
    if result.notes:
        st.caption(f":material/info: {escape_markdown(result.notes)}")
    if colorize.expected_input(run) == "line art" and (as_is or result.is_extracted):
        st.toggle(
            "Treat as line art",
            key=f"as_is_{run.id}",
            help="Uses the picture as it is, without extracting lines.",
        )
    if model.decoding is not None:
        _show_other_answers(url, picture, model, as_is)


def _choose_colours(run_id: int) -> Decoding | None:
    """Draws the choice of the colours of a model; returns None for the recommended colours."""
    selected = choice(
        f"colours_{run_id}",
        list(COLOURS),
        "Colours",
        list_width=COLOURS_WIDTH_PX,
        help_text="The model often finds several colours likely. Recommended: the colours that the "
        "model was evaluated with. Natural, pale: a mixture of the likely colours. Vivid: one "
        "strong colour for each area between lines.",
    )
    decoding = COLOURS[selected]
    return None if decoding is None else parse_decoding(decoding)


def _show_other_answers(url: str, picture: bytes, model: Candidate, as_is: bool) -> None:
    """Shows a button and, once it was used for this picture, other colours with downloads."""
    run_id = model.run.id
    key = f"other_answers_of_{run_id}"
    if st.button(
        "Other answers",
        key=f"other_answers_{run_id}",
        icon=":material/palette:",
        help=f"Shows {N_OTHER_ANSWERS} more pictures in other colours that the model finds likely.",
    ):
        st.session_state[key] = hash(picture)
    if st.session_state.get(key) != hash(picture):
        return
    with st.container(horizontal=True):
        for seed in range(1, N_OTHER_ANSWERS + 1):
            decoding = parse_decoding(OTHER_COLOURS, seed)
            try:
                with st.spinner("Colorizing"):
                    answer = colorize.colorize_picture(url, picture, model, as_is, decoding)
                    shown, _ = colorize.preview(answer.picture)
            except EngineError as error:
                st.error(escape_markdown(str(error)), icon=":material/error:")
                return
            with st.container(width=OTHER_ANSWER_PX):
                st.image(shown, width="stretch", alt=f"answer {seed} of run {run_id}")
                st.download_button(
                    f"Download {seed}",
                    answer.picture,
                    file_name=f"colorized-run-{run_id}-{seed}.png",
                    mime="image/png",
                    icon=":material/download:",
                    on_click="ignore",
                    key=f"download_{run_id}_{seed}",
                )


def _shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """Scales width and height so that the longer side is between the minimum and the maximum."""
    longer = max(size)
    scale = min(max(longer, MIN_SIDE_PX), MAX_SIDE_PX) / longer
    return round(size[0] * scale), round(size[1] * scale)


def show_target(target: bytes) -> None:
    """Shows the target of a validation pair."""
    st.html("<strong>target</strong> · ground truth")
    preview, _ = colorize.preview(target)
    st.image(preview, width="stretch", alt="target")
