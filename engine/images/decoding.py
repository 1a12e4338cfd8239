"""Reads one picture file as it is meant: upright, in RGB, eight bits a channel; or says why not.

Every decoder's fault ends here as a `PictureFaultError`. Truncated pictures are never completed.
"""

import errno
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from engine.errors import EngineError
from engine.images import modes
from engine.images.faults import PictureFaultError
from engine.images.jpeg import has_end

MAX_PIXELS = 64_000_000
EXTENSIONS = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
    }
)
# Nothing else is tried: among Pillow's other formats are some that start programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
_SIGNATURES = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\f",
)
_DEEP_MODES = ("I", "F")  # the first letter of Pillow's modes of more than 8 bits
_PLAIN_MODES = {
    "1": "black and white",
    "L": "grey",
    "P": "a palette",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "LAB": "Lab",
    "HSV": "HSV",
}
_OF_THE_FILE = {
    *(errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP),
    errno.ENAMETOOLONG,
}
_DRAFT_GAP = 2  # a JPEG may be decoded at a reduced size of at least so many times what is needed


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        decoded: RGB, upright, perhaps of a reduced size: a picture, or its [height, width, 3] bytes
            where there is nothing to scale.
        size: width and height of the whole picture, upright, in pixels.
        notes: (kind, detail) of what was done to it on the way in.
    """

    decoded: Image.Image | NDArray[np.uint8]
    size: tuple[int, int]
    notes: tuple[tuple[str, str], ...]

    @cached_property
    def image(self) -> Image.Image:
        """The same as a picture to be cut and scaled."""
        whole = self.decoded
        return whole if isinstance(whole, Image.Image) else Image.fromarray(whole)

    def fit(self, px: int) -> NDArray[np.uint8]:
        """As `fit` has it, without a detour where it is of that size already."""
        whole = self.decoded
        if not isinstance(whole, Image.Image) and whole.shape[:2] == (px, px):
            return whole
        return fit(self.image, px)


def read_size(path: Path) -> tuple[int, int]:
    """Width and height by the header alone, of the upright picture.

    Raises:
        PictureFaultError: the header cannot be read, or says more than 64 megapixels.
    """
    with _faults_told(b""), Image.open(path, formats=_FORMATS) as image:
        _check_pixels(image.size)
        width, height = image.size
        return (height, width) if (_orientation(image) or 1) >= 5 else (width, height)


def measure(content: bytes, most_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of a picture file's content by its header, as it is stored.

    Raises:
        PictureFaultError: the header cannot be read, or says more pixels than that.
    """
    if not content:
        raise PictureFaultError("empty", "the file has 0 bytes")
    with (
        _faults_told(content, most_pixels),
        Image.open(io.BytesIO(content), formats=_FORMATS) as image,
    ):
        _check_pixels(image.size, most_pixels)
        return image.size


def read_picture(path: Path, needed: tuple[int, int] | None = None) -> Picture:
    """Reads a picture.

    Args:
        path: the file.
        needed: width and height in pixels that the reader will scale down to; a JPEG may then be
            decoded at a reduced size, at least twice that. None: at its full size.

    Raises:
        PictureFaultError: there is no picture to be had from it; says the kind and the reason.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        if error.errno not in _OF_THE_FILE:  # of the disk or the machine: it may pass
            raise EngineError(f"{path} cannot be read now ({error.strerror}).") from error
        raise PictureFaultError("unreadable", error.strerror or str(error)) from error
    return decode(content, path.suffix.lower(), needed)


def decode(
    content: bytes,
    suffix: str = "",
    needed: tuple[int, int] | None = None,
    most_pixels: int = MAX_PIXELS,
) -> Picture:
    """Decodes a picture file's content.

    Args:
        content: the file's bytes.
        suffix: how its name ended, in lower case, for a note where it named another format.
        needed: as for `read_picture`.
        most_pixels: what has more is refused by its header.

    Raises:
        PictureFaultError: there is no picture to be had from it; says the kind and the reason.
    """
    if not content:
        raise PictureFaultError("empty", "the file has 0 bytes")
    with _faults_told(content, most_pixels):
        _check_whole(content)
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        _check_pixels(image.size, most_pixels)
        return _standardise(image, content, suffix, needed)


def _standardise(
    image: ImageFile.ImageFile, content: bytes, suffix: str, needed: tuple[int, int] | None
) -> Picture:
    notes = list(_notes(image, suffix))
    size, mode = image.size, image.mode
    lossy = image.format in ("JPEG", "MPO")
    if lossy and needed is not None:
        image.draft(None, (needed[0] * _DRAFT_GAP, needed[1] * _DRAFT_GAP))
    turn = _orientation(image)
    if lossy and size == needed and mode == "RGB" and turn == 1:
        # Two thirds of Pillow's time, for the same pixels; no gain where they are to be scaled.
        return Picture(simplejpeg.decode_jpeg(content), size, tuple(notes))
    image.load()
    upright: Image.Image = image
    if turn is None:
        notes.append(("converted", "damaged EXIF data was ignored"))
    elif turn > 1:
        notes.append(("rotated", f"turned upright (EXIF orientation {turn})"))
        upright = ImageOps.exif_transpose(image)
        if turn >= 5:  # a quarter turn
            size = (size[1], size[0])
    deep = mode.startswith(_DEEP_MODES)
    plain = modes.from_deep(upright) if deep else modes.to_rgb(upright)
    return Picture(plain, size, tuple(notes))


def fit(image: Image.Image, px: int) -> NDArray[np.uint8]:
    """The central square of an L or RGB picture, scaled to [px, px, channels] bytes."""
    return _scaled(image, px, Image.Resampling.BICUBIC, None)


def glance(image: Image.Image, px: int) -> NDArray[np.uint8]:
    """The same by plain averages: quick, and good enough to measure by."""
    return _scaled(image, px, Image.Resampling.BOX, 1.0)


def _scaled(
    image: Image.Image, px: int, how: Image.Resampling, gap: float | None
) -> NDArray[np.uint8]:
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    if image.size != (px, px):
        image = image.resize((px, px), how, (left, top, left + side, top + side), gap)
    pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


@contextmanager
def _faults_told(content: bytes, most_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Turns whatever a decoder raises into a `PictureFaultError`."""
    try:
        yield
    except EngineError:
        raise
    except UnidentifiedImageError as error:
        if content.startswith(_SIGNATURES) or content[4:8] == b"ftyp":
            raise PictureFaultError(
                "unreadable", "its header is damaged, or of a kind that is not read"
            ) from error
        raise PictureFaultError(
            "not_a_picture", "its content is no picture that is read"
        ) from error
    except Image.DecompressionBombError as error:
        pixels = int((re.findall(r"\d+", str(error)) or [0])[0])
        raise _too_large(pixels, most_pixels) from error
    except MemoryError as error:  # of the machine, not of the picture
        raise EngineError("There is not enough memory to decode a picture.") from error
    except Exception as error:  # decoders of damaged files raise anything
        reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
        if "truncated" in reason.lower():
            reason = "the file is truncated"
        raise PictureFaultError("unreadable", reason) from error


def _check_pixels(size: tuple[int, int], most: int = MAX_PIXELS) -> None:
    if size[0] * size[1] > most:
        raise _too_large(size[0] * size[1], most)


def _too_large(pixels: int, most: int = MAX_PIXELS) -> PictureFaultError:
    detail = f"{pixels / 1e6:,.0f} megapixels; at most {most / 1e6:.0f} are read"
    return PictureFaultError("too_large", detail)


def _check_whole(content: bytes) -> None:
    """Finds damage that the decoders pass over: checksums of a PNG, the end of a JPEG."""
    if content.startswith(b"\x89PNG"):
        image = Image.open(io.BytesIO(content), formats=("PNG",))
        _check_pixels(image.size)
        image.verify()
    elif content.startswith(b"\xff\xd8\xff") and not has_end(content):
        raise PictureFaultError("unreadable", "the file is truncated: it has no end marker")


def _notes(image: ImageFile.ImageFile, suffix: str) -> Iterator[tuple[str, str]]:
    if any("16" in str(tile[3]) for tile in image.tile) or image.mode.startswith("I;16"):
        yield "sixteen_bit", "16 bits a channel, scaled to 8"
    elif image.mode.startswith(_DEEP_MODES):
        yield "converted", f"mode {image.mode}, scaled to 8 bits"
    if image.has_transparency_data:
        yield "converted", "transparency, laid on white"
    elif image.mode in _PLAIN_MODES:
        yield "converted", f"{_PLAIN_MODES[image.mode]} brought to RGB"
    if image.format != "MPO" and getattr(image, "is_animated", False):
        yield "converted", "animated, its first picture is taken"
    named = Image.registered_extensions().get(suffix)
    if named is not None and image.format not in (named, "MPO"):
        yield "converted", f"a {image.format} picture named {suffix}"


def _orientation(image: Image.Image) -> int | None:
    """1 to 8 as EXIF has it; None when the data is damaged."""
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block raises anything
        return None
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1
