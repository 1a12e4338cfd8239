"""Tests of surveys: planted faults of every kind are found, and no others."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from engine.data import packing
from engine.data.sources import exclusions
from engine.data.sources.registry import parse_source
from engine.data.survey import summary
from engine.data.survey.survey import load_survey, make_survey, survey_dir
from engine.errors import BadInputError, EngineError
from engine.images.faults import FAULT_KINDS
from engine.jobs import planning
from tests.support.image_files import (
    drawings,
    side_by_side,
    write_pairs,
    write_photographs,
    write_two_folders,
)


def faults_of(text, settings):
    source = parse_source(str(text), settings)
    return make_survey(source, settings, lambda done, total: None).faults


def plant_faults(folder):
    """Writes twelve files with one fault each; returns file name -> kind of fault."""
    first = Image.open(folder / "pair000.png")
    sketch, colours = drawings(200)[7]
    kinds = {
        "truncated.png": "unreadable",
        "nothing.png": "empty",
        "page.png": "not_a_picture",
        "odd.png": "odd_width",
        "tiny.png": "too_small",
        "huge.png": "too_large",
        "white.png": "blank",
        "grey.png": "grey",
        "copy.png": "duplicate",
        "brighter.png": "near_duplicate",
        "turned.png": "rotated",
        "cmyk.jpg": "converted",
    }
    content = (folder / "pair001.png").read_bytes()
    (folder / "truncated.png").write_bytes(content[: len(content) // 2])
    (folder / "nothing.png").write_bytes(b"")
    (folder / "page.png").write_text("<html>404</html>")
    side_by_side(*drawings(200)[150], True).resize((129, 64)).save(folder / "odd.png")
    side_by_side(*drawings(200)[151], True).resize((32, 16)).save(folder / "tiny.png")
    Image.new("1", (12_000, 6_000)).save(folder / "huge.png")
    Image.new("RGB", (128, 64), "white").save(folder / "white.png")
    side_by_side(sketch.rotate(90), colours.rotate(90).convert("L"), True).save(folder / "grey.png")
    shutil.copy(folder / "pair002.png", folder / "copy.png")
    ImageEnhance.Brightness(first).enhance(0.9).save(folder / "brighter.png")
    exif = Image.Exif()
    exif[0x112] = 3
    turned = side_by_side(*(half.rotate(90) for half in drawings(200)[20]), True).rotate(180)
    turned.save(folder / "turned.png", exif=exif)
    cmyk = side_by_side(*(half.rotate(90) for half in drawings(200)[30]), True).convert("CMYK")
    cmyk.save(folder / "cmyk.jpg", quality=95)
    return kinds


@pytest.mark.parametrize("sketch_left", [True, False])
def test_twelve_planted_faults_are_found_and_no_other_errors(tmp_path, settings, sketch_left):
    folder = write_pairs(tmp_path / "pairs", 200, sketch_left)
    planted = plant_faults(folder)

    faults = faults_of(f"sidebyside:{folder}", settings)

    for name, kind in planted.items():
        assert kind in {fault.kind for fault in faults if fault.file == name}
    others = [fault for fault in faults if fault.file not in planted]
    assert "error" not in {fault.severity for fault in others}
    # The originals of the two planted copies.
    assert {fault.kind for fault in others} == {"duplicate", "near_duplicate"}
    assert {fault.kind for fault in faults} <= FAULT_KINDS.keys()


def test_intact_pictures_have_no_faults(tmp_path, settings):
    assert faults_of(f"photos:{write_photographs(tmp_path / 'photos', 40)}", settings) == ()


def test_sixteen_bits_are_scaled_and_noted(tmp_path, settings):
    folder = tmp_path / "photos"
    folder.mkdir()
    ramp = np.tile(np.arange(64, dtype=np.uint16) * 1040, (64, 1))
    Image.fromarray(ramp).save(folder / "deep.png")

    faults = faults_of(f"photos:{folder}", settings)
    pair = parse_source(f"photos:{folder}", settings).load_pair("deep.png", 64).render(64)

    assert "sixteen_bit" in {fault.kind for fault in faults}
    assert pair.mean() == pytest.approx(ramp.mean() / 257, abs=0.6)  # Pillow's own conversion: 253


def test_partners_of_different_size_are_a_size_mismatch(tmp_path, settings):
    lines, colours = write_two_folders(tmp_path, 4)
    drawings(4)[2][1].resize((80, 64)).save(colours / "2.png")

    faults = faults_of(f"folders:{lines},{colours}", settings)

    assert [(fault.file, fault.kind, fault.severity) for fault in faults] == [
        ("2.png", "size_mismatch", "error")
    ]


def test_a_picture_of_unusual_size_or_shape_is_an_outlier(tmp_path, settings):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(30):
        size = {3: (400, 400), 4: (100, 40)}.get(number, (64, 64))
        noise = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        noise.resize(size).save(folder / f"{number}.png")

    faults = faults_of(f"photos:{folder}", settings)

    outliers = [(fault.file, fault.kind) for fault in faults]
    assert outliers == [("3.png", "outlier"), ("4.png", "outlier")]
    assert faults[0].detail == "400x400 pixels; the usual size is 64x64"


def write_given_splits(tmp_path):
    write_photographs(tmp_path / "photos" / "train", 40)
    write_photographs(tmp_path / "photos" / "val", 10, side=90)
    return tmp_path / "photos"


def test_a_copy_in_another_given_split_is_an_error_and_packing_refuses_it(tmp_path, settings):
    folder = write_given_splits(tmp_path)
    shutil.copy(folder / "train/photo0005.jpg", folder / "val/leaked.jpg")

    original, fault = faults_of(f"photos:{folder}", settings)

    assert (fault.file, fault.kind, fault.severity) == ("val/leaked.jpg", "duplicate", "error")
    assert fault.detail == "the same picture as train/photo0005.jpg, in another split"
    assert (original.severity, original.detail) == ("note", "val/leaked.jpg is a copy of it")
    with pytest.raises(EngineError, match="1 pairs of photos photos are in two of its splits"):
        packing.prepare(parse_source(f"photos:{folder}", settings), 32, settings)


def test_a_near_duplicate_in_another_given_split_is_a_warning(tmp_path, settings):
    folder = write_given_splits(tmp_path)
    picture = Image.open(folder / "train/photo0005.jpg")
    picture.resize((picture.width // 2 * 2, picture.height)).save(
        folder / "val/again.jpg", quality=60
    )

    _, fault = faults_of(f"photos:{folder}", settings)

    assert (fault.file, fault.kind, fault.severity) == (
        "val/again.jpg",
        "near_duplicate",
        "warning",
    )


def test_near_duplicates_share_a_split_without_given_splits(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 40)
    for number in range(40):
        picture = Image.open(folder / f"photo{number:04d}.jpg")
        picture.save(folder / f"again{number:04d}.jpg", quality=50)

    packed = packing.prepare(parse_source(f"photos:{folder}", settings), 32, settings)

    splits = {pair.name: pair.split for pair in packed.pairs}
    assert len(set(splits.values())) == 3
    for number in range(40):
        assert splits[f"photo{number:04d}.jpg"] == splits[f"again{number:04d}.jpg"]


def test_exclude_faulty_excludes_faulty_files_and_changes_no_file(tmp_path, settings):
    folder = write_pairs(tmp_path / "pairs", 200)
    planted = plant_faults(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    source = parse_source(f"sidebyside:{folder}", settings)

    path, count = exclusions.exclude_faulty(source, faults_of(source.text, settings), settings)

    remaining = parse_source(source.text, settings)
    assert count >= 8
    assert "odd.png\todd_width: 129 pixels wide" in path.read_text()
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not {"odd.png", "truncated.png", "white.png"} & set(remaining.names())
    assert {"turned.png", "cmyk.jpg"} <= set(remaining.names()) & planted.keys()
    assert {fault.severity for fault in faults_of(source.text, settings)} <= {"note"}
    assert packing.prepare(remaining, 32, settings).unusable == ()

    assert exclusions.include_all(remaining, settings) == count
    assert parse_source(source.text, settings).names() == source.names()


def test_a_second_exclude_faulty_keeps_the_exclusions_of_the_first(tmp_path, settings):
    folder = write_pairs(tmp_path / "pairs", 30)
    source = parse_source(f"sidebyside:{folder}", settings)
    (folder / "nothing.png").write_bytes(b"")
    exclusions.exclude_faulty(source, faults_of(source.text, settings), settings)
    (folder / "page.png").write_text("<html>")

    _, count = exclusions.exclude_faulty(source, faults_of(source.text, settings), settings)

    assert count == 2


def test_equal_pixels_in_another_file_format_are_a_duplicate(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 12, suffix="png")
    Image.open(folder / "photo0003.png").save(folder / "saved-again.bmp")

    faults = faults_of(f"photos:{folder}", settings)

    assert [(fault.file, fault.kind) for fault in faults] == [
        ("photo0003.png", "duplicate"),
        ("saved-again.bmp", "duplicate"),
    ]


@pytest.mark.parametrize("n_readable", [0, 16, 48])
def test_a_chunk_without_readable_pairs_is_handled(tmp_path, settings, n_readable):
    folder = tmp_path / "photos"
    write_photographs(folder, n_readable) if n_readable else folder.mkdir()
    (folder / "z.png").write_bytes(b"")

    faults = faults_of(f"photos:{folder}", settings)

    assert ("z.png", "empty") in {(fault.file, fault.kind) for fault in faults}
    source = parse_source(f"photos:{folder}", settings)
    if n_readable == 48:
        assert len(packing.prepare(source, 32, settings).pairs) == 48
    else:
        with pytest.raises(EngineError, match=r"can(not)? be (used|read)"):
            packing.prepare(source, 32, settings)


def test_an_entirely_excluded_source_is_refused_with_a_hint_to_restore(tmp_path, settings):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        Image.new("L", (64, 64), 40 * number).save(folder / f"{number}.png")
    source = parse_source(f"photos:{folder}", settings)
    exclusions.exclude_faulty(source, faults_of(source.text, settings), settings)

    with pytest.raises(EngineError, match=r"No pair of photos photos remains: .* --restore"):
        packing.prepare(parse_source(source.text, settings), 32, settings)
    assert faults_of(source.text, settings) == ()


def test_pictures_damaged_after_the_scan_are_not_packed(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 20)
    source = parse_source(f"photos:{folder}", settings)
    make_survey(source, settings, lambda done, total: None)
    for path in folder.iterdir():
        stat = path.stat()
        path.write_bytes(b"x" * stat.st_size)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    with pytest.raises(EngineError, match="No pair of photos photos can be read"):
        packing.prepare(source, 32, settings)


def test_the_similar_pictures_of_a_film_are_one_group(tmp_path, settings):
    folder = tmp_path / "film"
    folder.mkdir()
    scene = np.asarray(Image.open(write_photographs(tmp_path / "one", 1) / "photo0000.jpg"))
    rng = np.random.default_rng(0)
    for number in range(60):
        noise = rng.integers(-4, 5, scene.shape)
        frame = np.clip(scene + noise, 0, 255).astype(np.uint8)
        Image.fromarray(frame).save(folder / f"{number:03d}.png")
    source = parse_source(f"photos:{folder}", settings)

    survey = make_survey(source, settings, lambda done, total: None)

    assert len(set(survey.groups)) == 1
    with pytest.raises(BadInputError, match=r"No pair of photos film falls into"):
        planning.plan_study(source, "smoke", ["gan"], 1, {"batch": "2"}, settings)


def test_the_error_about_a_damaged_survey_says_what_to_do(tmp_path, settings):
    source = parse_source(f"photos:{write_photographs(tmp_path / 'photos', 4)}", settings)
    make_survey(source, settings, lambda done, total: None)
    for content in ("", "[]", "{}", '{"pairs": 3}'):
        (survey_dir(source, settings) / "survey.json").write_text(content)
        with pytest.raises(EngineError, match=r"damaged .* Remove"):
            load_survey(source, settings)
    (survey_dir(source, settings) / "summary.json").write_text("[]")
    assert summary.scanned_titles(settings) == {}
