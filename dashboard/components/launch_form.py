"""Single values that a study changes against its budget and configurations."""

from collections.abc import Mapping

import streamlit as st

from engine.config import Budget

LABELS = {
    "epochs": "Epochs",
    "px": "Picture size (px)",
    "batch": "Batch (pictures)",
    "base_channels": "Width (channels)",
}


def fill_changes(budget: str, changes: Mapping[str, str]) -> None:
    """Lets the fields of a budget show these values when they are drawn next."""
    for key in LABELS:
        if key in changes:
            st.session_state[f"launch_{key}_{budget}"] = int(changes[key])
    if "output" in changes:
        st.session_state["launch_output"] = changes["output"]
    extra = [f"{key}={value}" for key, value in changes.items() if key not in (*LABELS, "output")]
    st.session_state[f"launch_extra_{budget}"] = " ".join(extra)


OUTPUTS = {"rgb": "the whole picture", "lab_ab": "its colours alone; the grey is kept exactly"}


def changes_form(budget: Budget, is_grey: bool) -> list[str]:
    """Fields with the budget's values; what was changed, as `--set` takes it.

    Args:
        budget: whose values stand there.
        is_grey: whether the models are given grey photographs, whose grey can be kept.
    """
    changes = []
    if is_grey:
        output = st.selectbox(
            "The models make",
            list(OUTPUTS),
            format_func=lambda it: OUTPUTS[it],
            key="launch_output",
            help="`output=lab_ab`: the two colour channels of CIE Lab; lightness is the source's.",
        )
        if output != budget.output:
            changes.append(f"output={output}")
    with st.expander("Change single values", icon=":material/tune:"):
        columns = st.columns(2)
        for position, (key, label) in enumerate(LABELS.items()):
            default = getattr(budget, key)
            st.session_state.setdefault(f"launch_{key}_{budget.name}", default)
            value = columns[position % 2].number_input(
                label, step=32 if key == "px" else 1, key=f"launch_{key}_{budget.name}"
            )
            if value != default:
                changes.append(f"{key}={value}")
        extra = st.text_input(
            "More, as key=value",
            placeholder="lr_g=1e-4 l1=50",
            key=f"launch_extra_{budget.name}",
            help="The keys of `--set`: lr_g, lr_d, beta1, beta2, ema, jitter, decay, norm, "
            "pretrain, generator, discriminator, precision, threads, compile, record_every, and "
            "the weight of any term.",
        )
    return [*changes, *extra.split()]
