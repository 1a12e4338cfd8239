"""Single values that a study changes against its budget and configurations."""

import streamlit as st

from engine.config import Budget

LABELS = {
    "epochs": "Epochs",
    "px": "Picture size (px)",
    "batch": "Batch (pictures)",
    "base_channels": "Width (channels)",
}


def changes_form(budget: Budget) -> list[str]:
    """Fields with the budget's values; what was changed, as `--set` takes it."""
    changes = []
    with st.expander("Change single values", icon=":material/tune:"):
        columns = st.columns(2)
        for position, (key, label) in enumerate(LABELS.items()):
            default = getattr(budget, key)
            value = columns[position % 2].number_input(
                label,
                value=default,
                step=32 if key == "px" else 1,
                key=f"launch_{key}_{budget.name}",
            )
            if value != default:
                changes.append(f"{key}={value}")
        extra = st.text_input(
            "More, as key=value",
            placeholder="lr_g=1e-4 l1=50",
            key=f"launch_extra_{budget.name}",
            help="The keys of `--set`: lr_g, lr_d, beta1, beta2, ema, jitter, decay, norm, "
            "precision, threads, compile, record_every, and the weight of any term.",
        )
    return [*changes, *extra.split()]
