"""Sections of the Run page: evaluation, settings, history and environment."""

import streamlit as st

from dashboard.components.empty_states import empty_state
from dashboard.components.escape import escape_markdown
from dashboard.components.pickers import pick_other_run
from dashboard.components.runs.status import format_duration, format_time
from dashboard.queries import studies
from engine.config import REPORTED_SPLIT
from engine.metrics.catalog import CATALOG, COMPARED_METRICS
from engine.overrides import flat_settings, settings_differences
from engine.records.runs import Attempt, Checkpoint, Run, RunState, comparable_configs
from engine.system.disk import format_bytes


def show_links(run: Run) -> None:
    """Draws links to the pages of the run's study and to pages that start from the run."""
    study_query = {"study": str(run.study_id)}
    links = [
        ("live", f"Study {run.study_id}", ":material/monitoring:", study_query),
        ("compare", "Compare", ":material/table_chart:", study_query),
        ("launch", "Clone", ":material/content_copy:", {"clone_run": str(run.id)}),
    ]
    if run.state == RunState.DONE:
        links.append(("colorize", "Colorize", ":material/palette:", {"models": str(run.id)}))
    with st.container(horizontal=True):
        for page, label, icon, query in links:
            st.page_link(f"app_pages/{page}.py", label=label, icon=icon, query_params=query)


def show_evaluation(run: Run) -> None:
    """Shows the metrics of the chosen and of the last checkpoint on the reported split."""
    evaluations = studies.evaluations(run)
    if not evaluations:
        empty_state("Metrics appear once the run has been evaluated on the test split.")
        return
    epochs = {epoch for epoch, _ in evaluations}
    last_epoch = max(epochs)
    chosen_epoch = run.best_epoch if run.best_epoch in epochs else last_epoch
    rows = []
    for name in COMPARED_METRICS:
        chosen = evaluations.get((chosen_epoch, name))
        if chosen is None:
            continue
        metric, last = CATALOG[name], evaluations.get((last_epoch, name))
        interval = ""
        if chosen.low is not None and chosen.high is not None:
            interval = f"{metric.format(chosen.low)} to {metric.format(chosen.high)}"
        rows.append(
            {
                "metric": metric.heading,
                "chosen epoch": metric.format(chosen.value),
                "95 % interval": interval,
                "last epoch": metric.format(last.value) if last is not None else "—",
                "remark": chosen.missing or chosen.note or "",
            }
        )
    st.dataframe(rows, hide_index=True, width="stretch", height="content", alt="evaluation")
    st.caption(
        f"Measured on the {REPORTED_SPLIT} split with the checkpoint of epoch {chosen_epoch}. The "
        "interval covers the variation between pictures, not between seeds."
    )


def show_settings(run: Run) -> None:
    """Shows all settings, and the differences from another run of the user's choice."""
    others = {other.id: other for other in studies.all_runs() if other.id != run.id}
    names = {
        other.id: f"run {other.id}: {other.configuration}, seed {other.seed}, "
        f"study {other.study_id}"
        for other in others.values()
    }
    if names:
        other_id = pick_other_run("with", "Compare with", names)
        if other_id is not None:
            show_difference(run, others[other_id])
    requested, resolved = flat_settings(run.config), flat_settings(run.resolved or run.config)
    rows = [
        {"setting": name, "value": str(resolved[name]), "requested": str(requested[name])}
        for name in resolved
    ]
    st.dataframe(rows, hide_index=True, width="stretch", height="content", alt="all settings")
    if run.resolved is None:
        st.caption("Settings with the value `auto` are resolved when the run starts.")


def show_difference(one: Run, other: Run) -> None:
    """Shows the settings in which two runs differ."""
    differences = settings_differences(*comparable_configs([one, other]))
    if not differences:
        st.success("Both runs have the same settings.", icon=":material/check:")
        return
    columns = {
        "setting": list(differences),
        f"run {one.id}": [str(value) for value, _ in differences.values()],
        f"run {other.id}": [str(value) for _, value in differences.values()],
    }
    st.table(columns, hide_index=True, border="horizontal", alt="differences between two runs")


def show_history(run: Run) -> None:
    """Shows the attempts at a run, newest first, and its checkpoints."""
    attempts = studies.attempts([run]).get(run.id, [])
    if not attempts:
        empty_state("This run has not started yet.")
    for attempt in reversed(attempts):
        with st.container(border=True, gap="small"):
            _attempt(attempt)
    checkpoints = studies.checkpoints(run.id)
    if checkpoints:
        st.markdown("**Checkpoints**")
        rows = [
            {
                "epoch": checkpoint.epoch,
                "step": checkpoint.step,
                "size": format_bytes(checkpoint.n_bytes),
                "remark": _checkpoint_remark(checkpoint),
                "file": checkpoint.path,
            }
            for checkpoint in checkpoints
        ]
        st.dataframe(rows, hide_index=True, width="stretch", height="content", alt="checkpoints")


def _attempt(attempt: Attempt) -> None:
    state = str(attempt.state) if attempt.state else "running"
    st.markdown(f"**Attempt {attempt.number}**: {state}")
    facts = [format_time(attempt.started_at)]
    if attempt.ended_at is not None:
        facts.append(format_duration((attempt.ended_at - attempt.started_at).total_seconds()))
    facts.append(f"from step {attempt.from_step:,}" if attempt.from_step else "from the start")
    facts.append(escape_markdown(attempt.host or ""))
    st.caption(" · ".join(filter(None, facts)))
    for line in filter(None, (attempt.reason, *(attempt.note or "").splitlines())):
        st.caption(escape_markdown(line))


def _checkpoint_remark(checkpoint: Checkpoint) -> str:
    remarks = {
        "chosen": checkpoint.is_best,
        "inside an epoch": not checkpoint.is_whole,
        "without optimizer state": checkpoint.is_slim,
    }
    return ", ".join(remark for remark, applies in remarks.items() if applies)


def show_environment(run: Run) -> None:
    """Shows the software versions and the machine of the first attempt at a run."""
    if run.environment is None:
        empty_state("The environment appears once the run has started.")
        return
    rows = [
        {"name": name.replace("_", " "), "value": str(value) if value is not None else "—"}
        for name, value in run.environment.items()
    ]
    st.dataframe(rows, hide_index=True, width="stretch", height="content", alt="environment")
