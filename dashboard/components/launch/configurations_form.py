"""Which configurations a study compares, and what they are: terms, weights, rates, betas."""

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn

from engine.config import Configuration, build
from engine.errors import BadInputError
from engine.overrides import CONFIGURATION_KEYS, TERM_KEYS
from engine.presets import CONFIGURATIONS, DEFAULT_CONFIGURATIONS

CHOSEN = "launch_configurations"
VALUES = "launch_values"  # name -> column -> value, of those that are not as their preset has them
VERSION = "launch_values_version"  # of the table: it is drawn anew when its values come from us
START = "standard"  # what a configuration of one's own begins as

LABELS = {
    "adversarial": "weight of adversarial",
    "l1": "weight of L1",
    "perceptual": "weight of perceptual",
    "total_variation": "weight of total variation",
    "lr_g": "learning rate, generator",
    "lr_d": "learning rate, discriminator",
    "beta1": "Adam's beta 1",
    "beta2": "Adam's beta 2",
}
KEYS = (*TERM_KEYS, *CONFIGURATION_KEYS)

Row = dict[str, float]


def fill_configurations(configurations: Sequence[Configuration]) -> None:
    """Lets the fields show these when they are drawn next."""
    st.session_state[CHOSEN] = [it.name for it in configurations]
    st.session_state[VALUES] = {
        it.name: as_row(it) for it in configurations if CONFIGURATIONS.get(it.name) != it
    }
    st.session_state[VERSION] = st.session_state.get(VERSION, 0) + 1


def forget_changes() -> None:
    """Lets every configuration be as its preset has it."""
    st.session_state[VALUES] = {}


def configurations_form() -> list[Configuration]:
    """The fields; what they amount to.

    Raises:
        BadInputError: a value is impossible; the sentence begins with the configuration.
    """
    st.session_state.setdefault(CHOSEN, list(DEFAULT_CONFIGURATIONS))
    values: dict[str, Row] = st.session_state.setdefault(VALUES, {})
    chosen = st.multiselect(
        "Configurations",
        list(dict.fromkeys([*CONFIGURATIONS, *values, *st.session_state[CHOSEN]])),
        key=CHOSEN,
        accept_new_options=True,
        help="What is compared: a loss recipe with its learning rates. A new name begins as "
        f"{START}; its values can be changed below.",
    )
    if not chosen:
        return []
    columns = {name: [_row(name, values)[key] for key in KEYS] for name in chosen}
    table = pd.DataFrame(columns, index=pd.Index([LABELS[key] for key in KEYS], name="setting"))
    key = f"launch_table_{st.session_state.get(VERSION, 0)}_{'-'.join(chosen)}"
    st.data_editor(
        table,
        column_config={name: NumberColumn(name, format="%.4g", min_value=0.0) for name in chosen},
        key=key,
        on_change=_keep,
        args=(key,),
        width="stretch",
        height="content",
        alt="terms, weights and rates of the chosen configurations",
    )
    st.caption("Every value can be changed; a weight of 0 leaves its term out.")
    changed = [name for name in chosen if name in CONFIGURATIONS and name in values]
    if changed:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Not as published: {', '.join(changed)}.")
            st.button("As published", type="tertiary", icon=":material/undo:", on_click=_forget)
    return [build_configuration(name, _row(name, values)) for name in chosen]


def as_row(configuration: Configuration) -> Row:
    """A configuration as a row of the table."""
    weights: Mapping[str, float] = {it.name: it.weight for it in configuration.recipe.terms}
    return {
        **{name: weights.get(name, 0.0) for name in TERM_KEYS},
        **{key: float(getattr(configuration, key)) for key in CONFIGURATION_KEYS},
    }


def build_configuration(name: str, row: Mapping[str, float | None]) -> Configuration:
    """A row of the table as a configuration, or `BadInputError`."""
    if empty := [key for key in KEYS if row[key] is None]:
        raise BadInputError(f"{name}: {empty[0]} is empty; give it a number.")
    terms = [{"name": key, "weight": row[key]} for key in TERM_KEYS if row[key]]
    rates = {key: row[key] for key in CONFIGURATION_KEYS}
    try:
        return build(Configuration, {"name": name, "recipe": {"terms": terms}, **rates})
    except BadInputError as error:
        raise BadInputError(f"{name}: {error}") from error


def _row(name: str, values: Mapping[str, Row]) -> Row:
    return values.get(name) or as_row(CONFIGURATIONS.get(name, CONFIGURATIONS[START]))


def _keep(key: str) -> None:
    """Takes over what was typed; what is again as the preset has it is no change."""
    values: dict[str, Row] = st.session_state[VALUES]
    for position, changes in st.session_state[key]["edited_rows"].items():
        for name, value in changes.items():
            row = {**_row(name, values), KEYS[int(position)]: value}
            if name in CONFIGURATIONS and row == as_row(CONFIGURATIONS[name]):
                values.pop(name, None)
            else:
                values[name] = row
    st.session_state[VERSION] = st.session_state.get(VERSION, 0) + 1


def _forget() -> None:
    """Takes the presets' values again."""
    values: dict[str, Row] = st.session_state[VALUES]
    for name in [name for name in values if name in CONFIGURATIONS]:
        del values[name]
    st.session_state[VERSION] = st.session_state.get(VERSION, 0) + 1
