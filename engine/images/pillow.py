"""Filters Pillow's warnings, converts images to 8-bit RGB, and finds truncated JPEG files.

Importing this module disables the warnings of Pillow's modules in the whole process. They are not
needed: `decoding` raises an error or adds a note for every problem of a file.
"""

import re
import warnings

import numpy as np
from PIL import Image

from engine.images.faults import PictureFaultError

warnings.filterwarnings("ignore", module=r"PIL\.")

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
# Restart markers (D0 to D7) may occur within coded data, so they do not end the data.
_JPEG_MARKER_IN_DATA = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts an image of 8 bits per channel to RGB; transparent areas become white."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        background = Image.new("RGB", rgba.size, "white")
        background.paste(rgba, mask=rgba.getchannel("A"))
        return background
    return image.convert("RGB")


def high_bit_depth_to_rgb(image: Image.Image) -> Image.Image:
    """Scales an image of more than 8 bits per channel to RGB; Pillow's conversion clips values.

    Args:
        image: a grey image of 16-bit integers, of 8-bit values in a wider integer type, or of
            floats in [0, 1] or [0, 255]. Integers of mode `I` up to 255 are read as 8-bit values.

    Raises:
        PictureFaultError: some values are not finite, or outside the range of their type.
    """
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise PictureFaultError("unreadable", "it has values that are not finite")
    low, high = float(values.min()), float(values.max())
    is_8_bit_in_wide_type = image.mode == "I" and high <= 255
    if image.mode == "F" and high <= 1:
        values = values * 255
    elif image.mode != "F" and not is_8_bit_in_wide_type:
        values = values / 257
    if low < 0 or values.max() > 255:
        raise PictureFaultError("unreadable", f"values from {low:g} to {high:g} are not colours")
    return Image.fromarray(values.round().astype(np.uint8)).convert("RGB")


def is_complete_jpeg(content: bytes) -> bool:
    """Returns whether a JPEG file has an end marker, because decoders accept truncated files.

    Markers in metadata segments and after the end of the image do not count.
    """
    position, in_data = 2, False
    while marker := (_JPEG_MARKER_IN_DATA if in_data else _JPEG_MARKER).search(content, position):
        kind, position = content[marker.end() - 1], marker.end()
        if kind == _END_OF_IMAGE:
            return True
        in_data = in_data or kind == _START_OF_SCAN
        position += int.from_bytes(content[position : position + 2], "big")  # length of the segment
    return False
