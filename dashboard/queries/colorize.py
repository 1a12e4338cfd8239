"""What the Colorize page may know and do: models, the server that runs them, pictures to try."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
from PIL import Image

from dashboard.queries import studies
from engine.config import source_label
from engine.data import packing
from engine.data.pairs import split_pixels
from engine.data.sources.registry import read_source
from engine.errors import EngineError
from engine.images import color, decoding
from engine.images.pillow import lenient_pillow
from engine.records.runs import Run
from engine.serve import client, ranking
from engine.serve.client import Coloured, Standing
from engine.serve.ranking import Candidate

MOST_MODELS = 200
MOST_TRIALS = 300
TRIED_PX = 512  # side of a validation picture that can be drawn at any size
PREVIEW_PX = 1024  # longer side of what is shown on the page
KEPT = 12  # answers in memory, for a while
KEPT_S = 600.0
PREVIEW_QUALITY = 88


@dataclass(frozen=True)
class Trial:
    """A validation pair to try a model on.

    Attributes:
        given: what a model is given, a PNG file.
        target: what was wanted of it, likewise.
    """

    given: bytes
    target: bytes


def models() -> list[Candidate]:
    """The trained models, newest study first, best first."""
    groups = ranking.candidates(studies.store())
    found: list[Candidate] = []
    for group in groups:
        found += group
        if len(found) >= MOST_MODELS:
            break
    return found


def best_of(study_id: int) -> Candidate | None:
    """The best model of a study; None before any run has ended."""
    return ranking.best(studies.store(), study_id)


def has_studies() -> bool:
    """Whether anything has been started at all."""
    return bool(studies.studies())


def standing() -> Standing:
    """How the model server stands."""
    return client.look(studies.settings())


def start() -> None:
    """Starts a model server on this machine."""
    client.start(studies.settings())


def log_tail() -> str:
    """The last that it has said."""
    return client.log_tail(studies.settings())


def colour(url: str, picture: bytes, model: Candidate, as_is: bool) -> Coloured:
    """A model's answer to a picture; asked once, it is kept for a while.

    Raises:
        EngineError: it was refused, with the reason.
    """
    digest = hashlib.sha256(picture).hexdigest()
    given = "as_is" if as_is else "auto"
    return _colour(studies.database(), url, digest, model.checkpoint.sha256, given, picture, model)


@st.cache_resource(max_entries=KEPT, ttl=KEPT_S, show_spinner=False)
def _colour(
    database: str,
    url: str,
    digest: str,
    sha256: str,
    given: str,
    _picture: bytes,
    _model: Candidate,
) -> Coloured:
    return client.colorize(studies.settings(), url, _picture, _model.run.id, given)


@st.cache_data(max_entries=KEPT, show_spinner=False)
def preview(picture: bytes) -> tuple[bytes, tuple[int, int]]:
    """A picture for the page, as WebP of at most 1,024 pixels a side; and its full size.

    Raises:
        EngineError: there is no picture in it.
    """
    with lenient_pillow():
        read = decoding.decode(picture)
    image = read.image
    image.thumbnail((PREVIEW_PX, PREVIEW_PX), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "webp", quality=PREVIEW_QUALITY)
    return out.getvalue(), read.size


def trial_names(run: Run) -> Sequence[str]:
    """The validation pairs of what a run was trained on, the most colourful first.

    Raises:
        EngineError: they are no longer packed, or the source is gone.
    """
    source, px = read_source(run.config.data, studies.settings()), run.config.budget.px
    if not packing.is_packed(source, px, studies.settings()):
        raise EngineError(
            f"The pairs of {source.text} at {px} px are no longer packed; `python -m engine data "
            f"prepare {source.text} --size {px}` brings them back."
        )
    return _trial_names(studies.database(), source.text, source.version, px)


@st.cache_data(max_entries=KEPT, show_spinner=False)
def _trial_names(database: str, text: str, version: str, px: int) -> list[str]:
    packed = packing.load_packed(read_source(text, studies.settings()), px, studies.settings())
    rows = [row for row, pair in enumerate(packed.pairs) if pair.split == "val"][:MOST_TRIALS]
    _, targets = split_pixels(packed.pixels[rows])
    colourful = color.colorfulness(targets.transpose(0, 3, 1, 2) / 255)
    return [packed.pairs[rows[at]].name for at in np.argsort(-colourful, kind="stable")]


@st.cache_data(max_entries=KEPT, show_spinner=False)
def trial(data: str, name: str) -> Trial:
    """A pair of a source, larger than models see it where it can be had.

    Raises:
        EngineError: it cannot be read.
    """
    source = read_source(data, studies.settings())
    opened = source.open(name, TRIED_PX)
    side = TRIED_PX if opened.size is None else min(*opened.size, TRIED_PX)
    given, target = split_pixels(opened.draw(side))
    return Trial(_png(given), _png(target))


def expects(run: Run) -> str:
    """What a run's model is given, in words."""
    return "line art" if source_label(run.config.data) == "sketch" else "grey photographs"


def _png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "png")
    return out.getvalue()
