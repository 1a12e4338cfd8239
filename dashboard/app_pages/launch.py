"""Launch: choose data, budget, configurations and seeds; see what it will take; start."""

import uuid

import streamlit as st

from dashboard import actions
from dashboard.components.escape import plain
from dashboard.components.launch.configurations_form import (
    CHOSEN,
    configurations_form,
    fill_configurations,
    forget_changes,
)
from dashboard.components.launch.launch_form import Faults, changes_form, fill_changes
from dashboard.components.launch.plan_summary import offer_probe, show_plan
from dashboard.components.sources.source_form import source_form
from dashboard.queries import launch
from engine.annotations import MAX_NAME
from engine.config import MAX_SEEDS, Configuration, source_label
from engine.errors import BadInputError, EngineError
from engine.presets import BUDGET_PURPOSE, BUDGETS, PUBLISHED, read_configurations

st.title("Launch", anchor=False)


def fill_as_published() -> None:
    """Budget and configurations as one of the published studies had them."""
    chosen = st.session_state["launch_published"]
    if chosen:
        budget, configurations = PUBLISHED[chosen]
        st.session_state["launch_budget"] = budget
        fill_configurations(read_configurations(configurations))


def fill_as_cloned(clone: launch.Clone) -> None:
    """All fields as a study or a run had them."""
    launch.require_known_budget(clone, BUDGETS)
    st.session_state["launch_source"] = st.session_state["launch_asked"] = clone.data
    st.session_state["launch_budget"] = clone.budget
    st.session_state["launch_seeds"] = clone.seeds
    st.session_state["launch_name"] = clone.name
    fill_configurations(clone.configurations)
    fill_changes(clone.budget, clone.changes)


source = st.query_params.get("source", "")
is_new_visit = CHOSEN not in st.session_state  # fields forget when one leaves the page
if is_new_visit:
    forget_changes()
for parameter, read in (("clone", launch.clone_study), ("clone_run", launch.clone_run)):
    asked = st.query_params.get(parameter, "")
    if not asked.isdecimal():
        continue
    try:
        clone = read(int(asked))
        if is_new_visit or st.session_state.get("launch_cloned") != clone.about:
            fill_as_cloned(clone)
            st.session_state["launch_cloned"] = clone.about
        source = clone.data
        st.caption(
            f":material/content_copy: As {clone.about} was, seeds from 0; change what you like."
        )
    except EngineError as error:
        st.warning(plain(str(error)), icon=":material/error:")

faults = Faults()
form, summary = st.columns([3, 2], gap="large")

with form:
    data = source_form("launch", source)
    faults.below("source")
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
    configurations: list[Configuration] = []
    wrong: str | None = None
    try:
        configurations = configurations_form()
    except BadInputError as error:
        wrong = str(error)
    faults.below("configurations")
    st.session_state.setdefault("launch_budget", "demo")
    budget = st.selectbox(
        "Budget",
        list(BUDGETS),
        format_func=lambda name: f"{name}: {BUDGET_PURPOSE[name]}",
        key="launch_budget",
        help="How much is spent: picture size, width, epochs, batch and number of pairs.",
    )
    changes = changes_form(BUDGETS[budget], source_label(data or "") == "grey", faults)
    with st.container(horizontal=True):
        seeds = st.number_input(
            "Seeds",
            min_value=1,
            max_value=MAX_SEEDS,
            key="launch_seeds",
            help="Runs per configuration. Three or more tell a difference from luck.",
            width=120,
        )
        name = st.text_input(
            "Name",
            placeholder="optional; else data and budget",
            key="launch_name",
            max_chars=MAX_NAME,
        )

with summary:
    plan: launch.Plan | None = None
    try:
        if data is None:
            raise BadInputError("Say which folder the pictures are in.")
        if wrong is None:
            plan = launch.plan(data, budget, configurations, int(seeds), changes)
    except EngineError as error:
        wrong = str(error)
        if not faults.show(wrong):
            st.error(plain(wrong), title="This cannot be started yet", icon=":material/error:")
    else:
        if wrong is not None:
            faults.show(wrong, "configurations")
    if plan is not None:
        show_plan(plan)
        offer_probe(plan)
    elif wrong is not None:
        st.caption("What Start will do is shown here when every field is right.")
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
