"""Colorize: the user's own pictures, or validation pictures, colorized by trained models."""

import streamlit as st

from dashboard.components.colorize_sections import show_result, show_server, show_target
from dashboard.components.empty_states import empty_state, no_studies
from dashboard.components.escape import escape_markdown
from dashboard.components.pickers import choice, pick_many
from dashboard.queries import colorize
from dashboard.queries.colorize import SamplePair
from engine.errors import EngineError
from engine.serve.client import MAX_FILE_MB
from engine.serve.ranking import Candidate

RESULTS_PER_ROW = 4
KINDS = {"own": "Upload", "validation": "Validation set"}
FILE_TYPES = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff")

st.title("Colorize", anchor=False)
models = {model.run.id: model for model in colorize.trained_models()}
if not models:
    if not colorize.has_studies():
        no_studies()
    else:
        empty_state("The first model appears once a run has ended.")
    st.stop()


def model_label(model: Candidate) -> str:
    """Describes a model: configuration, run, input, size and study."""
    run = model.run
    facts = f"run {run.id} · {colorize.expected_input(run)} · {run.config.budget.px} px"
    return f"{run.config.label} · {facts} · {model.study.name}"


best = next(iter(models.values()))
selected_ids = pick_many(
    "Models",
    {run_id: model_label(model) for run_id, model in models.items()},
    [best.run.id],
    "models",
    help_text="Newest study first, then best mean rank over distance, pixel and colour metrics. "
    "Choose several models to compare them side by side.",
)
if not selected_ids:
    empty_state("Choose at least one model.")
    st.stop()
selected = [models[run_id] for run_id in selected_ids]

kind = choice(
    "picture", list(KINDS), "Picture", labels=lambda name: KINDS[name], is_label_visible=False
)


def choose_own_picture() -> bytes | None:
    """Draws the file uploader; returns the content of the uploaded file, None without a file."""
    inputs = " or ".join(sorted({colorize.expected_input(model.run) for model in selected}))
    uploaded = st.file_uploader(
        f"Upload a picture ({inputs}, any size)",
        type=FILE_TYPES,
        key="dropped",
        max_upload_size=MAX_FILE_MB,
        help="Models of line art use the extracted lines of a photograph. Models of photographs "
        "use the grey picture. Nothing is stored.",
    )
    return None if uploaded is None else uploaded.getvalue()


def choose_validation_pair() -> SamplePair | None:
    """Draws the choice of a validation pair from the study of the first selected model."""
    run = selected[0].run
    names = colorize.sample_pair_names(run)
    if not names:
        empty_state("The validation set of this study is empty.")
        return None
    name = choice(f"pair_{run.study_id}", names, "Validation picture", list_width=420)
    return colorize.sample_pair(run.config.data, name)


picture: bytes | None = None
pair: SamplePair | None = None
try:
    if kind == "own":
        picture = choose_own_picture()
    else:
        pair = choose_validation_pair()
        picture = None if pair is None else pair.source
except EngineError as error:
    st.warning(escape_markdown(str(error)), icon=":material/broken_image:")
    st.stop()

url = show_server()
if picture is None or url is None:
    st.stop()
try:
    before, size = colorize.preview(picture)
except EngineError as error:
    st.error(
        f"This file is not a picture that can be read: {escape_markdown(str(error))}.",
        icon=":material/error:",
    )
    st.stop()

results = [*selected, None] if pair is not None else [*selected]  # None stands for the target
for start in range(0, len(results), RESULTS_PER_ROW):
    columns = st.columns(min(RESULTS_PER_ROW, len(results)))
    row = results[start : start + RESULTS_PER_ROW]
    for column, model in zip(columns, row, strict=False):
        with column:
            if model is not None:
                show_result(url, picture, before, size, model)
            elif pair is not None:
                show_target(pair.target)
