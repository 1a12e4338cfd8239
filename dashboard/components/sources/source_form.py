"""The choice of a data source: the built-in one, a scanned folder or a new folder."""

import streamlit as st

from dashboard.queries import sources

NEW_SOURCES = {
    "sidebyside": "New folder: sketch and colours side by side in one picture…",
    "folders": "New folders: sketches and colour pictures…",
    "photos": "New folder: photographs, converted to grey for the source…",
}
SKETCH_SIDES = {"auto": "detect from the colours", "left": "left", "right": "right"}
MAX_PAIRS = 10**9


def source_form(key: str, requested: str = "") -> str | None:
    """Draws the fields of a data source.

    Args:
        key: the prefix of the widget keys; every page has a different prefix.
        requested: the text of the source in the URL; "" if the URL has no source.

    Returns:
        The text of the source; None until the user has entered the folder of a new source.
    """
    titles = sources.known_sources()
    if requested and requested not in titles:
        titles = {**titles, requested: requested}
    names = {**titles, **NEW_SOURCES}
    is_new_visit = f"{key}_source" not in st.session_state
    if requested and (is_new_visit or st.session_state.get(f"{key}_requested") != requested):
        st.session_state[f"{key}_source"] = st.session_state[f"{key}_requested"] = requested
    selected = st.selectbox(
        "Data source",
        list(names),
        format_func=lambda text: names[text],
        key=f"{key}_source",
        help="Pairs of a source picture and its target that models are trained on.",
    )
    return _new_source(selected, key) if selected in NEW_SOURCES else selected


def _new_source(kind: str, key: str) -> str | None:
    """Draws the fields of a new folder; returns the text of the source, None without a folder."""
    if kind == "folders":
        columns = st.columns(2)
        fields = (
            ("Folder of sketches", "/my/sketches"),
            ("Folder of colour pictures", "/my/colours"),
        )
        folders = [
            column.text_input(label, placeholder=placeholder, key=f"{key}_{kind}_{index}")
            for index, (column, (label, placeholder)) in enumerate(
                zip(columns, fields, strict=True)
            )
        ]
    else:
        label = "Folder on this machine"
        folders = [st.text_input(label, placeholder="/my/pictures", key=f"{key}_{kind}")]
    with st.container(horizontal=True):
        options = _options(kind, key)
    if not all(folder.strip() for folder in folders):
        st.caption("Subfolders are included. Files are never modified.")
        return None
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"{kind}:{','.join(folder.strip() for folder in folders)}{'?' if query else ''}{query}"


def _options(kind: str, key: str) -> dict[str, str]:
    """Draws the optional fields of a new folder; returns the options that are not default."""
    options = {}
    limit = st.number_input(
        "Maximum number of pairs",
        min_value=1,
        max_value=MAX_PAIRS,
        value=None,
        placeholder="All",
        key=f"{key}_{kind}_limit",
        help="Uses a random subset of the pairs. The same seed always selects the same pairs.",
    )
    if limit:
        options["limit"] = str(limit)
        seed = st.number_input("Random seed", 0, MAX_PAIRS, 0, key=f"{key}_{kind}_seed")
        if seed:
            options["seed"] = str(seed)
    if kind == "sidebyside":
        side = st.selectbox(
            "Side of the sketch",
            list(SKETCH_SIDES),
            format_func=lambda name: SKETCH_SIDES[name],
            key=f"{key}_{kind}_sketch",
        )
        if side != "auto":
            options["sketch"] = side
    return options
