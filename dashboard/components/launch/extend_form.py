"""Adding to a study that there is: seeds, configurations, epochs."""

import streamlit as st

from dashboard import actions
from dashboard.components.escape import plain
from dashboard.queries.studies import StudyCard
from engine.config import MAX_SEEDS
from engine.errors import EngineError
from engine.jobs.planning import Extension
from engine.presets import CONFIGURATIONS

EXTENDING = "extending_study"  # the study whose form is open


def extend_form(card: StudyCard) -> None:
    """Fields with what the study has; Add queues what is more."""
    study, have = card.study, {run.configuration for run in card.runs}
    n_seeds = 1 + max(run.seed for run in card.runs)
    with st.container(border=True):
        st.markdown("**Add to it**: runs that are there stay as they are.")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            seeds = st.number_input(
                "Seeds",
                min_value=n_seeds,
                max_value=MAX_SEEDS,
                key=f"extend_seeds_{study.id}",
                help="Runs per configuration, those there are counted.",
                width=120,
            )
            epochs = st.number_input(
                "Epochs",
                min_value=study.budget.epochs,
                key=f"extend_epochs_{study.id}",
                help="All runs go on from their last epoch.",
                width=120,
            )
            more = st.multiselect(
                "Configurations",
                [name for name in CONFIGURATIONS if name not in have],
                key=f"extend_configurations_{study.id}",
                placeholder="none more",
            )
            pressed = st.button("Add", type="primary", key=f"extend_add_{study.id}")
            if st.button("Close", key=f"extend_close_{study.id}"):
                del st.session_state[EXTENDING]
                st.rerun()
        if pressed:
            longer = str(epochs) if epochs > study.budget.epochs else None
            try:
                count = actions.extend_study(study, Extension(more, int(seeds), longer))
            except EngineError as error:
                st.error(plain(str(error)), icon=":material/error:")
                return
            st.toast(
                f"{count} run{'s are' if count != 1 else ' is'} queued", icon=":material/check:"
            )
            st.rerun()
