"""A form that adds seeds, configurations or epochs to an existing study."""

import streamlit as st

from dashboard import actions
from dashboard.components.escape import escape_markdown
from dashboard.queries.studies import StudyCard
from engine.config import MAX_SEEDS_PER_STUDY, source_label
from engine.errors import EngineError
from engine.jobs.planning import Extension
from engine.presets import CONFIGURATIONS

EXTENDED_STUDY = "extended_study"  # session state: the id of the study whose form is open


def extend_form(card: StudyCard) -> None:
    """Draws fields with the study's present values; the button Add queues the additional runs."""
    study, existing = card.study, {run.configuration for run in card.runs}
    fitting = [
        name
        for name, configuration in CONFIGURATIONS.items()
        if configuration.output_at(study.budget).fits(source_label(study.data))
    ]
    n_seeds = 1 + max(run.seed for run in card.runs)
    with st.container(border=True):
        st.markdown("**Extend this study.** Existing runs keep their results.")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            seeds = st.number_input(
                "Seeds",
                min_value=n_seeds,
                max_value=MAX_SEEDS_PER_STUDY,
                key=f"extend_seeds_{study.id}",
                help="Runs per configuration in total, including existing runs.",
                width=120,
            )
            epochs = st.number_input(
                "Epochs",
                min_value=study.budget.epochs,
                key=f"extend_epochs_{study.id}",
                help="Epochs in total. All runs continue from their last epoch. With a cosine "
                "schedule, the learning rates of the added epochs are those of the new total.",
                width=120,
            )
            configurations = st.multiselect(
                "More configurations",
                [name for name in fitting if name not in existing],
                key=f"extend_configurations_{study.id}",
                placeholder="None",
            )
            is_added = st.button("Add", type="primary", key=f"extend_add_{study.id}")
            if st.button("Cancel", key=f"extend_close_{study.id}"):
                del st.session_state[EXTENDED_STUDY]
                st.rerun()
        if is_added:
            more_epochs = str(epochs) if epochs > study.budget.epochs else None
            try:
                count = actions.extend_study(
                    study, Extension(configurations, int(seeds), more_epochs)
                )
            except EngineError as error:
                st.error(escape_markdown(str(error)), icon=":material/error:")
                return
            st.toast(f"Queued {count} run{'s' * (count != 1)}", icon=":material/check:")
            st.rerun()
