"""Prepares a picture for the model and composes the result from the model's answer.

`prepare` converts the uploaded file to the model's input. `compose` and `encode` convert the
model's answer to the file that is sent back. The module loads no torch.
"""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from engine.images import decoding
from engine.images.faults import PictureFaultError
from engine.serve import compositing, line_art
from engine.serve.compositing import Answer, LetterboxedImage, Picture

OutputFormat = Literal["png", "jpeg", "webp"]
InputMode = Literal["auto", "as_is"]

OUTPUT_FORMATS: tuple[OutputFormat, ...] = ("png", "jpeg", "webp")
JPEG_AND_WEBP_QUALITY = 92
# Level 3 takes half the time of the default level 6 and makes files a few per cent larger.
PNG_COMPRESSION_LEVEL = 3
# A WebP file has at most 16,383 pixels a side, and resizing needs memory in proportion to the side.
MAX_SIDE_PX = 16_000
MIN_MEAN_SATURATION = 4


@dataclass(frozen=True)
class PreparedImage:
    """A decoded picture and the model's input that was made from it.

    Attributes:
        expects: the kind of source that the model was trained on, `sketch` or `grey`.
        whole: the picture at full size, [H, W, 3]: the photograph, or the line art.
        letterboxed: the model's input.
        notes: sentences that say what was changed in the picture.
        is_extracted: whether the line art was extracted from the picture.
    """

    expects: str
    whole: Picture
    letterboxed: LetterboxedImage
    notes: tuple[str, ...]
    is_extracted: bool = False


def image_size(content: bytes, max_pixels: int) -> tuple[int, int]:
    """Reads width and height from the header of an image file.

    Raises:
        PictureFaultError: the content is not a supported image file, or the image is too large.
    """
    size = decoding.image_size(content, max_pixels)
    if max(size) > MAX_SIDE_PX:
        detail = f"{max(size):,} pixels a side; the limit is {MAX_SIDE_PX:,}"
        raise PictureFaultError("too_large", detail)
    return size


def prepare(
    content: bytes, expects: str, px: int, given: InputMode, max_pixels: int
) -> PreparedImage:
    """Decodes a picture and converts it to the model's input.

    Args:
        content: bytes of the image file.
        expects: the kind of source that the model was trained on, `sketch` or `grey`.
        px: side of the model's square.
        given: whether to extract lines from the picture, for a model that was trained on sketches.
            `auto`: only if the picture is not line art; `as_is`: never.
        max_pixels: a picture with more pixels is refused before it is decoded.

    Raises:
        PictureFaultError: the content is not a picture that can be decoded, or it is too large.
    """
    decoded = decoding.decode(content, max_pixels=max_pixels)
    notes = [f"The picture was changed while it was read: {detail}." for _, detail in decoded.notes]
    whole = np.asarray(decoded.image)

    if expects == "grey":
        if line_art.is_line_art(whole):
            notes.append(
                "This model was trained on grey photographs; the picture looks like line art."
            )
        elif _is_coloured(whole):
            notes.append(
                "This model takes grey photographs: the picture's own colours were ignored."
            )
        grey = compositing.to_grey(whole)
        letterboxed = compositing.letterbox(grey, px, pad_with_border_colour=False)
        return PreparedImage(expects, whole, letterboxed, tuple(notes))

    is_extracted = given == "auto" and not line_art.is_line_art(whole)
    if is_extracted:
        notes.append(
            "This model takes line art and the picture is not line art: its lines were extracted "
            "first."
        )
        size = (whole.shape[1], whole.shape[0])
        lines = line_art.extract_lines(whole, px)
        whole = np.asarray(Image.fromarray(lines).resize(size, Image.Resampling.BICUBIC))
    letterboxed = compositing.letterbox(whole, px, pad_with_border_colour=True)
    return PreparedImage(expects, whole, letterboxed, tuple(notes), is_extracted)


def _is_coloured(picture: Picture) -> bool:
    small = Image.fromarray(picture)
    small.thumbnail((64, 64))
    channels = np.asarray(small).astype(np.int16)
    saturation = channels.max(axis=-1) - channels.min(axis=-1)
    return bool(saturation.mean() > MIN_MEAN_SATURATION)


def compose(prepared: PreparedImage, answer: Answer) -> Picture:
    """Composes the coloured picture at full size, [H, W, 3].

    Args:
        prepared: the picture and the model's input.
        answer: the model's answer.
    """
    colours = prepared.letterboxed.crop(answer.picture)
    if prepared.expects == "grey":
        return compositing.keep_lightness(prepared.whole, colours)
    # An answer that is not enlarged has lines as sharp as those of the picture.
    is_smaller = max(prepared.whole.shape[:2]) <= len(answer.picture)
    if colours.shape == prepared.whole.shape or (is_smaller and answer.fill is None):
        return compositing.resize_like(colours, prepared.whole)
    return compositing.keep_lines(prepared.whole, answer, prepared.letterboxed)


def encode(picture: Picture, file_format: OutputFormat) -> bytes:
    """Encodes a picture, [H, W, 3], as an image file."""
    out = io.BytesIO()
    png_options = {"compress_level": PNG_COMPRESSION_LEVEL}
    options = png_options if file_format == "png" else {"quality": JPEG_AND_WEBP_QUALITY}
    Image.fromarray(picture).save(out, file_format, **options)
    return out.getvalue()
