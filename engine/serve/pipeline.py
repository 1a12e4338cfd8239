"""One picture from its file's bytes to the coloured file's, the model's call left out. Torch-free.

`read` makes what the model is given, `finish` makes the answer of it.
"""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from engine.images import decoding
from engine.images.faults import PictureFaultError
from engine.images.pillow import lenient_pillow
from engine.serve import compositing, line_art
from engine.serve.compositing import Framed, Picture

Format = Literal["png", "jpeg", "webp"]
Given = Literal["auto", "as_is"]

FORMATS: tuple[Format, ...] = ("png", "jpeg", "webp")
QUALITY = 92  # of JPEG and WebP
PNG_LEVEL = 3  # half the time of the usual 6, a few per cent larger
LONGEST = 16_000  # pixels a side: what WebP can hold, and scaling takes memory for


@dataclass(frozen=True)
class Question:
    """A picture as a model is asked about it.

    Attributes:
        whole: [H, W, 3], what the answer is drawn over: the photograph's grey, or the line art.
        framed: the same in the model's square.
        notes: sentences on what was done to the picture on the way.
        is_extracted: whether its lines were extracted first.
    """

    expects: str
    whole: Picture
    framed: Framed
    notes: tuple[str, ...]
    is_extracted: bool = False


def measure(content: bytes, most_pixels: int) -> tuple[int, int]:
    """Width and height by the header alone.

    Raises:
        PictureFaultError: the content begins no picture that is read, or a too large one.
    """
    with lenient_pillow():
        size = decoding.measure(content, most_pixels)
    if max(size) > LONGEST:
        detail = f"{max(size):,} pixels a side; at most {LONGEST:,} are taken"
        raise PictureFaultError("too_large", detail)
    return size


def read(content: bytes, expects: str, px: int, given: Given, most_pixels: int) -> Question:
    """Decodes a picture and brings it to what a model expects.

    Args:
        content: the file's bytes.
        expects: `sketch` or `grey`.
        px: side of the model's pictures.
        given: `auto`: line art is extracted for a model of sketches where the picture is none;
            `as_is`: it is taken for line art whatever it looks like.
        most_pixels: what has more is refused by its header.

    Raises:
        PictureFaultError: there is no picture in it, or a too large one.
    """
    with lenient_pillow():
        picture = decoding.decode(content, most_pixels=most_pixels)
    notes = [f"The picture was changed on the way in: {detail}." for _, detail in picture.notes]
    whole = np.asarray(picture.image)
    if expects == "grey":
        if line_art.is_line_art(whole):
            notes.append(
                "This model was trained on grey photographs; the picture looks like line art."
            )
        elif _is_coloured(whole):
            notes.append("This model takes grey photographs: the picture's own colours were left.")
        framed = compositing.frame(compositing.grey_of(whole), px, paper=False)
        return Question(expects, whole, framed, tuple(notes))
    is_extracted = given == "auto" and not line_art.is_line_art(whole)
    if is_extracted:
        notes.append(
            "This model takes line art and the picture is none: its lines were extracted first."
        )
        size = (whole.shape[1], whole.shape[0])
        lines = line_art.extract_lines(whole, px)
        whole = np.asarray(Image.fromarray(lines).resize(size, Image.Resampling.BICUBIC))
    framed = compositing.frame(whole, px, paper=True)
    return Question(expects, whole, framed, tuple(notes), is_extracted)


def _is_coloured(picture: Picture) -> bool:
    small = Image.fromarray(picture)
    small.thumbnail((64, 64))
    channels = np.asarray(small).astype(np.int16)
    return bool((channels.max(axis=-1) - channels.min(axis=-1)).mean() > 4)


def finish(question: Question, answer: Picture) -> Picture:
    """A model's answer, [px, px, 3], as a picture of the question's size."""
    if question.expects == "grey":
        return compositing.keep_lightness(question.whole, question.framed.cut(answer))
    if max(question.whole.shape[:2]) <= answer.shape[0]:  # nothing is enlarged, nothing is lost
        return compositing.resized(question.framed.cut(answer), question.whole)
    return compositing.keep_lines(question.whole, answer, question.framed)


def encode(picture: Picture, format: Format) -> bytes:  # noqa: A002, as the question names it
    """A picture as a file's bytes."""
    out = io.BytesIO()
    options = {"png": {"compress_level": PNG_LEVEL}}.get(format, {"quality": QUALITY})
    Image.fromarray(picture).save(out, format, **options)
    return out.getvalue()
