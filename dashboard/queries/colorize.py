"""Reads trained models and validation pairs, and requests results from the model server."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
from PIL import Image

from dashboard.queries import access, studies
from engine.config import source_label
from engine.data import packing
from engine.data.pairs import split_channels
from engine.data.sources.registry import parse_source
from engine.errors import EngineError
from engine.images import color, decoding
from engine.options.decodings import Decoding
from engine.records.runs import Run
from engine.serve import client, discovery, ranking
from engine.serve.client import ColorizedImage, ServerStatus
from engine.serve.ranking import Candidate
from engine.settings import PROGRAM
from engine.system.files import load_tail

MAX_MODELS = 200
MAX_SAMPLE_PAIRS = 300
SAMPLE_PX = 512  # side of a validation picture that is drawn from vector graphics
PREVIEW_PX = 1024
PREVIEW_QUALITY = 88  # of WebP, up to 100
CACHE_SIZE = 12
CACHE_TTL_S = 600.0


@dataclass(frozen=True)
class SamplePair:
    """A validation pair to try a model on.

    Attributes:
        source: a PNG file.
        target: a PNG file.
    """

    source: bytes
    target: bytes


def trained_models() -> list[Candidate]:
    """Returns the trained models: newest study first, best model of a study first.

    Older studies are left out once there are at least `MAX_MODELS` models.
    """
    models: list[Candidate] = []
    for candidates in ranking.candidates_by_study(access.store()):
        models += candidates
        if len(models) >= MAX_MODELS:
            break
    return models


def best_model(study_id: int) -> Candidate | None:
    """Returns the best model of a study; None if every run is archived or not done."""
    return ranking.best_candidate(access.store(), study_id)


def has_studies() -> bool:
    """Returns whether the store has any study."""
    return bool(studies.listed_studies())


def server_status() -> ServerStatus:
    """Requests the status of the model server."""
    return client.server_status(access.settings())


def server_log_tail() -> str:
    """Returns the last lines of the log of a model server that a page has started."""
    return load_tail(discovery.log_path(access.settings()))


def colorize_picture(
    url: str, picture: bytes, model: Candidate, as_is: bool, decoding: Decoding | None = None
) -> ColorizedImage:
    """Colorizes a picture; the result is cached for `CACHE_TTL_S` seconds.

    Args:
        url: the URL of the model server.
        picture: an image file.
        model: the model to use.
        as_is: whether the model gets the picture as it is, without line extraction.
        decoding: how the colours are chosen; None: as the run decodes its pictures.

    Raises:
        EngineError: the server refused the request, with the reason, or did not answer.
    """
    digest = hashlib.sha256(picture).hexdigest()
    given = "as_is" if as_is else "auto"
    sha256 = model.checkpoint.sha256
    used = decoding or model.decoding
    colours = "" if used is None else f"{used} {used.seed}"
    return _colorize_picture(
        access.database_id(), url, digest, sha256, given, colours, picture, model, decoding
    )


@st.cache_resource(max_entries=CACHE_SIZE, ttl=CACHE_TTL_S, show_spinner=False)
def _colorize_picture(
    database_id: str,
    url: str,
    digest: str,
    sha256: str,
    given: str,
    colours: str,
    _picture: bytes,
    _model: Candidate,
    _decoding: Decoding | None,
) -> ColorizedImage:
    return client.colorize(access.settings(), url, _picture, _model.run.id, given, _decoding)


@st.cache_data(max_entries=CACHE_SIZE, show_spinner=False)
def preview(picture: bytes) -> tuple[bytes, tuple[int, int]]:
    """Shrinks a picture for the page.

    Returns:
        A WebP file of at most `PREVIEW_PX` pixels a side, and the width and height of `picture`.

    Raises:
        EngineError: the file is not a picture that can be decoded.
    """
    decoded = decoding.decode(picture)
    image = decoded.image
    image.thumbnail((PREVIEW_PX, PREVIEW_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "webp", quality=PREVIEW_QUALITY)
    return buffer.getvalue(), decoded.size


def sample_pair_names(run: Run) -> Sequence[str]:
    """Lists validation pairs of the data that a run was trained on, most colourful first.

    Raises:
        EngineError: the source does not exist any more, or its pairs are not packed any more.
    """
    source, px = parse_source(run.config.data, access.settings()), run.config.budget.px
    if not packing.is_packed(source, px, access.settings()):
        raise EngineError(
            f"The pairs of {source.text} at {px} px are not packed any more. Pack them again with "
            f"`{PROGRAM} data prepare {source.text} --size {px}`."
        )
    return _sample_pair_names(access.database_id(), source.text, source.version, px)


@st.cache_data(max_entries=CACHE_SIZE, show_spinner=False)
def _sample_pair_names(database_id: str, text: str, version: str, px: int) -> list[str]:
    packed = packing.load_packed(parse_source(text, access.settings()), px, access.settings())
    rows = [row for row, pair in enumerate(packed.pairs) if pair.split == "val"][:MAX_SAMPLE_PAIRS]
    _, targets = split_channels(packed.pixels[rows])
    colorfulness = color.colorfulness(targets.transpose(0, 3, 1, 2) / 255)
    order = np.argsort(-colorfulness, kind="stable")
    return [packed.pairs[rows[position]].name for position in order]


@st.cache_data(max_entries=CACHE_SIZE, show_spinner=False)
def sample_pair(data: str, name: str) -> SamplePair:
    """Reads a pair of a source in full size, but at most `SAMPLE_PX` pixels a side.

    Raises:
        EngineError: the pair cannot be read.
    """
    pair = parse_source(data, access.settings()).load_pair(name, SAMPLE_PX)
    side = SAMPLE_PX if pair.size is None else min(*pair.size, SAMPLE_PX)
    source, target = split_channels(pair.render(side))
    return SamplePair(_to_png(source), _to_png(target))


def expected_input(run: Run) -> str:
    """Names the kind of pictures that a run's model expects."""
    return "line art" if source_label(run.config.data) == "sketch" else "grey photographs"


def _to_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "png")
    return buffer.getvalue()
