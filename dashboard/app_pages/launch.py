"""Launch: configure a study, check its time, memory and disk space, and start it."""

import uuid

import streamlit as st

from dashboard import actions
from dashboard.components.escape import escape_markdown
from dashboard.components.launch.configurations_form import configurations_form
from dashboard.components.launch.launch_form import FieldErrors, changes_form
from dashboard.components.launch.plan_summary import offer_probe, show_plan
from dashboard.components.launch.prefill import prefill_from_url, published_studies
from dashboard.components.launch.weights_section import (
    show_missing_weights,
    show_wait,
    start_label,
)
from dashboard.components.sources.source_form import source_form
from dashboard.queries import launch
from engine.annotations import MAX_NAME
from engine.config import MAX_SEEDS_PER_STUDY, Configuration, source_label
from engine.errors import BadInputError, EngineError
from engine.presets import BUDGET_PURPOSES, BUDGETS

st.title("Launch", anchor=False)
source = prefill_from_url()
errors = FieldErrors()
form, summary = st.columns([2, 1], gap="large")

with form:
    data = source_form("launch", source)
    errors.add_slot("source")
    if data is not None:
        st.page_link(
            "app_pages/data.py",
            label="Inspect this source",
            icon=":material/imagesmode:",
            query_params={"source": data},
        )
    published_studies()
    label = source_label(data or "")
    configurations: list[Configuration] = []
    configurations_error: str | None = None
    try:
        configurations = configurations_form(label)
    except BadInputError as error:
        configurations_error = str(error)
    errors.add_slot("configurations")
    st.session_state.setdefault("launch_budget", "demo")
    budget = st.selectbox(
        "Budget",
        list(BUDGETS),
        format_func=lambda name: f"{name}: {BUDGET_PURPOSES[name]}",
        key="launch_budget",
        help="Sets picture size, width of the networks, epochs, batch size and number of pairs.",
    )
    changes = changes_form(BUDGETS[budget], label, errors)
    with st.container(horizontal=True):
        seeds = st.number_input(
            "Seeds",
            min_value=1,
            max_value=MAX_SEEDS_PER_STUDY,
            key="launch_seeds",
            help="Runs per configuration. Use three or more to tell real differences from chance.",
            width=120,
        )
        name = st.text_input(
            "Study name",
            placeholder="Default: data source and budget",
            key="launch_name",
            max_chars=MAX_NAME,
        )

with summary:
    plan: launch.Plan | None = None
    missing = launch.NO_MISSING_WEIGHTS
    try:
        if data is None:
            raise BadInputError("Enter the folder of the pictures.")
        if configurations_error is None:
            missing = launch.missing_weights(data, budget, configurations, changes)
            plan = launch.plan(data, budget, configurations, int(seeds), changes)
        else:
            errors.show(configurations_error, "configurations")
    except EngineError as error:
        if not errors.show(str(error)):
            title = "This study cannot be started yet"
            st.error(escape_markdown(str(error)), title=title, icon=":material/error:")
    if plan is not None:
        show_plan(plan)
        offer_probe(plan)
    else:
        st.caption("The summary appears when all fields are valid.")
    show_missing_weights(missing)
    form_key = st.session_state.setdefault("launch_key", uuid.uuid4().hex)
    is_started = st.button(
        start_label(missing),
        type="primary",
        icon=":material/play_arrow:",
        disabled=plan is None,
        width="stretch",
        key="launch_start",
    )
    show_wait(missing)

if is_started and plan is not None:
    try:
        study_id = actions.start_study(plan.configs, name or plan.name, form_key)
    except EngineError as error:
        summary.error(escape_markdown(str(error)), icon=":material/error:")
        st.stop()
    del st.session_state["launch_key"]
    st.switch_page("app_pages/live.py", query_params={"study": str(study_id)})
