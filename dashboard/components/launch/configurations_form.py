"""Lets the user choose the configurations of a study and edit their values in three tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import pandas as pd
import streamlit as st
from streamlit.column_config import (
    CheckboxColumn,
    NumberColumn,
    SelectboxColumn,
    TextColumn,
)

from engine.config import (
    Configuration,
    OptimizerName,
    OutputName,
    ScheduleName,
    SourceFeatures,
    build,
)
from engine.errors import BadInputError
from engine.options.decodings import OPTIONS, RULES
from engine.options.loss_terms import LOSS_TERMS
from engine.options.outputs import OUTPUTS
from engine.overrides import TERM_KEYS
from engine.presets import CONFIGURATIONS, default_configurations

# Keys of the session state:
SELECTED = "launch_configurations"  # names of the selected configurations
CHANGED_ROWS = "launch_values"  # name -> values of each configuration that differs from its preset
DEFAULTS_OF = "launch_defaults_of"  # the kind of source whose defaults were selected
TABLE_VERSION = "launch_values_version"  # part of the tables' keys; a new number redraws them

TEMPLATE = "standard"  # the preset whose values a new configuration starts with
VALUE_WIDTH_PX = 102  # four columns of values fit beside their labels into a window of 1,280 px

# The rows of the table: key -> label.
LABELS = {
    **{name: f"weight of {term.label}" for name, term in LOSS_TERMS.items()},
    "lr_g": "rate of generator",
    "lr_d": "rate of discriminator",
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
# The columns of the table of outputs and decodings, which has a row per configuration.
OUTPUT_COLUMNS = {
    "output": SelectboxColumn(
        "Output",
        options=("budget", *get_args(OutputName)),
        required=True,
        help="What the network computes. budget: as the budget says. "
        + " ".join(f"{output.name}: {output.help}" for output in OUTPUTS.values()),
    ),
    "n_colours": NumberColumn(
        "Palette colours",
        format="%d",
        min_value=2,
        max_value=256,
        step=1,
        help="For the output palette: the number of colours, which are found in the fills of the "
        "training pictures.",
    ),
    "regions": CheckboxColumn(
        "Regions",
        help="For the output palette: the pixels of an area that is enclosed by lines share an "
        "estimate of their colour.",
    ),
    "source_features": SelectboxColumn(
        "Pretrained features",
        options=get_args(SourceFeatures),
        required=True,
        help="A pretrained network reads the source for the generator. "
        "EfficientNet-Lite0 is a relative of EfficientNet-Lite2, whose distances judge the result.",
    ),
    "decoding": TextColumn(
        "Decoding",
        required=True,
        help="For the output palette: how a colour is read from the estimated distribution, as "
        f"RULE:NUMBER+OPTION. Rules: {', '.join(RULES)}. Options: {', '.join(OPTIONS)}.",
    ),
}


@dataclass(frozen=True)
class SettingsTable:
    """A table with a row per configuration.

    Attributes:
        key: the name of the table in the session state.
        title: the title above the table.
        icon: the icon beside the title.
        columns: setting -> column.
    """

    key: str
    title: str
    icon: str
    columns: Mapping[str, Any]


TABLES = (
    SettingsTable("optimisers", "Optimisers and schedules", ":material/tune:", OPTIMISER_COLUMNS),
    SettingsTable("outputs", "Outputs and decodings", ":material/palette:", OUTPUT_COLUMNS),
)
KEYS = (*LABELS, *(key for table in TABLES for key in table.columns))
SETTING_KEYS = tuple(name for name in Configuration.model_fields if name not in ("name", "recipe"))

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


def configurations_form(source_label: str) -> list[Configuration]:
    """Draws the fields and returns the selected configurations.

    Args:
        source_label: the kind of the sources, `sketch` or `grey`.

    Raises:
        BadInputError: a value is not allowed; the message begins with the configuration's name.
    """
    _select_defaults(source_label)
    changed_rows: dict[str, Row] = st.session_state.setdefault(CHANGED_ROWS, {})
    names = st.multiselect(
        "Configurations",
        list(dict.fromkeys([*CONFIGURATIONS, *changed_rows, *st.session_state[SELECTED]])),
        key=SELECTED,
        accept_new_options=True,
        help="Loss recipes, outputs and learning rates to compare. Type a new name to add your own "
        f"configuration; it starts with the values of {TEMPLATE}.",
    )
    if not names:
        return []
    rows = {name: _row(name, changed_rows) for name in names}
    _draw_values(rows)
    for table in TABLES:
        _draw_settings(table, rows)
    changed_presets = [name for name in names if name in CONFIGURATIONS and name in changed_rows]
    if changed_presets:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Changed presets: {', '.join(changed_presets)}.")
            st.button(
                "Reset to presets", type="tertiary", icon=":material/undo:", on_click=_reset_presets
            )
    return [build_configuration(name, row) for name, row in rows.items()]


def _select_defaults(source_label: str) -> None:
    """Selects the defaults for a kind of source, unless the user has selected others."""
    defaults_of = st.session_state.get(DEFAULTS_OF, source_label)
    st.session_state[DEFAULTS_OF] = source_label
    selected = st.session_state.get(SELECTED)
    if selected is None or (
        defaults_of != source_label and selected == list(default_configurations(defaults_of))
    ):
        st.session_state[SELECTED] = list(default_configurations(source_label))


def _draw_values(rows: Mapping[str, Row]) -> None:
    """Draws the table of weights, learning rates and betas, with a column per configuration."""
    columns = {name: [row[key] for key in LABELS] for name, row in rows.items()}
    table = pd.DataFrame(columns, index=pd.Index(LABELS.values(), name="setting"))
    table_key = _table_key("values", rows)
    st.data_editor(
        table,
        column_config={
            name: NumberColumn(name, format="%.4g", min_value=0.0, width=VALUE_WIDTH_PX)
            for name in rows
        },
        key=table_key,
        on_change=_store_values,
        args=(table_key,),
        width="stretch",
        height="content",
        alt="weights, learning rates and betas of the selected configurations",
    )
    st.caption("Edit any value. A weight of 0 removes its loss term. A rate is a learning rate.")


def _draw_settings(table: SettingsTable, rows: Mapping[str, Row]) -> None:
    """Draws a table of settings, with a row per configuration."""
    values = pd.DataFrame(
        [[row[key] for key in table.columns] for row in rows.values()],
        index=pd.Index(rows, name="configuration"),
        columns=list(table.columns),
    )
    table_key = _table_key(table.key, rows)
    with st.expander(table.title, icon=table.icon):
        st.data_editor(
            values,
            column_config={"configuration": TextColumn("Configuration"), **table.columns},
            key=table_key,
            on_change=_store_settings,
            args=(table_key, list(rows)),
            width="stretch",
            height="content",
            alt=f"{table.title.lower()} of the selected configurations",
        )


def as_row(configuration: Configuration) -> Row:
    """Returns the values of a configuration: key -> weight of the term, or value of the setting."""
    terms = configuration.recipe.terms
    weights: Mapping[str, float] = {term.name: term.weight for term in terms}
    return {
        **{name: weights.get(name, 0.0) for name in TERM_KEYS},
        **{key: getattr(configuration, key) for key in SETTING_KEYS},
    }


def build_configuration(name: str, row: Mapping[str, float | str | None]) -> Configuration:
    """Builds a configuration from its values.

    Raises:
        BadInputError: a value is missing or not allowed; the message begins with `name`.
    """
    if empty := [key for key in KEYS if row[key] is None]:
        raise BadInputError(f"{name}: {empty[0]} is empty; give it a value.")
    # The order of the terms is that of the preset, so that an unchanged preset stays equal.
    preset = CONFIGURATIONS.get(name)
    keys = dict.fromkeys([*(preset.recipe.names if preset is not None else ()), *TERM_KEYS])
    terms = [{"name": key, "weight": row[key]} for key in keys if row[key]]
    settings = {key: row[key] for key in SETTING_KEYS}
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


def _store_settings(table_key: str, names: Sequence[str]) -> None:
    """Stores the edited settings of configurations; Streamlit calls this after each edit."""
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
