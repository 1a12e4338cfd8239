"""From the modes that pictures are stored in to RGB, eight bits a channel."""

import numpy as np
from PIL import Image

from engine.images.faults import PictureFaultError


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture of eight bits a channel as RGB; what is transparent is laid on white."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        paper = Image.new("RGB", coloured.size, "white")
        paper.paste(coloured, mask=coloured.getchannel("A"))
        return paper
    return image.convert("RGB")


def from_deep(image: Image.Image) -> Image.Image:
    """Integers of 16 bits, or floats in [0, 1] or [0, 255], as RGB; Pillow's own convert clips."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise PictureFaultError("unreadable", "it has values that are not finite")
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" and high <= 1:
        values = values * 255
    elif image.mode != "F" and not (image.mode == "I" and high <= 255):  # 8 bits in a wide type
        values = values / 257
    if low < 0 or values.max() > 255:
        raise PictureFaultError("unreadable", f"values from {low:g} to {high:g} are no colours")
    return Image.fromarray(values.round().astype(np.uint8), "L").convert("RGB")
