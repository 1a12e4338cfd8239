"""The section of the Launch page that downloads weights which the study would use.

The section is shown while weights are missing. A download runs in a process of its own, so that it
continues when the page is closed, and each page shows its progress.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard import actions
from dashboard.components.escape import escape_markdown
from dashboard.components.runs.action_menu import perform
from dashboard.queries import launch
from dashboard.queries.launch import MissingWeights
from engine.weights.download_state import DownloadState

REFRESH_S = 1.0
START, START_LATER = "Start study", "Start study after the download"


@dataclass(frozen=True)
class WeightsUse:
    """What a file of weights is for.

    Attributes:
        title: what the weights are for, as part of the heading.
        without: what happens without the weights.
        after_failure: what the runs do if they wait for a download that fails.
    """

    title: str
    without: str
    after_failure: str


USES = {
    "inception": WeightsUse(
        "FID",
        "FID, KID and the Inception Score are computed with the Inception network. "
        "Without its weights, the comparison has no FID.",
        "the runs start without FID",
    ),
    "vgg19": WeightsUse(
        "the perceptual term",
        "The published perceptual term compares VGG19 features. Without its weights, the term uses "
        "EfficientNet-Lite0, which is installed and faster.",
        "runs with a perceptual term fail",
    ),
    "resnet18": WeightsUse(
        "the encoder",
        "The published generator has an encoder that was trained on ImageNet. Without its weights, "
        "the encoder starts untrained.",
        "the runs fail",
    ),
}


def show_missing_weights(missing: MissingWeights) -> None:
    """Shows the missing weights: an offer to download each, its progress, or its error."""
    if not missing.states:
        return
    names = [state.weights.name for state in missing.states]
    titles = [USES[name].title for name in names]
    with st.container(border=True):
        st.subheader(f"Weights for {' and '.join(titles)}", anchor=False)
        if missing.has_downloads:
            st.fragment(_refresh, run_every=REFRESH_S)(names, missing)
        else:
            _show_files(missing)


def start_label(missing: MissingWeights) -> str:
    """Returns the label of the button that starts the study."""
    return START_LATER if missing.expected else START


def show_wait(missing: MissingWeights) -> None:
    """Shows what happens after the start if the runs wait for downloads."""
    if not missing.expected:
        return
    failures = dict.fromkeys(USES[name].after_failure for name in missing.expected)
    st.caption(
        f"The runs are queued now and wait for the download. If it fails, {'; '.join(failures)}."
    )


def _refresh(names: Sequence[str], shown: MissingWeights) -> None:
    """Shows the progress of downloads; redraws the page when one has started or ended."""
    missing = launch.read_missing_weights(names)
    if _running(missing) != _running(shown):
        st.rerun()
    _show_files(missing)


def _running(missing: MissingWeights) -> list[str]:
    return [state.weights.name for state in missing.states if state.is_running]


def _show_files(missing: MissingWeights) -> None:
    for state in missing.states:
        if state.is_running:
            _show_progress(state)
        elif missing.fetch == "ask":
            _offer(state)
        else:
            _explain(state, missing)


def _show_progress(state: DownloadState) -> None:
    weights = state.weights
    with st.container(horizontal=True, vertical_alignment="center"):
        text = f"Downloading {weights.label} weights: {state.progress_text}"
        st.progress(state.share, text, width="stretch")
        label = "Cancelling…" if state.is_cancelling else "Cancel"
        key = f"cancel_download_{weights.name}"
        if st.button(label, type="tertiary", disabled=state.is_cancelling, key=key):
            perform(lambda: actions.cancel_download(weights.name))


def _offer(state: DownloadState) -> None:
    """Offers to download a file, to continue its download, or to try again after an error."""
    weights = state.weights
    st.caption(USES[weights.name].without)
    label = f"Download {weights.label} weights ({weights.size_text})"
    icon = ":material/download:"
    if state.n_bytes:
        label = f"Continue {weights.label} download ({state.progress_text})"
    if state.error is not None:
        st.error(escape_markdown(state.error), icon=":material/error:")
        label, icon = f"Retry {weights.label} download", ":material/refresh:"
    if st.button(label, icon=icon, key=f"download_{weights.name}", width="stretch"):
        perform(lambda: actions.start_download(weights.name))


def _explain(state: DownloadState, missing: MissingWeights) -> None:
    """Says why the page offers no download of a file."""
    weights = state.weights
    if weights.name in missing.expected:
        if state.error is not None:
            st.error(escape_markdown(state.error), icon=":material/error:")
        st.caption(
            f"The {weights.label} weights ({weights.size_text}) are downloaded when the study "
            "starts."
        )
        return
    instruction = escape_markdown(launch.manual_instruction(weights.name))
    st.caption(
        f"{USES[weights.name].without} Downloads are turned off (`CHROMABENCH_FETCH=never`); to "
        f"install the weights by hand, {instruction}."
    )
