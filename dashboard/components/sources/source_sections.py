"""What the Data page shows of a source: pictures, figures, faults."""

from collections import Counter
from collections.abc import Callable

import pandas as pd
import streamlit as st

from dashboard import actions
from dashboard.components.empty_states import nothing_here
from dashboard.components.escape import plain
from dashboard.queries import sources, studies
from engine.errors import EngineError
from engine.images.faults import KINDS, SEVERITIES
from engine.report import data_charts

PER_ROW = 4
SIZES_SHOWN = 6
SIZES_HELP = "Of one half, where a picture has two."


def show_counts(look: sources.Look) -> None:
    """How many pairs there are, and how much is wrong with them."""
    summary = look.summary or {}
    severities = Counter(fault.severity for fault in look.faults)
    with st.container(horizontal=True):
        st.metric("Pairs", f"{summary['pairs']:,}", border=True)
        for name, split in summary["splits"].items():
            st.metric(name.capitalize(), f"{split['pairs']:,}", border=True)
        for severity in SEVERITIES:
            st.metric(f"{severity.capitalize()}s", f"{severities[severity]:,}", border=True)


def show_pictures(look: sources.Look) -> None:
    """Examples of a split in a chosen order; the name of one opens it."""
    summary = look.summary or {}
    examples = summary["examples"]
    if not examples:
        nothing_here("There is no pair to show: none of the files can be read.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = st.segmented_control(
            "Split",
            list(examples),
            default=next(iter(examples)),
            required=True,
            key="split",
            bind="query-params",
        )
        orders = examples[split]
        order = st.segmented_control(
            "Order",
            list(orders),
            default=next(iter(orders)),
            required=True,
            key="order_of_examples",
            bind="query-params",
        )
    st.caption(f"Left: {summary['source_label']}, what a model is given. Right: the target.")
    names = orders[order]
    for start in range(0, len(names), PER_ROW):
        columns = st.columns(PER_ROW)
        for column, name in zip(columns, names[start : start + PER_ROW], strict=False):
            with column:
                _thumbnail(look, name)


def _thumbnail(look: sources.Look, name: str) -> None:
    path = sources.example(look.source, name)
    if path is None:
        st.caption(f"{plain(name)}: the file has gone or changed.")
        return
    st.image(path, width="stretch", alt=f"{look.source.source_label} and target of {name}")
    label = name if len(name) <= 28 else f"…{name[-27:]}"
    if st.button(plain(label), type="tertiary", key=f"open_{name}", help="Show it large."):
        _show_pair(look, name)


@st.dialog("One pair", width="large")
def _show_pair(look: sources.Look, name: str) -> None:
    """The pair at full size, with what is known of it."""
    try:
        found = sources.pair(look.source, name)
    except EngineError as error:
        st.error(plain(str(error)))
        return
    columns = st.columns(2)
    columns[0].image(found.source, caption=look.source.source_label, width="stretch")
    columns[1].image(found.target, caption="target", width="stretch")
    size = f"{found.size[0]} x {found.size[1]} pixels" if found.size else "drawn at any size"
    st.markdown(f"**{plain(name)}** · {size}")
    for fault in look.faults:
        if fault.file == name:
            st.caption(f"{fault.severity}: {fault.kind}: {plain(fault.detail)}")


def show_figures(look: sources.Look) -> None:
    """Sizes, colours, values and measures, the splits side by side."""
    summary = look.summary or {}
    if not summary["splits"]:
        nothing_here("There is nothing to measure.")
        return
    for sentence in look.shifts:
        st.warning(plain(sentence), icon=":material/compare_arrows:")
    if not look.shifts and len(summary["splits"]) > 1:
        st.caption("No split differs from another by more than chance (Kolmogorov-Smirnov, Holm).")
    st.subheader("Colours", anchor=False)
    st.caption("CIE Lab's a and b of the targets: the stronger a colour, the more pixels have it.")
    st.plotly_chart(data_charts.colour_density(summary), key="colour_density")
    st.subheader("Values", anchor=False)
    st.plotly_chart(data_charts.levels(summary), key="levels")
    _ranges(summary)
    st.subheader("Colourfulness, edges, brightness", anchor=False)
    st.caption("Edges: the share of pixels that differ clearly from the next one.")
    st.plotly_chart(data_charts.measures(summary), key="measures")
    _sizes(summary)


def _ranges(summary: data_charts.Summary) -> None:
    rows = {
        f"{split}, {summary['source_label'] if channel == 'source' else channel}": {
            "least": it["low"],
            "most": it["high"],
            "mean": it["mean"],
            "spread within a picture": it["spread"],
        }
        for split, found in summary["splits"].items()
        for channel, it in found["channels"].items()
    }
    with st.expander("Ranges of values, in numbers", icon=":material/table_rows:"):
        st.dataframe(pd.DataFrame.from_dict(rows, orient="index").style.format("{:.0f}"))


def _sizes(summary: data_charts.Summary) -> None:
    found = {name: split["sizes"] for name, split in summary["splits"].items()}
    if any(sizes is None for sizes in found.values()):
        st.caption("Sizes: drawn at any size.")
        return
    st.subheader("Sizes", anchor=False, help=SIZES_HELP)
    counts: Counter[str] = Counter()
    of_split: dict[str, dict[str, int]] = {}
    for name, sizes in found.items():
        of_split[name] = {
            f"{it['width']} x {it['height']} px": it["pairs"] for it in sizes["common"]
        }
        counts.update(of_split[name])
    shown = [size for size, _ in counts.most_common(SIZES_SHOWN)]
    rows = {size: {name: f"{of_split[name].get(size, 0):,}" for name in found} for size in shown}
    rows["other sizes"] = {
        name: f"{split['pairs'] - sum(of_split[name].get(it, 0) for it in shown):,}"
        for name, split in summary["splits"].items()
    }
    for label, key in (("megapixels", "megapixels"), ("width : height", "aspect")):
        rows[f"{label}, median (range)"] = {
            name: f"{it[key]['median']:.3g} ({it[key]['least']:.3g} to {it[key]['most']:.3g})"
            for name, it in found.items()
        }
    st.table(pd.DataFrame.from_dict(rows, orient="index"), border="horizontal")


def show_faults(look: sources.Look) -> None:
    """Every fault with its file; leaving files out, and taking them back."""
    if look.left_out:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(f"{look.left_out:,} files are left out by your list.", icon=":material/block:")
            if st.button("Take them back", icon=":material/undo:"):
                _try(actions.restore, look.source.text)
    if not look.faults:
        st.success("Nothing is wrong with these pictures.", icon=":material/check:")
        return
    counts = Counter((fault.severity, fault.kind) for fault in look.faults)
    kinds = [kind for severity in SEVERITIES for kind in KINDS if (severity, kind) in counts]
    names = {
        kind: f"{kind.replace('_', ' ')} {sum(counts[it, kind] for it in SEVERITIES):,}"
        for kind in kinds
    }
    chosen = st.pills(
        "Kinds",
        list(names),
        format_func=lambda kind: names[kind],
        selection_mode="multi",
        help="None chosen: all are shown.",
    )
    shown = [fault for fault in look.faults if not chosen or fault.kind in chosen]
    shown.sort(key=lambda fault: (SEVERITIES.index(fault.severity), fault.kind, fault.file))
    table = pd.DataFrame(
        {
            "severity": [it.severity for it in shown],
            "kind": [it.kind.replace("_", " ") for it in shown],
            "file": [it.file for it in shown],
            "what": [it.detail for it in shown],
        }
    )
    st.dataframe(table, hide_index=True, width="stretch", height="auto")
    with st.container(horizontal=True):
        st.download_button(
            "Download as CSV",
            studies.as_csv(table),
            file_name=f"faults-{look.source.slug}.csv",
            mime="text/csv",
            icon=":material/download:",
        )
        wrong = {fault.file for fault in look.faults if fault.severity != "note"}
        if wrong and look.is_folder:
            _leave_out(look, len(wrong))


def _leave_out(look: sources.Look, count: int) -> None:
    with st.popover(f"Leave out {count:,} files", icon=":material/block:"):
        st.markdown(
            "Files with an error or a warning are left out of training from now on. "
            "Your folder stays as it is, and this can be undone."
        )
        if st.button("Leave them out", type="primary"):
            _try(actions.clean, look.source.text)


def _try(action: Callable[[str], None], source: str) -> None:
    """Does it and draws the page anew, or says why it could not be done."""
    try:
        action(source)
    except EngineError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    st.rerun()
