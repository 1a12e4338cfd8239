"""Gallery: pictures of all runs side by side, by epoch or by score."""

import streamlit as st

from dashboard.components.empty_states import empty_state
from dashboard.components.escape import escape_markdown
from dashboard.components.gallery.contents import choose_samples, choose_test_pictures
from dashboard.components.gallery.gallery import gallery_in_url
from dashboard.components.pickers import choice, pick_runs, pick_study
from dashboard.queries import studies
from engine.errors import EngineError

MAX_DEFAULT_RUNS = 6
KINDS = {"samples": "Samples by epoch", "test": "All test pictures"}

st.title("Gallery", anchor=False)
study = pick_study()
runs = pick_runs(study, studies.runs(study.id), MAX_DEFAULT_RUNS)
if not runs:
    empty_state("Choose at least one run.")
    st.stop()
kind = choice(
    "pictures",
    list(KINDS),
    "Pictures",
    labels=lambda name: KINDS[name],
    is_label_visible=False,
)
# The selection in the URL is deleted when the user changes the study or the kind of pictures.
subject = (study.id, kind)
if st.session_state.setdefault("gallery_of", subject) != subject:
    st.session_state["gallery_of"] = subject
    for name in ("epoch", "pinned", "look"):
        st.query_params.pop(name, None)

try:
    if kind == "samples":
        content = choose_samples(study, runs)
        missing = "The first samples appear after the first epoch."
    else:
        content = choose_test_pictures(study, runs)
        missing = "Test pictures appear once a run has been evaluated."
except EngineError as error:
    st.warning(escape_markdown(str(error)), icon=":material/broken_image:")
    st.stop()
if content is None:
    empty_state(missing)
    st.stop()
st.fragment(gallery_in_url)(f"gallery_{study.id}_{kind}", content)
