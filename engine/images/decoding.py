"""Decodes an image file to upright 8-bit sRGB, or reports why the file cannot be decoded.

Every error of a decoder becomes a `PictureFaultError`. Truncated files are refused.
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
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from engine.errors import EngineError
from engine.images import pillow
from engine.images.faults import PictureFaultError

try:
    import simplejpeg
except ImportError:  # without the extra `fast`, Pillow decodes every file
    simplejpeg = None

MAX_PIXELS = 64_000_000
EXTENSIONS = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
    }
)
# Pillow tries only these formats, because some of the others start external programs.
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
_HIGH_BIT_DEPTH_MODES = ("I", "F")  # first letter of Pillow's modes with more than 8 bits
_MODE_NAMES = {
    "1": "black and white",
    "L": "grey",
    "P": "a palette",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "LAB": "Lab",
    "HSV": "HSV",
}
GREY_NOTE = ("converted", f"{_MODE_NAMES['L']} converted to RGB")
# Errors of the file itself. Other errors, for example of a failing disk, may be temporary.
_FILE_ERRNOS = {
    *(errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP),
    errno.ENAMETOOLONG,
}
_MIN_DRAFT_FACTOR = 2  # smallest ratio of a JPEG's reduced size to the needed size


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image, in RGB and upright.

    Attributes:
        decoded: a Pillow image, perhaps of a reduced size; or [height, width, 3] bytes if the image
            in the file has the needed size.
        size: the width and height of the upright image in the file, in pixels.
        notes: (kind, detail) of every conversion during decoding.
    """

    decoded: Image.Image | NDArray[np.uint8]
    size: tuple[int, int]
    notes: tuple[tuple[str, str], ...]

    @cached_property
    def image(self) -> Image.Image:
        """The decoded image as a Pillow image."""
        decoded = self.decoded
        return decoded if isinstance(decoded, Image.Image) else Image.fromarray(decoded)

    def resize_square(self, px: int) -> NDArray[np.uint8]:
        """Crops and scales like the function `resize_square`, unless the size already fits."""
        decoded = self.decoded
        if not isinstance(decoded, Image.Image) and decoded.shape[:2] == (px, px):
            return decoded
        return resize_square(self.image, px)


def load_upright_size(path: Path) -> tuple[int, int]:
    """Reads the width and height of the upright image from a file's header.

    Raises:
        PictureFaultError: the header is unreadable, or states more than 64 megapixels.
    """
    with _decoder_errors(b""), Image.open(path, formats=_FORMATS) as image:
        _check_pixels(image.size)
        width, height = image.size
        return (height, width) if (_orientation(image) or 1) >= 5 else (width, height)


def image_size(content: bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Parses the width and height in the header of a file's content; ignores the EXIF orientation.

    Raises:
        PictureFaultError: the header is unreadable, or states more than `max_pixels` pixels.
    """
    if not content:
        raise PictureFaultError("empty", "the file has 0 bytes")
    with (
        _decoder_errors(content, max_pixels),
        Image.open(io.BytesIO(content), formats=_FORMATS) as image,
    ):
        _check_pixels(image.size, max_pixels)
        return image.size


def load_image(path: Path, needed_size: tuple[int, int] | None = None) -> DecodedImage:
    """Loads and decodes an image file.

    Args:
        path: the file.
        needed_size: the width and height in pixels to which the caller will scale the image down.
            A JPEG may be decoded at a reduced size that is at least twice the needed size. None:
            the image is decoded at its full size.

    Raises:
        PictureFaultError: the file cannot be decoded; the error has the kind and the reason.
        EngineError: the disk failed, or there is not enough memory; another attempt may succeed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        if error.errno not in _FILE_ERRNOS:
            raise EngineError(f"{path} cannot be read now ({error.strerror}).") from error
        raise PictureFaultError("unreadable", error.strerror or str(error)) from error
    return decode(content, path.suffix.lower(), needed_size)


def decode(
    content: bytes,
    suffix: str = "",
    needed_size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> DecodedImage:
    """Decodes the content of an image file.

    Args:
        content: the file's bytes.
        suffix: the file's extension in lower case; a note is added if the format differs.
        needed_size: as for `load_image`.
        max_pixels: the largest number of pixels; larger images are refused.

    Raises:
        PictureFaultError: the content cannot be decoded; the error has the kind and the reason.
        EngineError: there is not enough memory.
    """
    if not content:
        raise PictureFaultError("empty", "the file has 0 bytes")
    with _decoder_errors(content, max_pixels):
        _check_integrity(content)
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        _check_pixels(image.size, max_pixels)
        return _to_upright_rgb(image, content, suffix, needed_size)


def _to_upright_rgb(
    image: ImageFile.ImageFile, content: bytes, suffix: str, needed_size: tuple[int, int] | None
) -> DecodedImage:
    notes = list(_conversion_notes(image, suffix))
    size, mode = image.size, image.mode
    is_jpeg = image.format in ("JPEG", "MPO")
    if is_jpeg and needed_size is not None:
        width, height = needed_size
        image.draft(None, (width * _MIN_DRAFT_FACTOR, height * _MIN_DRAFT_FACTOR))
    orientation = _orientation(image)
    # simplejpeg is faster than Pillow, except for images that are scaled afterwards.
    if is_jpeg and size == needed_size and mode == "RGB" and orientation == 1:
        pixels = _decode_intact_jpeg(content)
        if pixels is not None:
            return DecodedImage(pixels, size, tuple(notes))
    image.load()
    upright: Image.Image = image
    if orientation is None:
        notes.append(("converted", "damaged EXIF data was ignored"))
    elif orientation > 1:
        notes.append(("rotated", f"turned upright (EXIF orientation {orientation})"))
        upright = ImageOps.exif_transpose(image)
        if orientation >= 5:  # a quarter turn exchanges width and height
            size = (size[1], size[0])
    is_high_bit_depth = mode.startswith(_HIGH_BIT_DEPTH_MODES)
    rgb = pillow.high_bit_depth_to_rgb(upright) if is_high_bit_depth else pillow.to_rgb(upright)
    return DecodedImage(rgb, size, tuple(notes))


def _decode_intact_jpeg(content: bytes) -> NDArray[np.uint8] | None:
    """Decodes a JPEG with simplejpeg -> [height, width, 3] bytes, equal to those of Pillow.

    Returns None if simplejpeg is not installed or reports any damage. Pillow then decodes or
    refuses the file, so that the result does not depend on simplejpeg.
    """
    if simplejpeg is None:
        return None
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, strict=True)
    except ValueError:
        return None
    return pixels


def resize_square(image: Image.Image, px: int) -> NDArray[np.uint8]:
    """Crops the central square of an L or RGB image and scales it -> [px, px, channels] bytes."""
    return _resize_square(image, px, Image.Resampling.BICUBIC, None)


def resize_fast(image: Image.Image, px: int) -> NDArray[np.uint8]:
    """Crops and scales by box averages: faster than `resize_square`, for statistics only."""
    return _resize_square(image, px, Image.Resampling.BOX, 1.0)


def _resize_square(
    image: Image.Image, px: int, resampling: Image.Resampling, reducing_gap: float | None
) -> NDArray[np.uint8]:
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    if image.size != (px, px):
        box = (left, top, left + side, top + side)
        image = image.resize((px, px), resampling, box, reducing_gap)
    pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


@contextmanager
def _decoder_errors(content: bytes, max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Turns any exception of a decoder into a `PictureFaultError`."""
    try:
        yield
    except EngineError:
        raise
    except UnidentifiedImageError as error:
        if content.startswith(_SIGNATURES) or content[4:8] == b"ftyp":
            raise PictureFaultError(
                "unreadable", "its header is damaged, or of an unsupported kind"
            ) from error
        raise PictureFaultError(
            "not_a_picture", "its content is no picture of a supported format"
        ) from error
    except Image.DecompressionBombError as error:
        pixels = int((re.findall(r"\d+", str(error)) or [0])[0])
        raise _too_large(pixels, max_pixels) from error
    except MemoryError as error:  # a fault of the machine, not of the file
        raise EngineError("There is not enough memory to decode a picture.") from error
    except Exception as error:  # for damaged files, decoders raise exceptions of any type
        reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
        if "truncated" in reason.lower():
            reason = "the file is truncated"
        raise PictureFaultError("unreadable", reason) from error


def _check_pixels(size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> None:
    if size[0] * size[1] > max_pixels:
        raise _too_large(size[0] * size[1], max_pixels)


def _too_large(pixels: int, max_pixels: int) -> PictureFaultError:
    detail = f"{pixels / 1e6:,.0f} megapixels; at most {max_pixels / 1e6:.0f} are allowed"
    return PictureFaultError("too_large", detail)


def _check_integrity(content: bytes) -> None:
    """Finds damage that decoders ignore: wrong checksums in a PNG, a missing end in a JPEG."""
    if content.startswith(b"\x89PNG"):
        image = Image.open(io.BytesIO(content), formats=("PNG",))
        _check_pixels(image.size)
        image.verify()
    elif content.startswith(b"\xff\xd8\xff") and not pillow.is_complete_jpeg(content):
        raise PictureFaultError("unreadable", "the file is truncated: it has no end marker")


def _conversion_notes(image: ImageFile.ImageFile, suffix: str) -> Iterator[tuple[str, str]]:
    """Yields (kind, detail) of each conversion that the image needs, except for its rotation."""
    if any("16" in str(tile[3]) for tile in image.tile) or image.mode.startswith("I;16"):
        yield "sixteen_bit", "16 bits per channel, scaled to 8"
    elif image.mode.startswith(_HIGH_BIT_DEPTH_MODES):
        yield "converted", f"mode {image.mode}, scaled to 8 bits"
    if image.has_transparency_data:
        yield "converted", "transparent areas became white"
    elif image.mode in _MODE_NAMES:
        yield "converted", f"{_MODE_NAMES[image.mode]} converted to RGB"
    if image.format != "MPO" and getattr(image, "is_animated", False):
        yield "converted", "animated: only its first picture is used"
    format_of_suffix = Image.registered_extensions().get(suffix)
    if format_of_suffix is not None and image.format not in (format_of_suffix, "MPO"):
        yield "converted", f"a {image.format} picture named {suffix}"


def _orientation(image: Image.Image) -> int | None:
    """Returns the EXIF orientation, 1 to 8; None if the EXIF data is damaged."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # for a damaged EXIF block, Pillow raises exceptions of any type
        return None
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
