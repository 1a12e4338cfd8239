"""What Start would start, before it is pressed."""

import streamlit as st

from dashboard import actions
from dashboard.components.escape import plain
from dashboard.components.runs.action_menu import perform
from dashboard.components.runs.status import duration
from dashboard.queries import launch
from dashboard.queries.launch import Plan
from engine.records.runs import RunState

PROBE_REFRESH_S = 1.0

NETWORKS = {"vgg19": "VGG19", "efficientnet_lite0": "EfficientNet-Lite0"}


def show_plan(plan: Plan) -> None:
    """Runs, pairs, time and disk, and the feature networks that will be used."""
    budget = plan.configs[0].budget
    with st.container(border=True):
        st.subheader("What Start will do", anchor=False)
        runs = f"{len(plan.configs)} run{'s' if len(plan.configs) != 1 else ''}"
        steps = plan.pairs["train"] // budget.batch * budget.epochs
        basis = "measured here" if plan.estimate.is_measured else "a rough guess"
        memory = plan.estimate.memory_mb
        pairs = f"{plan.pairs['train']:,} / {plan.pairs['val']:,} / {plan.pairs['test']:,}"
        st.table(
            {
                "Runs": f"{runs} of {budget.epochs} epochs, {steps:,} steps each",
                "Pairs": f"{pairs} (train / val / test)",
                "Pictures": f"{budget.px} x {budget.px} px",
                "Networks": f"{budget.base_channels} channels wide at their first layer",
                "Time": f"about {duration(plan.estimate.seconds)} ({basis})",
                "Memory": f"about {memory:,.0f} MB a run" if memory else "not measured yet",
                "Disk": f"about {plan.estimate.disk_mb:,.0f} MB",
            },
            border="horizontal",
        )
        for config in {config.configuration.name: config for config in plan.configs}.values():
            st.caption(f"**{config.configuration.name}**: {config.configuration.recipe}")
        for sentence in plan.absent:
            st.caption(f"No FID: {sentence}.")
        if not plan.is_packed:
            st.caption("The pairs are packed first, once for this size.")
        _say_networks(plan)


def offer_probe(plan: Plan) -> None:
    """Measuring the speed, where nothing like this has run here before."""
    if plan.estimate.is_measured:
        return
    newest = launch.newest_probe(plan.configs)
    if newest is not None and not newest.state.is_finished():
        st.fragment(_watch_probe, run_every=PROBE_REFRESH_S)(plan)
        return
    if newest is not None and newest.state != RunState.DONE:
        reason = plain(newest.reason or str(newest.state))
        st.caption(f":orange[:material/warning:] The last measuring ended: {reason}.")
    help_text = "Trains a few steps of each on random pictures, about 10 s each, and remembers it."
    if st.button("Measure the time here", icon=":material/speed:", help=help_text):
        perform(lambda: actions.measure(plan.configs))


def _watch_probe(plan: Plan) -> None:
    """Until it is measured; then the page is drawn anew."""
    job = launch.newest_probe(plan.configs)
    if job is None or job.state.is_finished():
        st.rerun()
    waits = job.state == RunState.QUEUED
    words = "Waits until nothing trains here" if waits else f"Measuring, {job.progress:.0%}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f":material/speed: {words}", width="stretch")
        if st.button("Stop", type="tertiary", key="stop_probe"):
            perform(lambda: actions.stop_job(job.id))


def _say_networks(plan: Plan) -> None:
    """What the networks start from, see and make."""
    budget = plan.configs[0].budget
    if plan.perceptual is not None:
        st.caption(f"The perceptual term will use **{NETWORKS[plan.perceptual]}** features.")
    if budget.generator == "resnet18_unet":
        start = plan.configs[0].execution.encoder_weights
        starts = {"imagenet": "from **ImageNet** weights", "none": "**untrained**"}
        st.caption(f"The ResNet-18 encoder will start {starts[start]}.")
        if start == "none":
            st.caption("For ImageNet weights: `python -m engine weights fetch resnet18`.")
    if plan.could_fetch:
        st.caption("For VGG19, as published: `python -m engine weights fetch vgg19`.")
    if budget.output == "lab_ab":
        st.caption("The models make **colours alone**: the grey of the source is kept.")
    if budget.discriminator == "unconditional":
        st.caption("The discriminator sees pictures **without their source**.")
    if budget.pretrain:
        epochs = f"{budget.pretrain} epoch{'s' if budget.pretrain > 1 else ''}"
        st.caption(f"The generator is trained **alone by L1** for the first {epochs}.")
