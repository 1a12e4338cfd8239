"""Tests of decoding: every mode becomes RGB, every damage is reported, and none is fatal."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from engine.images import decoding
from engine.images.decoding import EXTENSIONS, load_image, resize_square
from engine.images.faults import FAULT_KINDS, PictureFaultError
from tests.support.malformed_files import encoded, malformed, photograph


def mean_of(path):
    return np.asarray(load_image(path).image).mean((0, 1))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "ppm", "gif", "jp2"])
def test_common_formats_are_decoded(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    photograph().save(path)

    picture = load_image(path)

    assert picture.image.mode == "RGB"
    assert picture.size == (120, 80)
    assert mean_of(path) == pytest.approx(np.asarray(photograph()).mean((0, 1)), abs=4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "CMYK", "YCbCr", "RGBA", "LAB", "F"])
def test_every_mode_becomes_rgb_and_is_noted(tmp_path, mode):
    suffix = "png" if mode in ("1", "L", "LA", "P", "RGBA") else "tif"
    path = tmp_path / f"a.{suffix}"
    grey = np.asarray(photograph().convert("L"), np.float32)
    is_grey = mode in ("1", "L", "LA", "F")
    (Image.fromarray(grey / 255) if mode == "F" else photograph().convert(mode)).save(path)

    picture = load_image(path)

    assert picture.image.mode == "RGB"
    assert [kind for kind, _ in picture.notes] == ["converted"]
    expected = grey if is_grey else np.asarray(photograph())
    assert mean_of(path).mean() == pytest.approx(expected.mean(), abs=2)


def test_transparent_areas_become_white(tmp_path):
    transparent = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    transparent.paste((255, 0, 0, 255), (0, 0, 20, 40))
    transparent.save(tmp_path / "a.png")

    pixels = np.asarray(load_image(tmp_path / "a.png").image)

    assert pixels[5, 5].tolist() == [255, 0, 0]
    assert pixels[5, 30].tolist() == [255, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    marked = Image.new("RGB", (40, 20), "white")
    marked.paste((255, 0, 0), (0, 0, 10, 5))
    inverse = {
        **{2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180},
        **{4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE},
        **{6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE},
        8: Image.Transpose.ROTATE_270,
    }
    stored = marked.transpose(inverse[orientation]) if orientation in inverse else marked
    stored.save(tmp_path / "a.png", exif=exif)

    picture = load_image(tmp_path / "a.png")

    assert picture.size == (40, 20)
    assert np.array_equal(np.asarray(picture.image), np.asarray(marked))
    assert [kind for kind, _ in picture.notes] == (["rotated"] if orientation > 1 else [])


def test_a_large_jpeg_is_decoded_at_a_reduced_size_and_looks_the_same(tmp_path):
    path = tmp_path / "a.jpg"
    photograph(2400, 1600).save(path, quality=95)

    reduced = load_image(path, (64, 64))
    full = load_image(path)

    assert reduced.image.width == 300
    assert reduced.size == full.size == (2400, 1600)
    resized = [resize_square(picture.image, 64).astype(int) for picture in (reduced, full)]
    assert np.abs(resized[0] - resized[1]).mean() < 1


@pytest.mark.parametrize(
    "options",
    [{}, {"subsampling": 0}, {"progressive": True}, {"quality": 40}, {"exif": Image.Exif()}],
)
def test_a_jpeg_of_the_needed_size_is_decoded_like_pillow(tmp_path, options):
    path = tmp_path / "a.jpg"
    photograph(64, 64).save(path, **options)

    picture = load_image(path, (64, 64))

    with Image.open(path) as image:
        expected = np.asarray(image)
    assert np.array_equal(picture.resize_square(64), expected)
    assert np.array_equal(np.asarray(picture.image), expected)
    assert np.array_equal(picture.resize_square(32), resize_square(picture.image, 32))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "grey"])
@pytest.mark.parametrize("size", [(64, 64), (33, 17), (1, 7)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_a_jpeg_has_the_same_pixels_without_simplejpeg(monkeypatch, subsampling, size, options):
    is_grey = subsampling == "grey"
    picture = photograph(*size).convert("L" if is_grey else "RGB")
    content = encoded(picture, "JPEG", subsampling=0 if is_grey else subsampling, **options)

    with_simplejpeg = np.asarray(decoding.decode(content, ".jpg", size).image)
    monkeypatch.setattr(decoding, "simplejpeg", None)
    without_simplejpeg = np.asarray(decoding.decode(content, ".jpg", size).image)

    assert with_simplejpeg.shape == (size[1], size[0], 3)
    assert np.array_equal(with_simplejpeg, without_simplejpeg)


def test_a_damaged_jpeg_has_the_same_outcome_without_simplejpeg(monkeypatch):
    def outcomes():
        return [pixels_or_reason(content) for content in damaged_jpegs(300)]

    with_simplejpeg = outcomes()
    monkeypatch.setattr(decoding, "simplejpeg", None)
    without_simplejpeg = outcomes()

    assert with_simplejpeg == without_simplejpeg
    assert {type(outcome) for outcome in with_simplejpeg} == {bytes, str}


def damaged_jpegs(count):
    """Yields JPEG files of 64 px with a changed byte, a missing part or an inserted part."""
    chance = np.random.default_rng(7)
    intact = encoded(photograph(64, 64), "JPEG")
    for number in range(count):
        start, stop = sorted(chance.integers(2, len(intact) - 2, 2))
        parts = (bytes([chance.integers(256)]) + intact[start + 1 : stop], b"", chance.bytes(20))
        yield intact[:start] + parts[number % 3] + intact[stop:]


def pixels_or_reason(content):
    try:
        return decoding.decode(content, ".jpg", (64, 64)).resize_square(64).tobytes()
    except PictureFaultError as refusal:
        return str(refusal)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.png", b"", "empty"),
        ("a.png", b"<svg xmlns='...'></svg>", "not_a_picture"),
        ("a.jpg", b"\0" * 5000, "not_a_picture"),
        ("a.png", encoded(photograph(), "PNG")[:40], "unreadable"),
        ("a.png", encoded(photograph(), "PNG")[:-20], "unreadable"),
        ("a.png", encoded(photograph(), "PNG")[:-12], "unreadable"),
        ("a.jpg", encoded(photograph(), "JPEG")[:-2], "unreadable"),
        ("a.jpg", encoded(photograph(), "JPEG")[:600], "unreadable"),
        ("a.webp", encoded(photograph(), "WEBP")[:-200], "unreadable"),
        ("a.png", encoded(Image.new("1", (9_000, 8_000)), "PNG"), "too_large"),
        ("a.png", encoded(Image.new("1", (10_000, 10_000)), "PNG"), "too_large"),  # Pillow warns
        ("a.png", encoded(Image.new("1", (20_000, 10_000)), "PNG"), "too_large"),  # Pillow raises
        ("a.gif", encoded(photograph(), "GIF")[:300], "unreadable"),
    ],
)
def test_a_file_that_is_no_intact_picture_is_refused_with_its_kind(tmp_path, name, content, kind):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(PictureFaultError) as refusal:
        load_image(tmp_path / name)

    assert refusal.value.kind == kind


def test_data_after_the_end_of_a_jpeg_is_ignored(tmp_path):
    for seed in range(8):
        trailer = np.random.default_rng(seed).integers(0, 256, 100_000, dtype=np.uint8)
        (tmp_path / "a.jpg").write_bytes(encoded(photograph(), "JPEG") + trailer.tobytes())
        assert load_image(tmp_path / "a.jpg").size == (120, 80)
    progressive = encoded(photograph(), "JPEG", progressive=True)
    (tmp_path / "b.jpg").write_bytes(progressive)
    assert load_image(tmp_path / "b.jpg").size == (120, 80)
    (tmp_path / "b.jpg").write_bytes(progressive[:-2])
    with pytest.raises(PictureFaultError, match="no end marker"):
        load_image(tmp_path / "b.jpg")


def test_warnings_of_pillow_are_ignored_and_all_others_are_not(tmp_path):
    script = """
        import warnings
        from pathlib import Path
        from engine.images.decoding import load_image
        from engine.images.faults import PictureFaultError

        try:
            load_image(Path("large.png"))
        except PictureFaultError as error:
            print(error.kind)
        try:
            warnings.warn("another warning")
        except UserWarning as warning:
            print(warning)
    """
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")  # Pillow warns about its size

    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)

    assert result.stdout.splitlines() == ["too_large", "another warning"]


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(PictureFaultError, match="No such file"):
        load_image(tmp_path / "gone.png")


@pytest.mark.slow
def test_500_malformed_files_neither_crash_nor_hang_and_each_is_reported(tmp_path):
    unreported = []
    for name, content, is_detectable in malformed(np.random.default_rng(7)):
        (tmp_path / name).write_bytes(content)
        try:
            faults = load_image(tmp_path / name, (64, 64)).notes
        except PictureFaultError as refusal:
            faults = ((refusal.kind, refusal.detail),)
        assert all(kind in FAULT_KINDS and detail for kind, detail in faults)
        if is_detectable and not faults:
            unreported.append(name)
    assert unreported == []


def test_every_supported_extension_has_a_decoder():
    assert not EXTENSIONS - Image.registered_extensions().keys()
