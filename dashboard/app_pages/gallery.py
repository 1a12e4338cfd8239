"""Gallery: the same validation pictures through the epochs, every run beside the target."""

import streamlit as st

from dashboard import reads
from dashboard.components.empty import nothing_here
from dashboard.components.picker import pick_study
from dashboard.components.strips import show_samples

st.title("Gallery", anchor=False)
study = pick_study()

runs = reads.runs(study.id)
samples = reads.samples([run.id for run in runs])
if not samples:
    nothing_here("The first samples appear after the first epoch.")
    st.stop()

epochs = sorted({sample.epoch for sample in samples})
names = [f"{run.configuration}, seed {run.seed}" for run in runs]
with st.container(horizontal=True, vertical_alignment="bottom"):
    chosen = st.multiselect("Runs", names, default=names[:6], key=f"gallery_runs_{study.id}")
    epoch = epochs[-1]
    if len(epochs) > 1:
        epoch = st.select_slider(
            "Epoch", epochs, value=epochs[-1], key=f"gallery_epoch_{study.id}", width=360
        )

shown = [run for run, name in zip(runs, names, strict=True) if name in chosen]
if not shown:
    nothing_here("Choose at least one run.")
    st.stop()
st.caption(
    "Each row is one validation pair, taken from the more colourful half, the same for all runs. "
    "A run that is not as far shows its latest epoch."
)
show_samples(shown, samples, epoch)
