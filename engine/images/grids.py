"""Sample pictures on the disk: strips and grids, each file the old one or the new one.

A gallery reads these while they are written, so every file is replaced in one step. Small
pictures are enlarged without blurring, for the eye.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from engine.system.files import replacing

Pictures = NDArray[np.uint8]  # [N, H, W, 3]

ACROSS = 6  # pictures in a thumbnail: sketches above, fakes below
GUTTER = 4  # pixels between pictures, in the background's colour
SMALLEST = 128  # sides below this are enlarged to at least this, by a whole factor
BACKGROUND = 255
CAPTION, LABEL = 24, 118  # pixels below and left of pictures for words
INK, FAINT = (15, 23, 42), (100, 116, 139)


@dataclass(frozen=True)
class SampleFiles:
    """The files of one epoch's samples."""

    grid: Path
    source: Path
    target: Path
    fake: Path
    thumbnail: Path


def save_samples(
    folder: Path, epoch: int, source: Pictures, target: Pictures, fake: Pictures
) -> SampleFiles:
    """Writes an epoch's samples: a row per pair in the grid, and each of its columns alone.

    Args:
        folder: made if it is not there.
        epoch: part of the files' names.
        source: [N, H, W, 3] bytes.
        target: likewise, the same pairs in the same order.
        fake: likewise.
    """
    name = f"epoch-{epoch:05d}"
    files = SampleFiles(
        grid=folder / f"{name}.png",
        source=folder / "source.png",
        target=folder / "target.png",
        fake=folder / f"{name}-fake.png",
        thumbnail=folder / f"{name}-small.png",
    )
    columns = [[*column] for column in (source, target, fake)]
    save_png(tile(list(zip(*columns, strict=True))), files.grid)
    for pictures, path in zip(columns, (files.source, files.target, files.fake), strict=True):
        save_png(tile([[picture] for picture in pictures]), path)
    save_png(tile([columns[0][:ACROSS], columns[2][:ACROSS]]), files.thumbnail)
    return files


def tile(rows: Sequence[Sequence[Pictures]]) -> Pictures:
    """One picture of rows of pictures of equal size, [H, W, 3] each, with gutters between."""
    side = rows[0][0].shape[0]
    factor = max(1, -(-SMALLEST // side))
    step = side * factor + GUTTER
    height, width = len(rows) * step - GUTTER, len(rows[0]) * step - GUTTER
    canvas = np.full((height, width, 3), BACKGROUND, dtype=np.uint8)
    for down, row in enumerate(rows):
        for across, picture in enumerate(row):
            large = picture.repeat(factor, axis=0).repeat(factor, axis=1)
            top, left = down * step, across * step
            canvas[top : top + side * factor, left : left + side * factor] = large
    return canvas


def labelled(rows: Mapping[str, Pictures], captions: Mapping[str, Sequence[str]]) -> Pictures:
    """A grid with a named row of pictures each, and a word under single pictures.

    Args:
        rows: name -> [N, H, W, 3] bytes, all of one size.
        captions: name -> N words; rows without any have none.
    """
    font, small = ImageFont.load_default(15), ImageFont.load_default(13)
    first = next(iter(rows.values()))
    side = first.shape[1] * max(1, -(-SMALLEST // first.shape[1]))
    heights = [side + (CAPTION if name in captions else GUTTER) for name in rows]
    label = max(LABEL, int(max(font.getlength(name) for name in rows)) + 14)
    size = (label + len(first) * (side + GUTTER) - GUTTER, sum(heights))
    canvas = Image.new("RGB", size, (BACKGROUND,) * 3)
    draw, top = ImageDraw.Draw(canvas), 0
    for (name, pictures), height in zip(rows.items(), heights, strict=True):
        draw.text((0, top + side // 2 - 10), name, fill=INK, font=font)
        for across, picture in enumerate(pictures):
            left = label + across * (side + GUTTER)
            shown = Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST)
            canvas.paste(shown, (left, top))
            if name in captions:
                place = (left + side // 2, top + side + 3)
                draw.text(place, captions[name][across], fill=FAINT, font=small, anchor="ma")
        top += height
    return np.asarray(canvas)


def to_png(picture: Pictures) -> bytes:
    """The picture as a PNG file's content."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def save_png(picture: Pictures, path: Path) -> None:
    """Writes a PNG in the old file's place."""
    with replacing(path) as file:
        Image.fromarray(picture).save(file, format="PNG")
