"""Folders of real pictures for tests: drawn pairs, crops of packaged photographs."""

from functools import cache
from pathlib import Path

import numpy as np
import skimage.data
import sklearn.datasets
from PIL import Image

from engine.data.sources.openmoji import OpenMoji

SIDE = 64


@cache
def drawings(count: int) -> tuple[tuple[Image.Image, Image.Image], ...]:
    """Sketch and colours of OpenMoji drawings that have colour and are unlike each other."""
    source, found = OpenMoji(), []
    for name in source.names()[100::5]:
        pair = source.open(name, SIDE).draw(SIDE)
        if np.ptp(pair[..., 1:].astype(int), axis=2).mean() > 10:
            found.append((Image.fromarray(pair[..., 0]), Image.fromarray(pair[..., 1:])))
        if len(found) == count:
            return tuple(found)
    raise AssertionError(f"there are only {len(found)} such drawings")


def side_by_side(sketch: Image.Image, colours: Image.Image, sketch_left: bool) -> Image.Image:
    """One picture of both halves."""
    sheet = Image.new("RGB", (2 * sketch.width, sketch.height))
    sheet.paste(sketch, (0 if sketch_left else sketch.width, 0))
    sheet.paste(colours, (sketch.width if sketch_left else 0, 0))
    return sheet


def write_pairs(folder: Path, count: int, sketch_left: bool = True) -> Path:
    """A folder of side-by-side pictures."""
    folder.mkdir(parents=True)
    for number, pair in enumerate(drawings(count)):
        side_by_side(*pair, sketch_left).save(folder / f"pair{number:03d}.png")
    return folder


def write_two_folders(folder: Path, count: int) -> tuple[Path, Path]:
    """Folders of sketches and of colours, partners of the same name."""
    lines, colours = folder / "lines", folder / "colours"
    for number, pair in enumerate(drawings(count)):
        for place, picture in zip((lines, colours), pair, strict=True):
            place.mkdir(parents=True, exist_ok=True)
            picture.save(place / f"{number}.png")
    return lines, colours


@cache
def _packaged() -> tuple[Image.Image, ...]:
    pictures = [skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee()]
    pictures += [skimage.data.rocket(), skimage.data.hubble_deep_field()]
    pictures += list(sklearn.datasets.load_sample_images().images)
    return tuple(Image.fromarray(picture) for picture in pictures)


def write_photographs(folder: Path, count: int, side: int = SIDE, suffix: str = "jpg") -> Path:
    """A folder of crops of packaged photographs, none overlapping another by much."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    for number in range(count):
        picture = _packaged()[number % len(_packaged())]
        wide = int(chance.integers(side, 2 * side))
        left = int(chance.integers(0, picture.width - wide))
        top = int(chance.integers(0, picture.height - wide))
        crop = picture.crop((left, top, left + wide, top + wide))
        crop.save(folder / f"photo{number:04d}.{suffix}", quality=95)
    return folder
