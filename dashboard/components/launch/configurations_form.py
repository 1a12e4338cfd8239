"""Lets the user choose the configurations of a study and edit their values in a table."""

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn

from engine.config import Configuration, build
from engine.errors import BadInputError
from engine.options.loss_terms import LOSS_TERMS
from engine.overrides import CONFIGURATION_KEYS, TERM_KEYS
from engine.presets import CONFIGURATIONS, DEFAULT_CONFIGURATIONS

# Keys of the session state:
SELECTED = "launch_configurations"  # names of the selected configurations
CHANGED_ROWS = "launch_values"  # name -> values of each configuration that differs from its preset
TABLE_VERSION = "launch_values_version"  # part of the table's key; a new number redraws the table

TEMPLATE = "standard"  # the preset whose values a new configuration starts with

LABELS = {
    **{name: f"weight of {term.label}" for name, term in LOSS_TERMS.items()},
    "lr_g": "learning rate, generator",
    "lr_d": "learning rate, discriminator",
    "beta1": "Adam's beta 1",
    "beta2": "Adam's beta 2",
}
KEYS = (*TERM_KEYS, *CONFIGURATION_KEYS)

Row = dict[str, float]


def fill_configurations(configurations: Sequence[Configuration]) -> None:
    """Writes configurations into the session state, so that the form shows them at the next run."""
    st.session_state[SELECTED] = [configuration.name for configuration in configurations]
    st.session_state[CHANGED_ROWS] = {
        configuration.name: as_row(configuration)
        for configuration in configurations
        if CONFIGURATIONS.get(configuration.name) != configuration
    }
    _redraw_table()


def clear_changes() -> None:
    """Deletes all changed values; configurations without a preset get those of `TEMPLATE`."""
    st.session_state[CHANGED_ROWS] = {}


def configurations_form() -> list[Configuration]:
    """Draws the fields and returns the selected configurations.

    Raises:
        BadInputError: a value is not allowed; the message begins with the configuration's name.
    """
    st.session_state.setdefault(SELECTED, list(DEFAULT_CONFIGURATIONS))
    changed_rows: dict[str, Row] = st.session_state.setdefault(CHANGED_ROWS, {})
    names = st.multiselect(
        "Configurations",
        list(dict.fromkeys([*CONFIGURATIONS, *changed_rows, *st.session_state[SELECTED]])),
        key=SELECTED,
        accept_new_options=True,
        help="Loss recipes and learning rates to compare. Type a new name to add your own "
        f"configuration; it starts with the values of {TEMPLATE}.",
    )
    if not names:
        return []
    columns = {name: [_row(name, changed_rows)[key] for key in KEYS] for name in names}
    table = pd.DataFrame(columns, index=pd.Index([LABELS[key] for key in KEYS], name="setting"))
    table_key = f"launch_table_{st.session_state.get(TABLE_VERSION, 0)}_{'-'.join(names)}"
    st.data_editor(
        table,
        column_config={name: NumberColumn(name, format="%.4g", min_value=0.0) for name in names},
        key=table_key,
        on_change=_store_edits,
        args=(table_key,),
        width="stretch",
        height="content",
        alt="weights, learning rates and betas of the selected configurations",
    )
    st.caption("Edit any value. A weight of 0 removes its loss term.")
    changed_presets = [name for name in names if name in CONFIGURATIONS and name in changed_rows]
    if changed_presets:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Changed presets: {', '.join(changed_presets)}.")
            st.button(
                "Reset to presets", type="tertiary", icon=":material/undo:", on_click=_reset_presets
            )
    return [build_configuration(name, _row(name, changed_rows)) for name in names]


def as_row(configuration: Configuration) -> Row:
    """Returns the values of a configuration: key -> weight, learning rate or beta."""
    terms = configuration.recipe.terms
    weights: Mapping[str, float] = {term.name: term.weight for term in terms}
    return {
        **{name: weights.get(name, 0.0) for name in TERM_KEYS},
        **{key: float(getattr(configuration, key)) for key in CONFIGURATION_KEYS},
    }


def build_configuration(name: str, row: Mapping[str, float | None]) -> Configuration:
    """Builds a configuration from its values.

    Raises:
        BadInputError: a value is missing or not allowed; the message begins with `name`.
    """
    if empty := [key for key in KEYS if row[key] is None]:
        raise BadInputError(f"{name}: {empty[0]} is empty; give it a number.")
    terms = [{"name": key, "weight": row[key]} for key in TERM_KEYS if row[key]]
    rates = {key: row[key] for key in CONFIGURATION_KEYS}
    try:
        return build(Configuration, {"name": name, "recipe": {"terms": terms}, **rates})
    except BadInputError as error:
        raise BadInputError(f"{name}: {error}") from error


def _row(name: str, changed_rows: Mapping[str, Row]) -> Row:
    preset = CONFIGURATIONS.get(name, CONFIGURATIONS[TEMPLATE])
    return changed_rows.get(name) or as_row(preset)


def _store_edits(table_key: str) -> None:
    """Stores the cells that the user has edited; Streamlit calls this after each edit."""
    changed_rows: dict[str, Row] = st.session_state[CHANGED_ROWS]
    for position, cells in st.session_state[table_key]["edited_rows"].items():
        for name, value in cells.items():
            row = {**_row(name, changed_rows), KEYS[int(position)]: value}
            is_preset = name in CONFIGURATIONS and row == as_row(CONFIGURATIONS[name])
            if is_preset:
                changed_rows.pop(name, None)
            else:
                changed_rows[name] = row
    _redraw_table()


def _reset_presets() -> None:
    """Resets the built-in configurations and keeps the configurations that the user has added."""
    changed_rows: dict[str, Row] = st.session_state[CHANGED_ROWS]
    for name in CONFIGURATIONS:
        changed_rows.pop(name, None)
    _redraw_table()


def _redraw_table() -> None:
    st.session_state[TABLE_VERSION] = st.session_state.get(TABLE_VERSION, 0) + 1
