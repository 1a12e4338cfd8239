"""Choosing a source of pairs: the embedded one, a folder known from before, or a new one."""

import streamlit as st

from dashboard.queries import sources

NEW = {
    "sidebyside": "Pictures with two halves…",
    "folders": "Sketches and colours in two folders…",
    "photos": "Photographs, made grey on the way in…",
}
SIDES = {"auto": "seen from the colours", "left": "left", "right": "right"}
MOST_PAIRS = 10**9


def source_form(key: str, asked: str = "") -> str | None:
    """Fields for a source; the SOURCE text they amount to, None while a path is missing.

    Args:
        key: of the fields, one for each page.
        asked: a source that stands in the address.
    """
    known = sources.known_sources()
    if asked and asked not in known:
        known = {**known, asked: asked}
    names = {**known, **NEW}
    is_new_visit = f"{key}_source" not in st.session_state
    if asked and (is_new_visit or st.session_state.get(f"{key}_asked") != asked):
        st.session_state[f"{key}_source"] = st.session_state[f"{key}_asked"] = asked
    chosen = st.selectbox(
        "Source of pairs",
        list(names),
        format_func=lambda text: names[text],
        key=f"{key}_source",
        help="What the models learn from: pairs of a source and the picture it should become.",
    )
    return _new_source(chosen, key) if chosen in NEW else chosen


def _new_source(kind: str, key: str) -> str | None:
    """The folder and the options of a source that is new here."""
    if kind == "folders":
        columns = st.columns(2)
        parts = [
            columns[at].text_input(label, placeholder=hint, key=f"{key}_{kind}_{at}")
            for at, (label, hint) in enumerate(
                (("Folder of sketches", "/my/sketches"), ("Folder of colours", "/my/colours"))
            )
        ]
    else:
        label = "Folder of pictures, on this machine"
        parts = [st.text_input(label, placeholder="/my/pictures", key=f"{key}_{kind}")]
    with st.container(horizontal=True):
        options = _options(kind, key)
    if not all(part.strip() for part in parts):
        st.caption("Folders inside it count too. Nothing in it is ever changed.")
        return None
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"{kind}:{','.join(part.strip() for part in parts)}{'?' if query else ''}{query}"


def _options(kind: str, key: str) -> dict[str, str]:
    options = {}
    limit = st.number_input(
        "At most (pairs)",
        min_value=1,
        max_value=MOST_PAIRS,
        value=None,
        placeholder="all",
        key=f"{key}_{kind}_limit",
        help="Which pairs are taken follows from the seed alone.",
    )
    if limit:
        options["limit"] = str(limit)
        seed = st.number_input("Seed of the choice", 0, MOST_PAIRS, 0, key=f"{key}_{kind}_seed")
        if seed:
            options["seed"] = str(seed)
    if kind == "sidebyside":
        side = st.selectbox(
            "Sketch", list(SIDES), format_func=lambda it: SIDES[it], key=f"{key}_{kind}_sketch"
        )
        if side != "auto":
            options["sketch"] = side
    return options
