"""Sample pictures side by side: sketch, target, and each run's, the same pairs in each row."""

from collections.abc import Sequence

import streamlit as st

from dashboard import reads
from dashboard.components.empty import nothing_here
from engine.config import source_label
from engine.records import Run, Sample


def newest_samples(runs: Sequence[Run], samples: Sequence[Sample]) -> None:
    """The newest samples of every run."""
    st.subheader("Newest samples", anchor=False)
    show_samples(runs, samples, epoch=None)


def show_samples(runs: Sequence[Run], samples: Sequence[Sample], epoch: int | None) -> None:
    """The samples at or before an epoch (None: the newest): a column each.

    Args:
        runs: a column each, in this order.
        samples: of these runs, by epoch.
        epoch: runs that are not as far show their latest, with its true epoch.
    """
    chosen: dict[int, Sample] = {}
    for sample in samples:
        if epoch is None or sample.epoch <= epoch:
            chosen[sample.run_id] = sample
    if not chosen:
        nothing_here("The first samples appear after the first epoch.")
        return
    first = next(iter(chosen.values()))
    columns = st.columns(2 + len(runs), gap="small")
    _strip(
        columns[0], first.source, f"**{source_label(runs[0].config.data)}**", "what the model sees"
    )
    _strip(columns[1], first.target, "**target**", "what it should be")
    for column, run in zip(columns[2:], runs, strict=True):
        seed = f", seed {run.seed}" if run.seed else ""
        shown = chosen.get(run.id)
        if shown is None:
            column.caption(f"**{run.configuration}**{seed}  \nnot yet")
        else:
            _strip(column, shown.fake, f"**{run.configuration}**{seed}", f"epoch {shown.epoch}")


def _strip(column: st.delta_generator.DeltaGenerator, path: str, label: str, detail: str) -> None:
    column.caption(f"{label}  \n{detail}")
    found = reads.artifact(path)
    if found is None:
        column.caption("The file is gone.")
    else:
        column.image(found, width="stretch", alt=f"{label}, {detail}")
