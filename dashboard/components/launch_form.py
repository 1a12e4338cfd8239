"""Single values that a study changes against its budget and configurations."""

import streamlit as st

from engine.config import Budget

SHOWN = ("epochs", "px", "batch", "base_channels")
LABELS = {
    "epochs": "Epochs",
    "px": "Picture size (px)",
    "batch": "Batch (pictures)",
    "base_channels": "Width (channels)",
}


def changes_form(budget: Budget) -> dict[str, str]:
    """Fields with the budget's values; what was changed, as `--set` keys and values."""
    with st.expander("Change single values", icon=":material/tune:"):
        changes: dict[str, str] = {}
        for left, right in (SHOWN[:2], SHOWN[2:]):
            for column, key in zip(st.columns(2), (left, right), strict=True):
                changes |= _number(column, key, budget)
        extra = st.text_input(
            "More, as key=value",
            placeholder="lr_g=1e-4 l1=50",
            key=f"launch_extra_{budget.name}",
            help="The keys of `--set`: lr_g, lr_d, beta1, beta2, ema, jitter, decay, norm, "
            "precision, threads, compile, record_every, and the weight of any term.",
        )
    for part in extra.split():
        key, _, value = part.partition("=")
        changes[key] = value
    return changes


def _number(column: st.delta_generator.DeltaGenerator, key: str, budget: Budget) -> dict[str, str]:
    default = getattr(budget, key)
    value = column.number_input(
        LABELS[key], value=default, step=32 if key == "px" else 1, key=f"launch_{key}_{budget.name}"
    )
    return {} if value == default else {key: str(value)}
