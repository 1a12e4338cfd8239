"""Lets the user choose the configurations of a study and edit their values in two tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, SelectboxColumn, TextColumn

from engine.config import Configuration, OptimizerName, ScheduleName, build
from engine.errors import BadInputError
from engine.options.loss_terms import LOSS_TERMS
from engine.overrides import CONFIGURATION_KEYS, TERM_KEYS
from engine.presets import CONFIGURATIONS, DEFAULT_CONFIGURATIONS

# Keys of the session state:
SELECTED = "launch_configurations"  # names of the selected configurations
CHANGED_ROWS = "launch_values"  # name -> values of each configuration that differs from its preset
TABLE_VERSION = "launch_values_version"  # part of the tables' keys; a new number redraws them

TEMPLATE = "standard"  # the preset whose values a new configuration starts with

# The rows of the table: key -> label.
LABELS = {
    **{name: f"weight of {term.label}" for name, term in LOSS_TERMS.items()},
    "lr_g": "learning rate, generator",
    "lr_d": "learning rate, discriminator",
    "beta1": "Adam's beta 1",
    "beta2": "Adam's beta 2",
}
# The columns of the table of optimisers and schedules, which has a row per configuration.
OPTIMISER_COLUMNS = {
    "optimizer": SelectboxColumn(
        "Optimiser",
        options=get_args(OptimizerName),
        required=True,
        help="The optimiser of both networks. AdamW is Adam with a weight decay of its own.",
    ),
    "weight_decay": NumberColumn(
        "Weight decay",
        format="%.4g",
        min_value=0.0,
        help="With AdamW, each step multiplies all weights by 1 - learning rate x weight decay.",
    ),
    "schedule": SelectboxColumn(
        "Schedule",
        options=get_args(ScheduleName),
        required=True,
        help="How the learning rates fall. Linear: constant, then during the share of the epochs "
        "that `decay` gives. Cosine: over all steps of the run; `decay` has no effect.",
    ),
    "warmup_steps": NumberColumn(
        "Warm-up steps",
        format="%d",
        min_value=0,
        step=1,
        help="Number of steps at the start during which the learning rates rise from near 0.",
    ),
    "final_lr": NumberColumn(
        "Final rate",
        format="%.4g",
        min_value=0.0,
        max_value=1.0,
        help="With the cosine schedule, the learning rates at the last step, as a share of those "
        "in the table above.",
    ),
}
KEYS = (*LABELS, *OPTIMISER_COLUMNS)

Row = dict[str, float | str]


def fill_configurations(configurations: Sequence[Configuration]) -> None:
    """Writes configurations into the session state, so that the form shows them at the next run."""
    st.session_state[SELECTED] = [configuration.name for configuration in configurations]
    st.session_state[CHANGED_ROWS] = {
        configuration.name: as_row(configuration)
        for configuration in configurations
        if CONFIGURATIONS.get(configuration.name) != configuration
    }
    _redraw_tables()


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
    rows = {name: _row(name, changed_rows) for name in names}
    _draw_values(rows)
    _draw_optimisers(rows)
    changed_presets = [name for name in names if name in CONFIGURATIONS and name in changed_rows]
    if changed_presets:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Changed presets: {', '.join(changed_presets)}.")
            st.button(
                "Reset to presets", type="tertiary", icon=":material/undo:", on_click=_reset_presets
            )
    return [build_configuration(name, row) for name, row in rows.items()]


def _draw_values(rows: Mapping[str, Row]) -> None:
    """Draws the table of weights, learning rates and betas, with a column per configuration."""
    columns = {name: [row[key] for key in LABELS] for name, row in rows.items()}
    table = pd.DataFrame(columns, index=pd.Index(LABELS.values(), name="setting"))
    table_key = _table_key("values", rows)
    st.data_editor(
        table,
        column_config={name: NumberColumn(name, format="%.4g", min_value=0.0) for name in rows},
        key=table_key,
        on_change=_store_values,
        args=(table_key,),
        width="stretch",
        height="content",
        alt="weights, learning rates and betas of the selected configurations",
    )
    st.caption("Edit any value. A weight of 0 removes its loss term.")


def _draw_optimisers(rows: Mapping[str, Row]) -> None:
    """Draws the table of optimisers and schedules, with a row per configuration."""
    table = pd.DataFrame(
        [[row[key] for key in OPTIMISER_COLUMNS] for row in rows.values()],
        index=pd.Index(rows, name="configuration"),
        columns=list(OPTIMISER_COLUMNS),
    )
    table_key = _table_key("optimisers", rows)
    with st.expander("Optimisers and schedules", icon=":material/tune:"):
        st.data_editor(
            table,
            column_config={"configuration": TextColumn("Configuration"), **OPTIMISER_COLUMNS},
            key=table_key,
            on_change=_store_optimisers,
            args=(table_key, list(rows)),
            width="stretch",
            height="content",
            alt="optimisers and schedules of the selected configurations",
        )


def as_row(configuration: Configuration) -> Row:
    """Returns the values of a configuration: key -> weight of the term, or value of the setting."""
    terms = configuration.recipe.terms
    weights: Mapping[str, float] = {term.name: term.weight for term in terms}
    return {
        **{name: weights.get(name, 0.0) for name in TERM_KEYS},
        **{key: getattr(configuration, key) for key in CONFIGURATION_KEYS},
    }


def build_configuration(name: str, row: Mapping[str, float | str | None]) -> Configuration:
    """Builds a configuration from its values.

    Raises:
        BadInputError: a value is missing or not allowed; the message begins with `name`.
    """
    if empty := [key for key in KEYS if row[key] is None]:
        raise BadInputError(f"{name}: {empty[0]} is empty; give it a value.")
    terms = [{"name": key, "weight": row[key]} for key in TERM_KEYS if row[key]]
    settings = {key: row[key] for key in CONFIGURATION_KEYS}
    try:
        return build(Configuration, {"name": name, "recipe": {"terms": terms}, **settings})
    except BadInputError as error:
        raise BadInputError(f"{name}: {error}") from error


def _row(name: str, changed_rows: Mapping[str, Row]) -> Row:
    preset = CONFIGURATIONS.get(name, CONFIGURATIONS[TEMPLATE])
    return changed_rows.get(name) or as_row(preset)


def _store_values(table_key: str) -> None:
    """Stores the edited weights, rates and betas; Streamlit calls this after each edit."""
    keys = list(LABELS)
    for position, cells in st.session_state[table_key]["edited_rows"].items():
        for name, value in cells.items():
            _store(name, {keys[int(position)]: value})
    _redraw_tables()


def _store_optimisers(table_key: str, names: Sequence[str]) -> None:
    """Stores the edited optimisers and schedules; Streamlit calls this after each edit."""
    for position, cells in st.session_state[table_key]["edited_rows"].items():
        _store(names[int(position)], cells)
    _redraw_tables()


def _store(name: str, cells: Mapping[str, float | str]) -> None:
    """Stores the edited cells of a configuration; a row equal to its preset is not stored."""
    changed_rows: dict[str, Row] = st.session_state[CHANGED_ROWS]
    row = {**_row(name, changed_rows), **cells}
    if name in CONFIGURATIONS and row == as_row(CONFIGURATIONS[name]):
        changed_rows.pop(name, None)
    else:
        changed_rows[name] = row


def _reset_presets() -> None:
    """Resets the built-in configurations and keeps the configurations that the user has added."""
    changed_rows: dict[str, Row] = st.session_state[CHANGED_ROWS]
    for name in CONFIGURATIONS:
        changed_rows.pop(name, None)
    _redraw_tables()


def _table_key(table: str, names: Iterable[str]) -> str:
    return f"launch_table_{table}_{st.session_state.get(TABLE_VERSION, 0)}_{'-'.join(names)}"


def _redraw_tables() -> None:
    st.session_state[TABLE_VERSION] = st.session_state.get(TABLE_VERSION, 0) + 1
