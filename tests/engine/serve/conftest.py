"""A server on the models of the trained study, asked in this process, and pictures to ask about."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from starlette.testclient import TestClient

from engine.serve.app import build_app
from engine.serve.limits import Limits
from engine.serve.service import Choice, Serving

HERE = "http://127.0.0.1"


def drawing(seed=0, size=(300, 200)):
    """Line art: a few dark lines on white paper, [H, W, 3]."""
    chance = np.random.default_rng(seed)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    width = max(2, max(size) // 60)
    for _ in range(5):
        ends = chance.integers(0, size, (2, 2)).astype(float)
        pen.line([tuple(it) for it in ends.tolist()], "black", width)
    left, top = (int(it) for it in chance.integers(0, np.array(size) // 2))
    pen.ellipse([left, top, left + size[0] // 2, top + size[1] // 2], outline="black", width=width)
    return np.asarray(image)


def photograph(size=(300, 200), seed=0):
    """Smooth colours with some texture, as a photograph has, [H, W, 3]."""
    chance = np.random.default_rng(seed)
    coarse = Image.fromarray(chance.integers(20, 230, (5, 6, 3), dtype=np.uint8))
    picture = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = picture + chance.integers(-6, 7, picture.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def as_file(picture, kind="png", **options):
    """A picture as a file's bytes."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, kind, **options)
    return out.getvalue()


def as_picture(content):
    """A file's bytes as [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.fixture(scope="module")
def serving(trained):
    made = Serving(
        trained.store, trained.settings, Choice(), Limits(file_bytes=2**20), device="cpu"
    )
    made.look()
    return made


@pytest.fixture(scope="module")
def client(serving):
    with TestClient(build_app(serving), base_url=HERE) as opened:
        yield opened


def post(client, content, **query):
    return client.post("/api/v1/colorize", files={"file": ("a.png", content)}, params=query)
