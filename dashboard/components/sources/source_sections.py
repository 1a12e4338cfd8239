"""Sections of the Data page: counts, example pictures, statistics, faults and the scan."""

from collections import Counter
from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from dashboard import actions
from dashboard.components.empty_states import empty_state
from dashboard.components.escape import escape_markdown
from dashboard.components.pickers import choice
from dashboard.components.queue_banner import watch_queue
from dashboard.queries.sources import SourceStatus, example_picture, full_size_pair, newest_scan
from engine.errors import EngineError
from engine.images.faults import FAULT_KINDS, SEVERITIES, Fault
from engine.records.runs import RunState
from engine.report import data_charts
from engine.report.tables import escape_formula

SCAN_REFRESH_S = 1.0
EXAMPLES_PER_ROW = 4
MAX_NAME_LENGTH = 28
MAX_SIZES = 6


def offer_scan(status: SourceStatus) -> None:
    """Shows the number of pairs before a scan, and the button that starts a scan."""
    if status.change is not None:
        st.warning(escape_markdown(status.change), icon=":material/update:")
    if status.newest_scan is not None and status.newest_scan.state != RunState.DONE:
        reason = status.newest_scan.reason or str(status.newest_scan.state)
        st.warning(f"The last scan ended: {escape_markdown(reason)}.", icon=":material/error:")
    with st.container(border=True, horizontal_alignment="center"):
        st.subheader("This source has not been scanned yet", anchor=False, text_alignment="center")
        st.markdown(
            f"Found {len(status.source.names()):,} pairs by their file names. A scan reads each "
            "pair once and reports faults, duplicates and statistics. Files are never modified.",
            text_alignment="center",
        )
        if st.button("Scan", type="primary", icon=":material/search:"):
            _perform(actions.scan_source, status.source.text)


def show_scan(status: SourceStatus) -> None:
    """Shows the progress of a scan; redraws the page when the scan has ended."""

    def refresh() -> None:
        watch_queue()
        job = newest_scan(status.source.text)
        if job is None or job.state.is_finished():
            st.rerun()
        progress = "waiting in the queue" if job.state == RunState.QUEUED else f"{job.progress:.0%}"
        with st.container(horizontal=True, vertical_alignment="center"):
            st.progress(job.progress, text=f"Scanning pictures: {progress}", width="stretch")
            if st.button("Cancel", type="tertiary", disabled=job.state == RunState.STOPPING):
                try:
                    actions.cancel_job(job.id)
                except EngineError as error:
                    st.toast(escape_markdown(str(error)))

    st.fragment(refresh, run_every=SCAN_REFRESH_S)()


def show_counts(status: SourceStatus) -> None:
    """Shows the total number of pairs, the pairs per split and the faults per severity."""
    summary = status.summary or {}
    severities = Counter(fault.severity for fault in status.faults)
    with st.container(horizontal=True):
        st.metric("Pairs", f"{summary['pairs']:,}", border=True)
        for name, split in summary["splits"].items():
            st.metric(name.capitalize(), f"{split['pairs']:,}", border=True)
        for severity in SEVERITIES:
            st.metric(f"{severity.capitalize()}s", f"{severities[severity]:,}", border=True)


def show_pictures(status: SourceStatus) -> None:
    """Shows example pairs of a split; a click on a name opens the pair in full size."""
    summary = status.summary or {}
    examples = summary["examples"]
    if not examples:
        empty_state("There are no pairs to show because no file can be read.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = choice("split", list(examples), "Split")
        order = choice("order_of_examples", list(examples[split]), "Order")
    st.caption(f"Left: {summary['source_label']}, the input of the model. Right: target.")
    names = examples[split][order]
    for start in range(0, len(names), EXAMPLES_PER_ROW):
        columns = st.columns(EXAMPLES_PER_ROW)
        row = names[start : start + EXAMPLES_PER_ROW]
        for column, name in zip(columns, row, strict=False):
            with column:
                _example(status, name)


def _example(status: SourceStatus, name: str) -> None:
    picture = example_picture(status.source, name)
    if picture is None:
        st.caption(f"{escape_markdown(name)}: the file was deleted or has changed.")
        return
    st.image(picture, width="stretch", alt=f"{status.source.source_label} and target of {name}")
    label = name if len(name) <= MAX_NAME_LENGTH else f"…{name[1 - MAX_NAME_LENGTH :]}"
    if st.button(escape_markdown(label), type="tertiary", key=f"open_{name}", help="Enlarge"):
        _show_pair(status, name)


@st.dialog("Pair", width="large")
def _show_pair(status: SourceStatus, name: str) -> None:
    """Shows a pair in full size, with its faults."""
    try:
        pair = full_size_pair(status.source, name)
    except EngineError as error:
        st.error(escape_markdown(str(error)))
        return
    columns = st.columns(2)
    columns[0].image(pair.source, caption=status.source.source_label, width="stretch")
    columns[1].image(pair.target, caption="target", width="stretch")
    size = f"{pair.size[0]} x {pair.size[1]} pixels" if pair.size else "vector graphics"
    st.markdown(f"**{escape_markdown(name)}** · {size}")
    for fault in status.faults:
        if fault.file == name:
            st.caption(f"{fault.severity}: {fault.kind}: {escape_markdown(fault.detail)}")


def show_statistics(status: SourceStatus) -> None:
    """Shows sizes, colours, values and other measurements of all splits side by side."""
    summary = status.summary or {}
    if not summary["splits"]:
        empty_state("There are no pictures to measure.")
        return
    for sentence in status.shifts:
        st.warning(escape_markdown(sentence), icon=":material/compare_arrows:")
    if not status.shifts and len(summary["splits"]) > 1:
        st.caption("No significant difference between the splits (Kolmogorov-Smirnov tests, Holm).")
    st.subheader("Colours", anchor=False)
    st.caption("The a/b plane of CIE Lab for the targets. More opaque cells have more pixels.")
    st.plotly_chart(data_charts.colour_density(summary), key="colour_density")
    st.subheader("Pixel values", anchor=False)
    st.plotly_chart(data_charts.level_histograms(summary), key="levels")
    with st.expander("Pixel values as a table", icon=":material/table_rows:"):
        st.dataframe(_value_ranges(summary).style.format("{:.0f}"))
    st.subheader("Colourfulness, edges, brightness", anchor=False)
    st.caption("Edges: share of pixels that clearly differ from their neighbour.")
    st.plotly_chart(data_charts.measure_histograms(summary), key="measures")
    help_text = "Size of one half if a file contains source and target."
    st.subheader("Sizes", anchor=False, help=help_text)
    if any(split["sizes"] is None for split in summary["splits"].values()):
        st.caption("The pictures are vector graphics without a size.")
    else:
        st.table(_sizes(summary), border="horizontal")


def _value_ranges(summary: data_charts.Summary) -> pd.DataFrame:
    """Builds a table with one row per split and channel."""
    rows = {
        f"{split}, {summary['source_label'] if channel == 'source' else channel}": {
            "minimum": values["low"],
            "maximum": values["high"],
            "mean": values["mean"],
            "spread within a picture": values["spread"],
        }
        for split, measured in summary["splits"].items()
        for channel, values in measured["channels"].items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _sizes(summary: data_charts.Summary) -> pd.DataFrame:
    """Builds a table of common sizes and size statistics, with one column per split."""
    splits = summary["splits"]
    counts = {
        name: {
            f"{size['width']} x {size['height']} px": size["pairs"]
            for size in split["sizes"]["common"]
        }
        for name, split in splits.items()
    }
    total: Counter[str] = Counter()
    for of_split in counts.values():
        total.update(of_split)
    common_sizes = [size for size, _ in total.most_common(MAX_SIZES)]
    rows = {
        size: {name: f"{of_split.get(size, 0):,}" for name, of_split in counts.items()}
        for size in common_sizes
    }
    rows["other sizes"] = {
        name: f"{split['pairs'] - sum(counts[name].get(size, 0) for size in common_sizes):,}"
        for name, split in splits.items()
    }
    for label, key in (("megapixels", "megapixels"), ("width : height", "aspect")):
        statistics = {name: split["sizes"][key] for name, split in splits.items()}
        rows[f"{label}, median (range)"] = {
            name: f"{values['median']:.3g} ({values['least']:.3g} to {values['most']:.3g})"
            for name, values in statistics.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def show_faults(status: SourceStatus) -> None:
    """Shows the faults of all files, and buttons that exclude and restore files."""
    if status.n_excluded:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(f"Excluded files: {status.n_excluded:,}", icon=":material/block:")
            if st.button("Restore excluded files", icon=":material/undo:"):
                _perform(actions.restore_excluded_files, status.source.text)
    if not status.faults:
        st.success("No faults found.", icon=":material/check:")
        return
    table = _fault_table(_pick_faults(status.faults))
    st.dataframe(table, hide_index=True, width="stretch", height="auto")
    with st.container(horizontal=True):
        st.download_button(
            "Download CSV",
            table.map(escape_formula).to_csv(index=False).encode(),
            file_name=f"faults-{status.source.slug}.csv",
            mime="text/csv",
            icon=":material/download:",
        )
        faulty = {fault.file for fault in status.faults if fault.severity != "note"}
        if faulty and status.is_folder:
            _offer_exclusion(status, len(faulty))


def _pick_faults(faults: Sequence[Fault]) -> list[Fault]:
    """Draws the choice of kinds; returns the faults of the selected kinds, most severe first."""
    counts = Counter((fault.severity, fault.kind) for fault in faults)
    kinds = [kind for severity in SEVERITIES for kind in FAULT_KINDS if (severity, kind) in counts]
    labels = {
        kind: f"{kind.replace('_', ' ')} {sum(counts[severity, kind] for severity in SEVERITIES):,}"
        for kind in kinds
    }
    selected = st.pills(
        "Kinds of faults",
        list(labels),
        format_func=lambda kind: labels[kind],
        selection_mode="multi",
        help="Shows all faults if no kind is selected.",
    )
    matching = [fault for fault in faults if not selected or fault.kind in selected]
    return sorted(
        matching, key=lambda fault: (SEVERITIES.index(fault.severity), fault.kind, fault.file)
    )


def _fault_table(faults: Sequence[Fault]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "severity": [fault.severity for fault in faults],
            "kind": [fault.kind.replace("_", " ") for fault in faults],
            "file": [fault.file for fault in faults],
            "detail": [fault.detail for fault in faults],
        }
    )


def _offer_exclusion(status: SourceStatus, n_files: int) -> None:
    files = f"{n_files:,} file{'s' * (n_files != 1)}"
    with st.popover(f"Exclude {files}…", icon=":material/block:"):
        st.markdown(
            "Files with an error or a warning will not be used for training. They stay in your "
            "folder, and you can restore them later."
        )
        if st.button(f"Exclude {files}", type="primary"):
            _perform(actions.exclude_faulty_files, status.source.text)


def _perform(action: Callable[[str], None], source: str) -> None:
    """Performs an action and redraws the page, or shows why the action is not possible."""
    try:
        action(source)
    except EngineError as error:
        st.error(escape_markdown(str(error)), icon=":material/error:")
        return
    st.rerun()
