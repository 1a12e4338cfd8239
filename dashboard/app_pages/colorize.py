"""Colorize: a picture of one's own, or one of the validation set, coloured by trained models."""

import streamlit as st

from dashboard.components.colorize_sections import show_answer, show_server, show_target
from dashboard.components.empty_states import no_studies, nothing_here
from dashboard.components.escape import plain
from dashboard.components.pickers import pick_many
from dashboard.queries import colorize
from dashboard.queries.colorize import Trial
from engine.errors import EngineError
from engine.serve.client import LARGEST_FILE_MB
from engine.serve.ranking import Candidate

ACROSS = 4  # answers side by side
KINDS = {"own": "My own", "validation": "Validation set"}
TYPES = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff")

st.title("Colorize", anchor=False)
models = {it.run.id: it for it in colorize.models()}
if not models:
    if not colorize.has_studies():
        no_studies()
    else:
        nothing_here("The first model appears here when a run has ended.")
    st.stop()


def name_of(model: Candidate) -> str:
    """A model as the choice shows it."""
    px = model.run.config.budget.px
    about = f"run {model.run.id} · {colorize.expects(model.run)} · {px} px"
    return f"{model.run.config.label} · {about} · {model.study.name}"


best = next(iter(models.values()))
chosen_ids = pick_many(
    "Models",
    {run_id: name_of(it) for run_id, it in models.items()},
    [best.run.id],
    "models",
    about="Best first, of the newest study first: by the mean rank over distances, pixels and "
    "colours, since no single number tells. Choose several to see them side by side.",
)
if not chosen_ids:
    nothing_here("Choose at least one model.")
    st.stop()
chosen = [models[it] for it in chosen_ids]

kind = st.segmented_control(
    "Picture",
    list(KINDS),
    default="own",
    required=True,
    format_func=lambda it: KINDS[it],
    key="picture",
    bind="query-params",
    label_visibility="collapsed",
)


def choose_own() -> bytes | None:
    """What was dropped."""
    expected = " or ".join(sorted({colorize.expects(it.run) for it in chosen}))
    dropped = st.file_uploader(
        f"Drop a picture: {expected}, of any size",
        type=TYPES,
        key="dropped",
        max_upload_size=LARGEST_FILE_MB,
        help="A model of line art is given the lines of a photograph; a model of photographs is "
        "given its grey. Nothing is stored.",
    )
    return None if dropped is None else dropped.getvalue()


def choose_trial() -> Trial | None:
    """A pair of the validation split of the first model's study."""
    run = chosen[0].run
    names = colorize.trial_names(run)
    if not names:
        nothing_here("The validation set of this study is empty.")
        return None
    name = st.selectbox(
        "Validation picture", names, key=f"pair_{run.study_id}", bind="query-params", width=420
    )
    return colorize.trial(run.config.data, name)


given: bytes | None = None
trial: Trial | None = None
try:
    if kind == "own":
        given = choose_own()
    else:
        trial = choose_trial()
        given = None if trial is None else trial.given
except EngineError as error:
    st.warning(plain(str(error)), icon=":material/broken_image:")
    st.stop()

url = show_server()
if given is None or url is None:
    st.stop()
try:
    before, size = colorize.preview(given)
except EngineError as error:
    st.error(f"The file is no picture to colour: {plain(str(error))}.", icon=":material/error:")
    st.stop()

answers = [*chosen, None] if trial is not None else [*chosen]
for start in range(0, len(answers), ACROSS):
    row = answers[start : start + ACROSS]
    for column, model in zip(st.columns(min(ACROSS, len(answers))), row, strict=False):
        with column:
            if model is not None:
                show_answer(url, given, before, size, model)
            elif trial is not None:
                show_target(trial.target)
