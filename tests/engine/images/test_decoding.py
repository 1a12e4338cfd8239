"""Reading single picture files: every mode as it is meant, every damage told, none fatal."""

import io
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from engine.images.decoding import EXTENSIONS, fit, read_picture
from engine.images.faults import KINDS, PictureFaultError
from engine.images.pillow import lenient_pillow
from tests.support.image_files import _packaged

LONGEST_S = 5.0  # for any one file, whatever is in it


@pytest.fixture(autouse=True)
def _decoding():
    with lenient_pillow():
        yield


def photograph(width=120, height=80):
    return _packaged()[2].resize((width, height))


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def mean_of(path):
    return np.asarray(read_picture(path).image).mean((0, 1))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "ppm", "gif", "jp2"])
def test_common_formats_are_read(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    photograph().save(path)

    picture = read_picture(path)

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

    picture = read_picture(path)

    assert picture.image.mode == "RGB"
    assert [kind for kind, _ in picture.notes] == ["converted"]
    wanted = grey if is_grey else np.asarray(photograph())
    assert mean_of(path).mean() == pytest.approx(wanted.mean(), abs=2)


def test_transparency_is_laid_on_white(tmp_path):
    glass = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    glass.paste((255, 0, 0, 255), (0, 0, 20, 40))
    glass.save(tmp_path / "a.png")

    pixels = np.asarray(read_picture(tmp_path / "a.png").image)

    assert pixels[5, 5].tolist() == [255, 0, 0]
    assert pixels[5, 30].tolist() == [255, 255, 255]


@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_are_turned_upright(tmp_path, turn):
    exif = Image.Exif()
    exif[0x112] = turn
    marked = Image.new("RGB", (40, 20), "white")
    marked.paste((255, 0, 0), (0, 0, 10, 5))
    undo = {
        **{2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180},
        **{4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE},
        **{6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE},
        8: Image.Transpose.ROTATE_270,
    }
    stored = marked.transpose(undo[turn]) if turn in undo else marked
    stored.save(tmp_path / "a.png", exif=exif)

    picture = read_picture(tmp_path / "a.png")

    assert picture.size == (40, 20)
    assert np.array_equal(np.asarray(picture.image), np.asarray(marked))
    assert [kind for kind, _ in picture.notes] == (["rotated"] if turn > 1 else [])


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(tmp_path):
    path = tmp_path / "a.jpg"
    photograph(2400, 1600).save(path, quality=95)

    small = read_picture(path, (64, 64))
    whole = read_picture(path)

    assert small.image.width == 300
    assert small.size == whole.size == (2400, 1600)
    cuts = [fit(it.image, 64).astype(int) for it in (small, whole)]
    assert np.abs(cuts[0] - cuts[1]).mean() < 1


@pytest.mark.parametrize(
    "options",
    [{}, {"subsampling": 0}, {"progressive": True}, {"quality": 40}, {"exif": Image.Exif()}],
)
def test_a_jpeg_of_the_needed_size_is_decoded_as_pillow_does(tmp_path, options):
    path = tmp_path / "a.jpg"
    photograph(64, 64).save(path, **options)

    quick = read_picture(path, (64, 64))

    with Image.open(path) as image:
        expected = np.asarray(image)
    assert np.array_equal(quick.fit(64), expected)
    assert np.array_equal(np.asarray(quick.image), expected)
    assert np.array_equal(quick.fit(32), fit(quick.image, 32))


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
        ("a.png", encoded(Image.new("1", (20_000, 10_000)), "PNG"), "too_large"),
        ("a.gif", encoded(photograph(), "GIF")[:300], "unreadable"),
    ],
)
def test_a_file_that_is_no_whole_picture_is_refused_with_its_kind(tmp_path, name, content, kind):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(PictureFaultError) as refusal:
        read_picture(tmp_path / name)

    assert refusal.value.kind == kind


def test_what_stands_behind_a_jpeg_says_nothing_of_it(tmp_path):
    for seed in range(8):
        trailer = np.random.default_rng(seed).integers(0, 256, 100_000, dtype=np.uint8)
        (tmp_path / "a.jpg").write_bytes(encoded(photograph(), "JPEG") + trailer.tobytes())
        assert read_picture(tmp_path / "a.jpg").size == (120, 80)
    progressive = encoded(photograph(), "JPEG", progressive=True)
    (tmp_path / "b.jpg").write_bytes(progressive)
    assert read_picture(tmp_path / "b.jpg").size == (120, 80)
    (tmp_path / "b.jpg").write_bytes(progressive[:-2])
    with pytest.raises(PictureFaultError, match="no end marker"):
        read_picture(tmp_path / "b.jpg")


def test_decoders_that_overlap_leave_the_filters_as_they_were():
    before = list(warnings.filters)
    first, second = lenient_pillow(), lenient_pillow()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)

    assert warnings.filters == before


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(PictureFaultError, match="No such file"):
        read_picture(tmp_path / "gone.png")


def malformed(chance):
    """500 files that are wrong in some way: (name, content, whether that can be known)."""
    sizes = [(1, 1), (1, 9_000), (9_000, 1), (3, 2), (65_000, 2), (11_000, 7_000)]
    modes = ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"]
    for number in range(500):
        way = ("truncated", "flipped", "renamed", "extreme", "mode")[number % 5]
        kind = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")[number // 5 % 6]
        suffix = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}.get(
            kind, "tif"
        )
        whole = bytearray(encoded(photograph(), kind))
        if way == "truncated":
            yield f"{number}.{suffix}", bytes(whole[: chance.integers(0, len(whole) - 2)]), True
        elif way == "flipped":
            for _ in range(chance.integers(1, 20)):
                whole[chance.integers(len(whole))] ^= 1 << chance.integers(8)
            # Only PNG has checksums; elsewhere a flipped bit may make another whole picture.
            yield f"{number}.{suffix}", bytes(whole), kind == "PNG"
        elif way == "renamed":
            other = "png" if suffix != "png" else "jpg"
            yield f"{number}.{other}", bytes(whole), True
        elif way == "extreme":
            size = sizes[number // 5 % len(sizes)]
            yield f"{number}.png", encoded(Image.new("1", size), "PNG"), True
        else:
            mode = modes[number // 5 % len(modes)]
            grey = np.asarray(photograph().convert("L"))
            deep = {"I;16": grey.astype(np.uint16) * 257, "I": grey.astype(np.int32) * 257}
            deep["F"] = grey.astype(np.float32) / 255
            picture = Image.fromarray(deep[mode]) if mode in deep else photograph().convert(mode)
            tiff = mode in ("CMYK", "I", "F")
            content = encoded(picture, "TIFF" if tiff else "PNG")
            yield f"{number}.{'tif' if tiff else 'png'}", content, True


@pytest.mark.slow
def test_500_malformed_files_neither_crash_nor_hang_and_each_is_told(tmp_path):
    silent = []
    for name, content, can_be_known in malformed(np.random.default_rng(7)):
        (tmp_path / name).write_bytes(content)
        started = time.monotonic()
        try:
            told = read_picture(tmp_path / name, (64, 64)).notes
        except PictureFaultError as refusal:
            told = ((refusal.kind, refusal.detail),)
        assert time.monotonic() - started < LONGEST_S
        assert all(kind in KINDS and detail for kind, detail in told)
        if can_be_known and not told:
            silent.append(name)
    assert silent == []


def test_every_extension_that_is_looked_for_has_a_decoder():
    assert not EXTENSIONS - Image.registered_extensions().keys()
