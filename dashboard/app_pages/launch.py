"""Launch: choose data, budget, configurations and seeds; see what it will take; start."""

import uuid

import streamlit as st

from dashboard import actions, reads
from dashboard.components.launch_form import changes_form, fill_changes
from dashboard.components.plan import show_plan
from dashboard.components.source_form import source_form
from dashboard.components.text import plain
from engine.config import MAX_SEEDS, source_label
from engine.errors import BadInputError, EngineError
from engine.presets import (
    BUDGET_PURPOSE,
    BUDGETS,
    CONFIGURATIONS,
    DEFAULT_CONFIGURATIONS,
    PUBLISHED,
)

st.title("Launch", anchor=False)


def fill_as_published() -> None:
    """Budget and configurations as one of the published studies had them."""
    chosen = st.session_state["launch_published"]
    if chosen:
        budget, configurations = PUBLISHED[chosen]
        st.session_state["launch_budget"] = budget
        st.session_state["launch_configurations"] = list(configurations)


def fill_as_cloned(study_id: int) -> None:
    """All fields as a study had them."""
    clone = reads.clone(study_id)
    if clone.budget not in BUDGETS:
        raise BadInputError(f"Study {study_id} has a budget that this version does not know.")
    st.session_state["launch_source"] = st.session_state["launch_asked"] = clone.data
    st.session_state["launch_budget"] = clone.budget
    known = [name for name in clone.configurations if name in CONFIGURATIONS]
    st.session_state["launch_configurations"] = known
    st.session_state["launch_seeds"] = clone.seeds
    st.session_state["launch_name"] = clone.name
    fill_changes(clone.budget, clone.changes)


asked, source = st.query_params.get("clone", ""), st.query_params.get("source", "")
if asked.isdecimal():
    try:
        if st.session_state.get("launch_cloned") != asked:
            fill_as_cloned(int(asked))
            st.session_state["launch_cloned"] = asked
        source = reads.clone(int(asked)).data
        st.caption(f":material/content_copy: As study {asked} was; change what you like.")
    except EngineError as error:
        st.warning(plain(str(error)), icon=":material/error:")

form, summary = st.columns(2, gap="large")

with form:
    data = source_form("launch", source)
    if data is not None:
        st.page_link(
            "app_pages/data.py",
            label="What is in it, and what is wrong with it",
            icon=":material/imagesmode:",
            query_params={"source": data},
        )
    st.pills(
        "As published",
        list(PUBLISHED),
        key="launch_published",
        on_change=fill_as_published,
        help="Fills in budget and configurations of one of the two studies.",
    )
    st.session_state.setdefault("launch_budget", "demo")
    budget = st.selectbox(
        "Budget",
        list(BUDGETS),
        format_func=lambda name: f"{name}: {BUDGET_PURPOSE[name]}",
        key="launch_budget",
        help="How much is spent: picture size, width, epochs, batch and number of pairs.",
    )
    st.session_state.setdefault("launch_configurations", list(DEFAULT_CONFIGURATIONS))
    configurations = st.multiselect(
        "Configurations",
        list(CONFIGURATIONS),
        key="launch_configurations",
        help="What is compared: a loss recipe with its learning rates.",
    )
    seeds = st.number_input(
        "Seeds",
        min_value=1,
        max_value=MAX_SEEDS,
        key="launch_seeds",
        help="Runs per configuration. Three or more tell a difference from luck.",
    )
    name = st.text_input("Name", placeholder="data and budget", key="launch_name", max_chars=120)
    changes = changes_form(BUDGETS[budget], is_grey=source_label(data or "") == "grey")

with summary:
    plan: reads.Plan | None = None
    try:
        if data is None:
            raise BadInputError("Say which folder the pictures are in.")
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
