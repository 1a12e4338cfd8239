"""Writes sample pictures as PNG files: columns of pictures and grids.

The Gallery page reads these files during training, so every file is replaced atomically. Small
pictures are enlarged without interpolation, so that single pixels stay visible.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from engine.system.files import replacing

ImageArray = NDArray[np.uint8]  # [H, W, 3], or [N, H, W, 3] for several

THUMBNAIL_COLUMNS = 6
GUTTER_PX = 4  # between pictures, in the background's colour
MIN_SIDE_PX = 128  # smaller pictures are enlarged by a whole factor to at least this
BACKGROUND = 255
CAPTION_PX = 24  # height of the text below a picture
MIN_LABEL_PX = 118  # width of the text on the left of a row
TEXT_RGB, MUTED_RGB = (15, 23, 42), (100, 116, 139)


@dataclass(frozen=True)
class SampleFiles:
    """The files of one epoch's samples."""

    grid: Path
    source: Path
    target: Path
    fake: Path
    thumbnail: Path


def save_samples(
    folder: Path, epoch: int, source: ImageArray, target: ImageArray, fake: ImageArray
) -> SampleFiles:
    """Writes the samples of an epoch: a grid with a row per pair, its columns, and a thumbnail.

    Args:
        folder: the folder of the files; created if it does not exist.
        epoch: the number of the epoch, which becomes part of the file names.
        source: [N, H, W, 3] bytes.
        target: [N, H, W, 3] bytes, of the same pairs in the same order.
        fake: [N, H, W, 3] bytes, of the same pairs in the same order.
    """
    name = f"epoch-{epoch:05d}"
    files = SampleFiles(
        grid=folder / f"{name}.png",
        source=folder / "source.png",
        target=folder / "target.png",
        fake=folder / f"{name}-fake.png",
        thumbnail=folder / f"{name}-small.png",
    )
    columns = [[*pictures] for pictures in (source, target, fake)]
    save_png(tile(list(zip(*columns, strict=True))), files.grid)
    for pictures, path in zip(columns, (files.source, files.target, files.fake), strict=True):
        save_png(tile([[picture] for picture in pictures]), path)
    sources, _, fakes = columns
    save_png(tile([sources[:THUMBNAIL_COLUMNS], fakes[:THUMBNAIL_COLUMNS]]), files.thumbnail)
    return files


def tile(rows: Sequence[Sequence[ImageArray]]) -> ImageArray:
    """Arranges rows of square pictures [H, W, 3] of equal size in one picture, with gutters."""
    side = rows[0][0].shape[0]
    factor = _enlargement(side)
    step = side * factor + GUTTER_PX
    height, width = len(rows) * step - GUTTER_PX, len(rows[0]) * step - GUTTER_PX
    canvas = np.full((height, width, 3), BACKGROUND, dtype=np.uint8)
    for row_index, row in enumerate(rows):
        for column_index, picture in enumerate(row):
            enlarged = picture.repeat(factor, axis=0).repeat(factor, axis=1)
            top, left = row_index * step, column_index * step
            canvas[top : top + side * factor, left : left + side * factor] = enlarged
    return canvas


def tile_with_labels(
    rows: Mapping[str, ImageArray], captions: Mapping[str, Sequence[str]]
) -> ImageArray:
    """Arranges rows of pictures with row names on the left and captions below the pictures.

    Args:
        rows: row name -> [N, H, W, 3] bytes, all of one size.
        captions: row name -> N captions; a row without captions has no entry.
    """
    label_font, caption_font = ImageFont.load_default(15), ImageFont.load_default(13)
    first_row = next(iter(rows.values()))
    side = first_row.shape[1] * _enlargement(first_row.shape[1])
    heights = [side + (CAPTION_PX if name in captions else GUTTER_PX) for name in rows]
    label_width = max(MIN_LABEL_PX, int(max(label_font.getlength(name) for name in rows)) + 14)
    size = (label_width + len(first_row) * (side + GUTTER_PX) - GUTTER_PX, sum(heights))
    canvas = Image.new("RGB", size, (BACKGROUND,) * 3)
    draw, top = ImageDraw.Draw(canvas), 0
    for (name, pictures), height in zip(rows.items(), heights, strict=True):
        draw.text((0, top + side // 2 - 10), name, fill=TEXT_RGB, font=label_font)
        for index, picture in enumerate(pictures):
            left = label_width + index * (side + GUTTER_PX)
            enlarged = Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST)
            canvas.paste(enlarged, (left, top))
            if name in captions:
                top_centre = (left + side // 2, top + side + 3)
                text = captions[name][index]
                draw.text(top_centre, text, fill=MUTED_RGB, font=caption_font, anchor="ma")
        top += height
    return np.asarray(canvas)


def encode_png(picture: ImageArray) -> bytes:
    """Encodes a picture as the content of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def save_png(picture: ImageArray, path: Path) -> None:
    """Writes a PNG file; replaces an existing file atomically."""
    with replacing(path) as file:
        Image.fromarray(picture).save(file, format="PNG")


def _enlargement(side: int) -> int:
    """Returns the smallest whole factor that enlarges a side to at least `MIN_SIDE_PX`."""
    return max(1, -(-MIN_SIDE_PX // side))
