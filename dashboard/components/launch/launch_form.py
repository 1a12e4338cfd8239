"""Fields of the launch form that change the budget, and validation errors below their fields."""

from collections.abc import Mapping

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.components.escape import escape_markdown
from engine.config import Budget
from engine.options.outputs import OUTPUTS
from engine.overrides import KEYS

LABELS = {
    "epochs": "Epochs",
    "px": "Picture size (px)",
    "batch": "Batch size",
    "base_channels": "Base channels",
}
OUTPUT_LABELS = {
    "rgb": "the whole picture",
    "lab_ab": "colours only; the grey stays exactly the same",
    "line_fill": "a fill; the lines stay exactly the same",
}
MORE_SETTINGS = "more_settings"  # the text field for settings without a field of their own
# Beginning of an error message -> field, for messages that do not begin with the name of a field.
FIELD_OF_BEGINNING = {
    "--set": MORE_SETTINGS,
    "A study": "configurations",
    "The configuration": "configurations",
}


class FieldErrors:
    """Shows validation errors below the fields that they belong to."""

    def __init__(self) -> None:
        self._slots: dict[str, DeltaGenerator] = {}

    def add_slot(self, field: str) -> None:
        """Reserves the current position of the page for errors of a field."""
        self._slots[field] = st.empty()

    def show(self, message: str, field: str | None = None) -> bool:
        """Shows an error below the field that the error belongs to.

        Args:
            message: an error message of the engine.
            field: the field; None to find the field by the beginning of the message.

        Returns:
            Whether the error was shown; False if the field has no slot.
        """
        words = message.split()
        first_word = words[0].strip(".:,") if words else ""
        by_beginning = (
            name for beginning, name in FIELD_OF_BEGINNING.items() if message.startswith(beginning)
        )
        name = field or next(by_beginning, first_word)
        if name in KEYS and name not in self._slots:
            name = MORE_SETTINGS
        slot = self._slots.get(name)
        if slot is None:
            return False
        slot.markdown(f":red[:material/error: {escape_markdown(message)}]")
        return True


def fill_changes(budget: str, changes: Mapping[str, str]) -> None:
    """Sets the values that the fields of a budget show when the form is drawn next.

    Args:
        budget: the name of the budget.
        changes: key -> value of settings that differ from the budget.
    """
    for key in LABELS:
        if key in changes:
            st.session_state[f"launch_{key}_{budget}"] = int(changes[key])
    if "output" in changes:
        st.session_state["launch_output"] = changes["output"]
    with_field = (*LABELS, "output")
    more = [f"{key}={value}" for key, value in changes.items() if key not in with_field]
    st.session_state[f"launch_extra_{budget}"] = " ".join(more)


def changes_form(budget: Budget, source_label: str, errors: FieldErrors) -> list[str]:
    """Draws fields with the values of a budget.

    Args:
        budget: the budget.
        source_label: the kind of the sources, `sketch` or `grey`.
        errors: shows the errors of the fields.

    Returns:
        The settings that differ from the budget, as `key=value`.
    """
    changes = []
    outputs = [name for name in OUTPUT_LABELS if OUTPUTS[name].fits(source_label)]
    if st.session_state.get("launch_output") not in outputs:
        st.session_state["launch_output"] = budget.output
    output = st.selectbox(
        "Model output",
        outputs,
        format_func=lambda name: OUTPUT_LABELS[name],
        key="launch_output",
        help="The output of configurations whose own output is `budget`. "
        + " ".join(f"`output={name}`: {OUTPUTS[name].help}" for name in outputs),
    )
    if output != budget.output:
        changes.append(f"output={output}")
    errors.add_slot("output")
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
        errors.add_slot(key)
    with st.expander("More settings", icon=":material/tune:"):
        more = st.text_input(
            "Settings as key=value",
            placeholder="norm=instance decay=0.5",
            key=f"launch_extra_{budget.name}",
            help="The keys of `--set`: ema, jitter, decay, norm, upconv_init, pretrain, "
            "generator, discriminator, evaluations, choose_by, precision, threads, compile, "
            "record_every.",
        )
    errors.add_slot(MORE_SETTINGS)
    return [*changes, *more.split()]
