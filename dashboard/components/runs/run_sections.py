"""What the Run page tells of a run: its numbers, settings, history and environment."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard.components.empty_states import nothing_here
from dashboard.components.escape import plain
from dashboard.components.runs.status import duration, moment
from dashboard.queries import studies
from engine.config import REPORTED_SPLIT
from engine.metrics.catalog import CATALOG, COMPARED
from engine.overrides import flat_settings, settings_differences
from engine.records.runs import Run
from engine.system.disk import say_bytes


def show_evaluation(run: Run) -> None:
    """The chosen checkpoint's values on the split that is reported, and the last one's."""
    found = studies.evaluations(run)
    if not found:
        nothing_here("Numbers appear when the run has been evaluated on the test split.")
        return
    rows = []
    epochs = {epoch for epoch, _ in found}
    last = max(epochs)
    best = run.best_epoch if run.best_epoch in epochs else last
    for name in COMPARED:
        chosen = found.get((best, name))
        if chosen is None:
            continue
        metric, final = CATALOG[name], found.get((last, name))
        interval = ""
        if chosen.low is not None and chosen.high is not None:
            interval = f"{metric.format(chosen.low)} to {metric.format(chosen.high)}"
        rows.append(
            {
                "metric": metric.heading,
                "chosen epoch": metric.format(chosen.value),
                "95 % interval": interval,
                "last epoch": metric.format(final.value) if final is not None else "—",
                "remark": chosen.missing or chosen.note or "",
            }
        )
    st.dataframe(rows, hide_index=True, width="stretch", height="content", alt="evaluation")
    st.caption(
        f"On the {REPORTED_SPLIT} split, with the checkpoint of epoch {best}. The "
        "interval is over pictures: of these weights only."
    )


def show_settings(run: Run) -> None:
    """What differs from another run, then everything."""
    everything = {it.id: it for it in studies.all_runs() if it.id != run.id}
    names = {
        run_id: f"run {run_id}: {it.configuration}, seed {it.seed}, study {it.study_id}"
        for run_id, it in everything.items()
    }
    if names:
        other = st.selectbox(
            "Compare with",
            list(names),
            index=None,
            format_func=lambda run_id: names[run_id],
            placeholder="another run",
            key="with",
            bind="query-params",
        )
        if other is not None:
            show_difference(run, everything[other])
    asked, resolved = flat_settings(run.config), flat_settings(run.resolved or run.config)
    rows = [
        {"setting": name, "value": str(resolved[name]), "asked for": str(asked[name])}
        for name in resolved
    ]
    st.dataframe(rows, hide_index=True, width="stretch", height="content", alt="all settings")
    if run.resolved is None:
        st.caption("What is `auto` is decided when the run starts.")


def show_difference(one: Run, other: Run) -> None:
    """What two runs do not have in common."""
    found = settings_differences(one.resolved or one.config, other.resolved or other.config)
    if not found:
        st.success("Both have the same settings.", icon=":material/check:")
        return
    columns = {
        "setting": list(found),
        f"run {one.id}": [str(mine) for mine, _ in found.values()],
        f"run {other.id}": [str(theirs) for _, theirs in found.values()],
    }
    st.table(columns, hide_index=True, border="horizontal", alt="differences between two runs")


def show_history(run: Run) -> None:
    """Its attempts, and what is saved of it."""
    attempts = studies.attempts([run]).get(run.id, [])
    if not attempts:
        nothing_here("No process has taken it up yet.")
    for attempt in reversed(attempts):
        with st.container(border=True, gap="small"):
            ended = attempt.ended_at
            lasted = (
                f", {duration((ended - attempt.started_at).total_seconds())}" if ended else ", now"
            )
            state = str(attempt.state) if attempt.state else "at work"
            st.markdown(f"**Attempt {attempt.number}**: {state}")
            start = f"from step {attempt.from_step:,}" if attempt.from_step else "from the start"
            st.caption(
                f"{moment(attempt.started_at)}{lasted} · {start} · {plain(attempt.host or '')}"
            )
            for line in filter(None, (attempt.reason, *(attempt.note or "").splitlines())):
                st.caption(plain(line))
    saved = studies.checkpoints(run.id)
    if saved:
        st.markdown("**Checkpoints**")
        rows = [
            {
                "epoch": it.epoch,
                "step": it.step,
                "size": say_bytes(it.n_bytes),
                "is": ", ".join(
                    word
                    for word, is_so in (
                        ("chosen", it.is_best),
                        ("inside an epoch", not it.is_whole),
                        ("cannot be trained further", it.is_slim),
                    )
                    if is_so
                ),
                "file": it.path,
            }
            for it in saved
        ]
        st.dataframe(rows, hide_index=True, width="stretch", height="content", alt="checkpoints")


def show_environment(run: Run) -> None:
    """Versions and machine of the first attempt."""
    if run.environment is None:
        nothing_here("Known when the run has started.")
        return
    known: Mapping[str, Any] = run.environment
    rows = [
        {"what": name.replace("_", " "), "value": str(value) if value is not None else "—"}
        for name, value in known.items()
    ]
    st.dataframe(rows, hide_index=True, width="stretch", height="content", alt="environment")
