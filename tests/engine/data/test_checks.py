"""What `data check` finds: planted faults of every kind, and nothing that is not there."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from engine.data import packing
from engine.data.sources.registry import read_source
from engine.data.survey import exclusions, summary
from engine.data.survey.survey import load_survey, make_survey, survey_dir
from engine.errors import BadInputError, EngineError
from engine.images.faults import KINDS
from engine.jobs import planning
from tests.support.image_files import (
    drawings,
    side_by_side,
    write_pairs,
    write_photographs,
    write_two_folders,
)


def faults_of(text, settings):
    source = read_source(str(text), settings)
    return make_survey(source, settings, lambda done, total: None).faults


def plant_faults(folder):
    """Twelve files with a fault each; their kinds by name."""
    first = Image.open(folder / "pair000.png")
    sketch, colours = drawings(200)[7]
    planted = {
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
    whole = (folder / "pair001.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
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
    side_by_side(*(it.rotate(90) for it in drawings(200)[20]), True).rotate(180).save(
        folder / "turned.png", exif=exif
    )
    side_by_side(*(it.rotate(90) for it in drawings(200)[30]), True).convert("CMYK").save(
        folder / "cmyk.jpg", quality=95
    )
    return planted


@pytest.mark.parametrize("sketch_left", [True, False])
def test_twelve_planted_faults_are_named_and_no_other_errors(tmp_path, settings, sketch_left):
    folder = write_pairs(tmp_path / "pairs", 200, sketch_left)
    planted = plant_faults(folder)

    faults = faults_of(f"sidebyside:{folder}", settings)

    for name, kind in planted.items():
        assert kind in {it.kind for it in faults if it.file == name}
    others = [it for it in faults if it.file not in planted]
    assert "error" not in {it.severity for it in others}
    assert {it.kind for it in others} == {"duplicate", "near_duplicate"}  # of what was copied
    assert {it.kind for it in faults} <= KINDS.keys()


def test_whole_pictures_have_no_faults(tmp_path, settings):
    assert faults_of(f"photos:{write_photographs(tmp_path / 'photos', 40)}", settings) == ()


def test_sixteen_bits_are_scaled_and_noted(tmp_path, settings):
    folder = tmp_path / "photos"
    folder.mkdir()
    ramp = np.tile(np.arange(64, dtype=np.uint16) * 1040, (64, 1))
    Image.fromarray(ramp).save(folder / "deep.png")

    faults = faults_of(f"photos:{folder}", settings)
    pair = read_source(f"photos:{folder}", settings).open("deep.png", 64).draw(64)

    assert "sixteen_bit" in {it.kind for it in faults}
    assert pair.mean() == pytest.approx(ramp.mean() / 257, abs=0.6)  # Pillow's: 253


def test_partners_of_unequal_size_are_a_mismatch(tmp_path, settings):
    lines, colours = write_two_folders(tmp_path, 4)
    drawings(4)[2][1].resize((80, 64)).save(colours / "2.png")

    faults = faults_of(f"folders:{lines},{colours}", settings)

    assert [(it.file, it.kind, it.severity) for it in faults] == [
        ("2.png", "size_mismatch", "error")
    ]


def test_a_picture_unlike_the_others_in_size_or_shape_is_an_outlier(tmp_path, settings):
    folder = tmp_path / "photos"
    folder.mkdir()
    chance = np.random.default_rng(0)
    for number in range(30):
        size = {3: (400, 400), 4: (100, 40)}.get(number, (64, 64))
        noise = Image.fromarray(chance.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        noise.resize(size).save(folder / f"{number}.png")

    faults = faults_of(f"photos:{folder}", settings)

    assert [(it.file, it.kind) for it in faults] == [("3.png", "outlier"), ("4.png", "outlier")]
    assert faults[0].detail == "400x400 pixels where 64x64 is usual"


def given_splits(tmp_path):
    write_photographs(tmp_path / "photos" / "train", 40)
    write_photographs(tmp_path / "photos" / "val", 10, side=90)
    return tmp_path / "photos"


def test_a_copy_in_another_given_split_is_an_error_and_refused(tmp_path, settings):
    folder = given_splits(tmp_path)
    shutil.copy(folder / "train/photo0005.jpg", folder / "val/leaked.jpg")

    original, fault = faults_of(f"photos:{folder}", settings)

    assert (fault.file, fault.kind, fault.severity) == ("val/leaked.jpg", "duplicate", "error")
    assert fault.detail == "the same picture as train/photo0005.jpg, in another split"
    assert (original.severity, original.detail) == ("note", "stands again as val/leaked.jpg")
    with pytest.raises(EngineError, match="1 pairs of photos photos stand in two of its splits"):
        packing.prepare(read_source(f"photos:{folder}", settings), 32, settings)


def test_a_lookalike_in_another_given_split_is_a_warning(tmp_path, settings):
    folder = given_splits(tmp_path)
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


def test_lookalikes_share_a_split_where_none_was_given(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 40)
    for number in range(40):
        picture = Image.open(folder / f"photo{number:04d}.jpg")
        picture.save(folder / f"again{number:04d}.jpg", quality=50)

    packed = packing.prepare(read_source(f"photos:{folder}", settings), 32, settings)

    splits = {pair.name: pair.split for pair in packed.pairs}
    assert len(set(splits.values())) == 3
    for number in range(40):
        assert splits[f"photo{number:04d}.jpg"] == splits[f"again{number:04d}.jpg"]


def test_cleaning_leaves_out_what_is_wrong_and_changes_no_file(tmp_path, settings):
    folder = write_pairs(tmp_path / "pairs", 200)
    planted = plant_faults(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    source = read_source(f"sidebyside:{folder}", settings)

    path, count = exclusions.clean(source, faults_of(source.text, settings), settings)

    cleaned = read_source(source.text, settings)
    assert count >= 8
    assert "odd.png\todd_width: 129 pixels wide" in path.read_text()
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not {"odd.png", "truncated.png", "white.png"} & set(cleaned.names())
    assert {"turned.png", "cmyk.jpg"} <= set(cleaned.names()) & planted.keys()
    assert not [it for it in faults_of(source.text, settings) if it.severity != "note"]
    assert packing.prepare(cleaned, 32, settings).left_out == ()

    assert exclusions.restore(cleaned, settings) == count
    assert read_source(source.text, settings).names() == source.names()


def test_a_second_cleaning_keeps_what_the_first_left_out(tmp_path, settings):
    folder = write_pairs(tmp_path / "pairs", 30)
    source = read_source(f"sidebyside:{folder}", settings)
    (folder / "nothing.png").write_bytes(b"")
    exclusions.clean(source, faults_of(source.text, settings), settings)
    (folder / "page.png").write_text("<html>")

    _, count = exclusions.clean(source, faults_of(source.text, settings), settings)

    assert count == 2


def test_the_same_pixels_in_another_file_are_a_duplicate(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 12, suffix="png")
    Image.open(folder / "photo0003.png").save(folder / "saved-again.bmp")

    faults = faults_of(f"photos:{folder}", settings)

    assert [(it.file, it.kind) for it in faults] == [
        ("photo0003.png", "duplicate"),
        ("saved-again.bmp", "duplicate"),
    ]


@pytest.mark.parametrize("good", [0, 16, 48])
def test_a_portion_of_which_nothing_can_be_read_is_no_harm(tmp_path, settings, good):
    folder = tmp_path / "photos"
    write_photographs(folder, good) if good else folder.mkdir()
    (folder / "z.png").write_bytes(b"")

    faults = faults_of(f"photos:{folder}", settings)

    assert ("z.png", "empty") in {(it.file, it.kind) for it in faults}
    source = read_source(f"photos:{folder}", settings)
    if good == 48:
        assert len(packing.prepare(source, 32, settings).pairs) == 48
    else:
        with pytest.raises(EngineError, match=r"can(not)? be (used|read)"):
            packing.prepare(source, 32, settings)


def test_a_set_of_which_everything_is_left_out_says_the_way_back(tmp_path, settings):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        Image.new("L", (64, 64), 40 * number).save(folder / f"{number}.png")
    source = read_source(f"photos:{folder}", settings)
    exclusions.clean(source, faults_of(source.text, settings), settings)

    with pytest.raises(EngineError, match=r"No pair of photos photos remains: .* --restore"):
        packing.prepare(read_source(source.text, settings), 32, settings)
    assert faults_of(source.text, settings) == ()


def test_pictures_that_went_bad_after_the_look_are_not_packed_in_silence(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 20)
    source = read_source(f"photos:{folder}", settings)
    make_survey(source, settings, lambda done, total: None)
    for path in folder.iterdir():
        at = path.stat()
        path.write_bytes(b"x" * at.st_size)
        os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))

    with pytest.raises(EngineError, match="Not one pair of photos photos can be read"):
        packing.prepare(source, 32, settings)


def test_a_film_of_like_pictures_is_one_group_and_takes_no_forever(tmp_path, settings):
    folder = tmp_path / "film"
    folder.mkdir()
    scene = np.asarray(Image.open(write_photographs(tmp_path / "one", 1) / "photo0000.jpg"))
    chance = np.random.default_rng(0)
    for number in range(60):
        noise = chance.integers(-4, 5, scene.shape)
        frame = np.clip(scene + noise, 0, 255).astype(np.uint8)
        Image.fromarray(frame).save(folder / f"{number:03d}.png")
    source = read_source(f"photos:{folder}", settings)

    survey = make_survey(source, settings, lambda done, total: None)

    assert len(set(survey.groups)) == 1
    with pytest.raises(BadInputError, match=r"No pair of photos film falls into"):
        planning.plan_study(source, "smoke", ["gan"], 1, {"batch": "2"}, settings)


def test_a_damaged_survey_is_said_with_the_way_out(tmp_path, settings):
    source = read_source(f"photos:{write_photographs(tmp_path / 'photos', 4)}", settings)
    make_survey(source, settings, lambda done, total: None)
    for content in ("", "[]", "{}", '{"pairs": 3}'):
        (survey_dir(source, settings) / "survey.json").write_text(content)
        with pytest.raises(EngineError, match=r"damaged .* Remove"):
            load_survey(source, settings)
    (survey_dir(source, settings) / "summary.json").write_text("[]")
    assert summary.known_titles(settings) == {}
