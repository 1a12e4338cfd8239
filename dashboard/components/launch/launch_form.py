"""Single values that a study changes against its budget, and what is wrong beside its field."""

from collections.abc import Mapping

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.components.escape import plain
from engine.config import Budget
from engine.overrides import BUDGET_KEYS, CONFIGURATION_KEYS, EXECUTION_KEYS, TERM_KEYS

LABELS = {
    "epochs": "Epochs",
    "px": "Picture size (px)",
    "batch": "Batch (pictures)",
    "base_channels": "Width (channels)",
}
OUTPUTS = {"rgb": "the whole picture", "lab_ab": "its colours alone; the grey is kept exactly"}
SETTINGS = (*BUDGET_KEYS, *CONFIGURATION_KEYS, *EXECUTION_KEYS, *TERM_KEYS)
# What a sentence speaks of when it does not begin with a field's name.
BEGINNINGS = {"--set": "extra", "A study": "configurations", "The configuration": "configurations"}


class Faults:
    """A place below each field, where a sentence stands when its value is wrong."""

    def __init__(self) -> None:
        self._places: dict[str, DeltaGenerator] = {}

    def below(self, field: str) -> None:
        """Keeps the place where this is called for a field."""
        self._places[field] = st.empty()

    def show(self, sentence: str, field: str | None = None) -> bool:
        """Says what is wrong beside the field that it is about; False where there is none.

        Args:
            sentence: that begins with the field's name, as sentences of the engine do.
            field: which one, where that is known.
        """
        words = sentence.split()
        first = words[0].strip(".:,") if words else ""
        beginnings = (name for start, name in BEGINNINGS.items() if sentence.startswith(start))
        wanted = field or next(beginnings, first)
        if wanted in SETTINGS and wanted not in self._places:
            wanted = "extra"
        place = self._places.get(wanted)
        if place is None:
            return False
        place.markdown(f":red[:material/error: {plain(sentence)}]")
        return True


def fill_changes(budget: str, changes: Mapping[str, str]) -> None:
    """Lets the fields of a budget show these values when they are drawn next."""
    for key in LABELS:
        if key in changes:
            st.session_state[f"launch_{key}_{budget}"] = int(changes[key])
    if "output" in changes:
        st.session_state["launch_output"] = changes["output"]
    extra = [f"{key}={value}" for key, value in changes.items() if key not in (*LABELS, "output")]
    st.session_state[f"launch_extra_{budget}"] = " ".join(extra)


def changes_form(budget: Budget, is_grey: bool, faults: Faults) -> list[str]:
    """Fields with the budget's values; what was changed, as `--set` takes it.

    Args:
        budget: whose values stand there.
        is_grey: whether the models are given grey photographs, whose grey can be kept.
        faults: where what is wrong with them is said.
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
        faults.below("output")
    columns = st.columns(4)
    for column, (key, label) in zip(columns, LABELS.items(), strict=True):
        default = getattr(budget, key)
        st.session_state.setdefault(f"launch_{key}_{budget.name}", default)
        with column:
            value = st.number_input(
                label, step=32 if key == "px" else 1, key=f"launch_{key}_{budget.name}"
            )
        if value != default:
            changes.append(f"{key}={value}")
    for key in LABELS:
        faults.below(key)
    with st.expander("More settings", icon=":material/tune:"):
        extra = st.text_input(
            "As key=value",
            placeholder="norm=instance decay=0.5",
            key=f"launch_extra_{budget.name}",
            help="The keys of `--set`: ema, jitter, decay, norm, pretrain, generator, "
            "discriminator, evaluations, choose_by, precision, threads, compile, record_every.",
        )
    faults.below("extra")
    return [*changes, *extra.split()]
