"""Compare: the comparison table, what it rests on, and its CSV."""

import streamlit as st

from dashboard import reads
from dashboard.components.comparison_table import comparison_table
from dashboard.components.empty import nothing_here
from dashboard.components.picker import pick_study
from engine import charts
from engine.metrics.catalog import CATALOG, QUALITY
from engine.tables import to_csv

st.title("Compare", anchor=False)
study = pick_study()
comparison = reads.comparison(study.id)

if not any(row.seeds for row in comparison.rows):
    nothing_here("The table fills as runs end; each is evaluated on the test split.")

comparison_table(comparison)
for note in comparison.notes:
    st.caption(note)
st.download_button(
    "Download CSV",
    to_csv(comparison),
    file_name=f"study-{study.id}-comparison.csv",
    mime="text/csv",
    icon=":material/download:",
    on_click="ignore",
)

known = [
    name for name in QUALITY if any(row.cells[name].value is not None for row in comparison.rows)
]
if known:
    st.subheader("Metric by metric", anchor=False)
    chosen = st.pills(
        "Metrics",
        known,
        default=[name for name in ("psnr", "ssim", "kd_lite2") if name in known],
        selection_mode="multi",
        format_func=lambda name: CATALOG[name].label,
        label_visibility="collapsed",
        key="compare_metrics",
    )
    if chosen:
        for column, name in zip(st.columns(len(chosen)), chosen, strict=True):
            column.plotly_chart(
                charts.metric_bars(comparison, name), key=f"bars_{name}", alt=CATALOG[name].about
            )
