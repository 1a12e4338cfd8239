"""Writes folders of real pictures for tests: OpenMoji pairs and crops of packaged photographs."""

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
    """Returns (sketch, colours) of OpenMoji drawings that are colourful and dissimilar."""
    source, pairs = OpenMoji(), []
    for name in source.names()[100::5]:
        pair = source.load_pair(name, SIDE).render(SIDE)
        if np.ptp(pair[..., 1:].astype(int), axis=2).mean() > 10:
            pairs.append((Image.fromarray(pair[..., 0]), Image.fromarray(pair[..., 1:])))
        if len(pairs) == count:
            return tuple(pairs)
    raise AssertionError(f"there are only {len(pairs)} such drawings")


def side_by_side(sketch: Image.Image, colours: Image.Image, sketch_left: bool) -> Image.Image:
    """Joins both halves in one picture."""
    sheet = Image.new("RGB", (2 * sketch.width, sketch.height))
    sheet.paste(sketch, (0 if sketch_left else sketch.width, 0))
    sheet.paste(colours, (sketch.width if sketch_left else 0, 0))
    return sheet


def write_pairs(folder: Path, count: int, sketch_left: bool = True) -> Path:
    """Writes a folder of side-by-side pictures."""
    folder.mkdir(parents=True)
    for number, pair in enumerate(drawings(count)):
        side_by_side(*pair, sketch_left).save(folder / f"pair{number:03d}.png")
    return folder


def write_two_folders(folder: Path, count: int) -> tuple[Path, Path]:
    """Writes a folder of sketches and a folder of colours; partners have equal names."""
    lines, colours = folder / "lines", folder / "colours"
    for number, pair in enumerate(drawings(count)):
        for half_folder, picture in zip((lines, colours), pair, strict=True):
            half_folder.mkdir(parents=True, exist_ok=True)
            picture.save(half_folder / f"{number}.png")
    return lines, colours


@cache
def packaged_photographs() -> tuple[Image.Image, ...]:
    """Loads the photographs of scikit-image and scikit-learn."""
    pictures = [skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee()]
    pictures += [skimage.data.rocket(), skimage.data.hubble_deep_field()]
    pictures += list(sklearn.datasets.load_sample_images().images)
    return tuple(Image.fromarray(picture) for picture in pictures)


def write_photographs(folder: Path, count: int, side: int = SIDE, suffix: str = "jpg") -> Path:
    """Writes a folder of random square crops of packaged photographs."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        picture = packaged_photographs()[number % len(packaged_photographs())]
        crop_side = int(rng.integers(side, 2 * side))
        left = int(rng.integers(0, picture.width - crop_side))
        top = int(rng.integers(0, picture.height - crop_side))
        crop = picture.crop((left, top, left + crop_side, top + crop_side))
        crop.save(folder / f"photo{number:04d}.{suffix}", quality=95)
    return folder
