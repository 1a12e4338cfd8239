"""Where pairs come from: each source lists its pairs and draws one at a size."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.data import openmoji
from engine.errors import BadInputError


class Source(Protocol):
    """What packing needs to know of a source of pairs."""

    name: str
    about: str

    @property
    def version(self) -> str:
        """Changes when the pictures may have changed."""

    def names(self) -> Sequence[str]:
        """The names of all pairs, sorted."""

    def group(self, name: str) -> str:
        """What near-copies of this pair have in common."""

    def draw(self, name: str, px: int) -> NDArray[np.uint8]:
        """The pair as [2, px, px, 3] bytes: source, then target."""


SOURCES: dict[str, Source] = {"openmoji": openmoji.OpenMoji()}


def read_source(text: str) -> Source:
    """The source that `text` names, or `BadInputError`."""
    if text not in SOURCES:
        raise BadInputError(f"There is no data source {text!r}; there is {', '.join(SOURCES)}.")
    return SOURCES[text]
