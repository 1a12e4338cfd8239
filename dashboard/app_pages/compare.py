"""Compare: findings, the comparison table, details of each metric, and downloads."""

from collections.abc import Callable

import streamlit as st

from dashboard.components import comparison_sections as sections
from dashboard.components.exports import show_exports
from dashboard.components.missing_metrics import show_missing_metrics
from dashboard.components.pickers import pick_study
from dashboard.components.runs.status import tab_title
from dashboard.queries import colorize, studies
from engine.records.runs import RunState
from engine.report.tables import to_csv

MAX_LINKED_RUNS = 12

st.title("Compare", anchor=False)
study = pick_study()
with st.skeleton(height=320):
    comparison, runs = studies.comparison(study.id), studies.runs(study.id)
st.set_page_config(page_title=tab_title(study, runs, "Compare"))

sections.show_findings(comparison, runs)
show_missing_metrics(study.id)
show_exports(study.id)
sections.show_table(comparison)

with st.container(horizontal=True):
    st.download_button(
        "Download CSV",
        to_csv(comparison),
        file_name=f"study-{study.id}-summary.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        key="download_csv",
    )
    st.download_button(
        "Download all results",
        lambda: studies.export_zip(study.id),
        file_name=f"study-{study.id}.zip",
        mime="application/zip",
        icon=":material/folder_zip:",
        on_click="ignore",
        key="download_zip",
        help="A zip file with all tables (CSV and JSON), figures, pictures and an HTML report.",
    )
    best = colorize.best_model(study.id)
    if best is not None:
        st.page_link(
            "app_pages/colorize.py",
            label="Colorize with the best model",
            icon=":material/palette:",
            query_params={"models": str(best.run.id)},
            help=f"`{best.run.configuration}`, seed {best.run.seed}, has the best mean rank over "
            "distance, pixel and colour metrics.",
        )

with st.container(horizontal=True, gap="small"):
    for run in [run for run in runs if run.state == RunState.DONE][:MAX_LINKED_RUNS]:
        st.page_link(
            "app_pages/run.py",
            label=f"{run.configuration}, seed {run.seed}",
            icon=":material/info:",
            query_params={"run": str(run.id)},
        )
tab_sections: dict[str, Callable[[], None]] = {
    "Metrics": lambda: sections.metrics_section(comparison),
    "Pictures": lambda: sections.pictures_section(study, comparison),
    "Training": lambda: sections.training_section(runs),
    "Stability": lambda: sections.stability_section(runs),
    "Configurations": lambda: sections.configurations_section(runs),
}
tabs = st.tabs(list(tab_sections), on_change="rerun", key="tab", bind="query-params")
for tab, show_section in zip(tabs, tab_sections.values(), strict=True):
    if tab.open:
        with tab:
            show_section()
