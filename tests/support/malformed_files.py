"""Image files that are malformed in many ways."""

import io

import numpy as np
from PIL import Image

from tests.support.image_files import packaged_photographs


def photograph(width=120, height=80):
    return packaged_photographs()[2].resize((width, height))


def malformed(rng):
    """Yields 500 malformed files: (name, content, whether the fault can be detected)."""
    sizes = [(1, 1), (1, 9_000), (9_000, 1), (3, 2), (65_000, 2), (11_000, 7_000)]
    modes = ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"]
    for number in range(500):
        damage = ("truncated", "flipped", "renamed", "extreme", "mode")[number % 5]
        image_format = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")[number // 5 % 6]
        suffixes = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}
        suffix = suffixes.get(image_format, "tif")
        content = bytearray(encoded(photograph(), image_format))
        if damage == "truncated":
            end = rng.integers(0, len(content) - 2)
            yield f"{number}.{suffix}", bytes(content[:end]), True
        elif damage == "flipped":
            for _ in range(rng.integers(1, 20)):
                content[rng.integers(len(content))] ^= 1 << rng.integers(8)
            # Only PNG has checksums; in other formats, flipped bits may give another valid picture.
            yield f"{number}.{suffix}", bytes(content), image_format == "PNG"
        elif damage == "renamed":
            wrong_suffix = "png" if suffix != "png" else "jpg"
            yield f"{number}.{wrong_suffix}", bytes(content), True
        elif damage == "extreme":
            size = sizes[number // 5 % len(sizes)]
            yield f"{number}.png", encoded(Image.new("1", size), "PNG"), True
        else:
            mode = modes[number // 5 % len(modes)]
            grey = np.asarray(photograph().convert("L"))
            arrays = {"I;16": grey.astype(np.uint16) * 257, "I": grey.astype(np.int32) * 257}
            arrays["F"] = grey.astype(np.float32) / 255
            if mode in arrays:
                picture = Image.fromarray(arrays[mode])
            else:
                picture = photograph().convert(mode)
            is_tiff = mode in ("CMYK", "I", "F")
            suffix = "tif" if is_tiff else "png"
            yield f"{number}.{suffix}", encoded(picture, "TIFF" if is_tiff else "PNG"), True


def encoded(picture, image_format, **options):
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **options)
    return buffer.getvalue()
