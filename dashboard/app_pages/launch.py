"""Launch: choose data, budget, configurations and seeds; see what it will take; start."""

import uuid

import streamlit as st

from dashboard import actions, reads
from dashboard.components.launch_form import changes_form
from dashboard.components.plan import show_plan
from dashboard.components.text import plain
from engine.config import MAX_SEEDS
from engine.errors import EngineError
from engine.presets import BUDGET_PURPOSE, BUDGETS, CONFIGURATIONS, DEFAULT_CONFIGURATIONS

st.title("Launch", anchor=False)

form, summary = st.columns(2, gap="large")

with form:
    data = st.selectbox(
        "Data",
        ["openmoji"],
        key="launch_data",
    )
    budget = st.selectbox(
        "Budget",
        list(BUDGETS),
        index=list(BUDGETS).index("demo"),
        format_func=lambda name: f"{name}: {BUDGET_PURPOSE[name]}",
        key="launch_budget",
        help="How much is spent: picture size, width, epochs, batch and number of pairs.",
    )
    configurations = st.multiselect(
        "Configurations",
        list(CONFIGURATIONS),
        default=DEFAULT_CONFIGURATIONS,
        key="launch_configurations",
        help="What is compared: a loss recipe with its learning rates.",
    )
    seeds = st.number_input(
        "Seeds",
        min_value=1,
        max_value=MAX_SEEDS,
        value=1,
        key="launch_seeds",
        help="Runs per configuration. Three or more tell a difference from luck.",
    )
    name = st.text_input("Name", placeholder=f"{data} {budget}", key="launch_name", max_chars=120)
    changes = changes_form(BUDGETS[budget])

with summary:
    plan: reads.Plan | None = None
    try:
        plan = reads.plan(data, budget, configurations, int(seeds), changes)
    except EngineError as error:
        st.error(plain(str(error)), title="This cannot be started yet", icon=":material/error:")
    if plan is not None:
        show_plan(plan)
    key = st.session_state.setdefault("launch_key", uuid.uuid4().hex)
    pressed = st.button(
        "Start",
        type="primary",
        icon=":material/play_arrow:",
        disabled=plan is None,
        width="stretch",
        key="launch_start",
    )

if pressed and plan is not None:
    try:
        study_id = actions.start_study(plan.configs, name or plan.name, key)
    except EngineError as error:
        summary.error(plain(str(error)), icon=":material/error:")
        st.stop()
    del st.session_state["launch_key"]
    st.switch_page("app_pages/live.py", query_params={"study": str(study_id)})
