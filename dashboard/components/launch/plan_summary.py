"""The summary of the study that the launch form describes."""

import streamlit as st

from dashboard import actions
from dashboard.components.escape import escape_markdown
from dashboard.components.queue_banner import watch_queue
from dashboard.components.runs.action_menu import perform
from dashboard.components.runs.status import format_duration
from dashboard.queries import launch
from dashboard.queries.launch import Plan
from engine.config import Budget, Configuration
from engine.records.runs import RunState

PROBE_REFRESH_S = 1.0

NETWORK_NAMES = {"vgg19": "VGG19", "efficientnet_lite0": "EfficientNet-Lite0"}
ENCODER_STARTS = {"imagenet": "with **ImageNet** weights", "none": "**untrained**"}


def show_plan(plan: Plan) -> None:
    """Shows runs, pairs, time, memory, disk space and the networks of a plan."""
    with st.container(border=True):
        st.subheader("Summary", anchor=False)
        st.table(_facts(plan), border="horizontal")
        configurations = {
            config.configuration.name: config.configuration for config in plan.configs
        }
        for configuration in configurations.values():
            text = describe_configuration(configuration, plan.configs[0].budget)
            st.caption(f"**{configuration.name}**: {text}")
        if plan.has_fid:
            st.caption(":material/check: FID will be recorded.")
        if not plan.is_packed:
            st.caption("The pairs are packed once in this size before the first run.")
        _show_networks(plan)


def describe_configuration(configuration: Configuration, budget: Budget) -> str:
    """Returns the recipe of a configuration and how its network makes a picture, in one line."""
    output, parts = configuration.output_at(budget), [str(configuration.recipe)]
    if output.name != "rgb":
        parts.append(f"output {output.name}")
    if output.has_palette:
        parts.append(f"{configuration.n_colours} colours")
        parts += ["regions"] if configuration.regions else []
    if configuration.source_features != "none":
        parts.append(f"{NETWORK_NAMES[configuration.source_features]} features of the source")
    if output.has_palette:
        parts.append(f"decoding {configuration.decoding}")
    if not configuration.recipe.is_adversarial:
        parts.append("no discriminator")
    return "; ".join(parts)


def _facts(plan: Plan) -> dict[str, str]:
    budget, estimate = plan.configs[0].budget, plan.estimate
    n_runs = len(plan.configs)
    n_steps = plan.pairs["train"] // budget.batch * budget.epochs
    basis = "measured" if estimate.is_measured else "rough estimate"
    pairs = f"{plan.pairs['train']:,} / {plan.pairs['val']:,} / {plan.pairs['test']:,}"
    memory = f"about {estimate.memory_mb:,.0f} MB per run" if estimate.memory_mb else "not measured"
    return {
        "Runs": f"{n_runs} run{'s' * (n_runs != 1)} of {budget.epochs} epochs, "
        f"{n_steps:,} steps each",
        "Pairs": f"{pairs} (train / val / test)",
        "Picture size": f"{budget.px} x {budget.px} px",
        "Networks": f"{budget.base_channels} channels in the first layer",
        "Time": f"about {format_duration(estimate.seconds)} ({basis})",
        "Memory": memory,
        "Disk": f"about {estimate.disk_mb:,.0f} MB",
    }


def offer_probe(plan: Plan) -> None:
    """Offers to measure the training speed if it has not been measured where the queue runs."""
    if plan.estimate.is_measured:
        return
    job = launch.newest_probe(plan.configs)
    if job is not None and not job.state.is_finished():
        st.fragment(_show_probe, run_every=PROBE_REFRESH_S)(plan)
        return
    if job is not None and job.state != RunState.DONE:
        reason = escape_markdown(job.reason or str(job.state))
        st.caption(f":orange[:material/warning:] The last measurement failed: {reason}.")
    help_text = (
        "Trains each configuration for about 10 s on random pictures and stores the speed for "
        "later estimates."
    )
    if st.button("Measure speed", icon=":material/speed:", help=help_text):
        perform(lambda: actions.measure_speed(plan.configs))


def _show_probe(plan: Plan) -> None:
    """Shows the progress of the speed probe; redraws the page when the probe has ended."""
    watch_queue()
    job = launch.newest_probe(plan.configs)
    if job is None or job.state.is_finished():
        st.rerun()
    is_waiting = job.state == RunState.QUEUED
    text = "Waiting for running jobs to finish" if is_waiting else f"Measuring, {job.progress:.0%}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f":material/speed: {text}", width="stretch")
        if st.button("Cancel", type="tertiary", key="stop_probe"):
            perform(lambda: actions.cancel_job(job.id))


def _show_networks(plan: Plan) -> None:
    """Shows the pretrained weights, the output and the training of the networks."""
    budget = plan.configs[0].budget
    if plan.perceptual is not None:
        network = NETWORK_NAMES[plan.perceptual]
        st.caption(f"The perceptual term uses **{network}** features.")
    if budget.has_encoder:
        weights = plan.configs[0].execution.encoder_weights
        st.caption(f"The ResNet-18 encoder starts {ENCODER_STARTS[weights]}.")
    configurations = [config.configuration for config in plan.configs]
    outputs = {configuration.output_at(budget).name for configuration in configurations}
    if outputs == {"lab_ab"}:
        st.caption("The models predict **colours only** and keep the grey of the source.")
    has_discriminator = any(each.recipe.is_adversarial for each in configurations)
    if budget.discriminator == "unconditional" and has_discriminator:
        st.caption("The discriminator sees pictures **without their source**.")
    if budget.pretrain:
        epochs = f"{budget.pretrain} epoch{'s' * (budget.pretrain > 1)}"
        st.caption(f"For the first {epochs}, the generator is trained **by L1 only**.")
