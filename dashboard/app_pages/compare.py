"""Compare: findings, the comparison table, what it rests on, and all of it to take home."""

from collections.abc import Callable

import streamlit as st

from dashboard.components import comparison_sections as sections
from dashboard.components.comparison_table import comparison_table, show_findings
from dashboard.components.empty_states import nothing_here
from dashboard.components.pickers import pick_study
from dashboard.components.runs.status import tab_title
from dashboard.queries import colorize, studies
from engine.records.runs import RunState
from engine.report.findings import findings
from engine.report.html_report import lead
from engine.report.tables import to_csv

RUNS_LINKED = 12

st.title("Compare", anchor=False)
study = pick_study()
with st.skeleton(height=320):
    comparison, runs = studies.comparison(study.id), studies.runs(study.id)
st.set_page_config(page_title=tab_title(study, runs, "Compare"))

if comparison.is_empty:
    nothing_here("The table fills as runs end; each is evaluated on the test split.")
else:
    st.caption(lead(comparison))
    show_findings(findings(comparison))
comparison_table(comparison)
for note in comparison.notes:
    st.caption(note)

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
        "Export everything",
        lambda: studies.export_zip(study.id),
        file_name=f"study-{study.id}.zip",
        mime="application/zip",
        icon=":material/folder_zip:",
        on_click="ignore",
        key="download_zip",
        help="Every table as CSV and JSON, figures, pictures and a report page, as a zip file.",
    )
    best = colorize.best_of(study.id)
    if best is not None:
        st.page_link(
            "app_pages/colorize.py",
            label="Use the best model",
            icon=":material/palette:",
            query_params={"models": str(best.run.id)},
            help=f"Colour pictures by `{best.run.configuration}`, seed {best.run.seed}: the best "
            "mean rank over distances, pixels and colours.",
        )

shown: dict[str, Callable[[], None]] = {
    "Metric by metric": lambda: sections.metrics_section(comparison),
    "Pictures": lambda: sections.pictures_section(study, comparison),
    "Training": lambda: sections.training_section(runs),
    "Stability": lambda: sections.stability_section(runs),
    "Configurations": lambda: sections.configurations_section(runs),
}
with st.container(horizontal=True, gap="small"):
    for run in [run for run in runs if run.state == RunState.DONE][:RUNS_LINKED]:
        st.page_link(
            "app_pages/run.py",
            label=f"{run.configuration}, seed {run.seed}",
            icon=":material/info:",
            query_params={"run": str(run.id)},
        )
tabs = st.tabs(list(shown), on_change="rerun", key="tab", bind="query-params")
for tab, show in zip(tabs, shown.values(), strict=True):
    if tab.open:
        with tab:
            show()
