"""Pictures as uploads, and requests to the model server."""

import io

import numpy as np
from PIL import Image, ImageDraw

BASE_URL = "http://127.0.0.1"


def drawing(seed=0, size=(300, 200)):
    """Draws line art: a few dark lines on white paper, [H, W, 3]."""
    generator = np.random.default_rng(seed)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    width = max(2, max(size) // 60)
    for _ in range(5):
        points = generator.integers(0, size, (2, 2)).astype(float)
        pen.line([tuple(point) for point in points.tolist()], "black", width)
    left, top = generator.integers(0, np.array(size) // 2).tolist()
    pen.ellipse([left, top, left + size[0] // 2, top + size[1] // 2], outline="black", width=width)
    return np.asarray(image)


def photograph(size=(300, 200), seed=0):
    """Makes smooth colours with some noise, like a photograph, [H, W, 3]."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(20, 230, (5, 6, 3), dtype=np.uint8))
    picture = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = picture + generator.integers(-6, 7, picture.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def as_file(picture, kind="png", **options):
    """Encodes a picture as an image file."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, kind, **options)
    return out.getvalue()


def as_picture(content):
    """Decodes an image file to [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def post(client, content, **query):
    return client.post("/api/v1/colorize", files={"file": ("a.png", content)}, params=query)
