"""Tests of the three folder sources: files, pairs and refusals."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from engine.data import packing
from engine.data.pairs import split_channels
from engine.data.sources.exclusions import exclusions_path
from engine.data.sources.registry import parse_source
from engine.errors import BadInputError
from engine.images import color
from tests.support.image_files import (
    SIDE,
    drawings,
    side_by_side,
    write_pairs,
    write_photographs,
    write_two_folders,
)


@pytest.fixture
def pairs_folder(tmp_path):
    return write_pairs(tmp_path / "pairs", 40)


@pytest.mark.parametrize("sketch_left", [True, False])
def test_the_half_without_colour_is_the_sketch_in_either_order(tmp_path, settings, sketch_left):
    folder = write_pairs(tmp_path / "pairs", 40, sketch_left)
    sketch, colours = drawings(40)[3]

    source = parse_source(f"sidebyside:{folder}", settings)
    pair = source.load_pair("pair003.png", SIDE).render(SIDE)

    assert source.channels == 4
    assert np.array_equal(pair[..., 0], np.asarray(sketch))
    assert np.array_equal(pair[..., 1:], np.asarray(colours))
    assert f"sketch {'left' if sketch_left else 'right'}" in source.about


@pytest.mark.parametrize("px", [32, 48, 192])
def test_no_half_contains_pixels_of_the_other(tmp_path, settings, px):
    folder = tmp_path / "edges"
    folder.mkdir()
    white, red = Image.new("L", (SIDE, SIDE), 255), Image.new("RGB", (SIDE, SIDE), (255, 0, 0))
    side_by_side(white, red, True).save(folder / "a.png")

    pair = parse_source(f"sidebyside:{folder}", settings).load_pair("a.png", SIDE).render(px)

    assert (pair[..., 0] == 255).all()
    assert (pair[..., 1:] == (255, 0, 0)).all()


def test_the_option_sketch_decides_which_half_is_the_sketch(pairs_folder, settings):
    source = parse_source(f"sidebyside:{pairs_folder}?sketch=right", settings)

    pair = source.load_pair("pair003.png", SIDE).render(SIDE)

    assert source.channels == 6
    assert np.array_equal(pair[..., :3], np.asarray(drawings(40)[3][1]))


def test_halves_of_similar_colour_are_refused_without_the_option_sketch(tmp_path, settings):
    folder = tmp_path / "twins"
    folder.mkdir()
    for number, (_, colours) in enumerate(drawings(10)):
        side_by_side(colours, colours, True).save(folder / f"{number}.png")

    source = parse_source(f"sidebyside:{folder}", settings)

    with pytest.raises(
        BadInputError, match=r"similar in colour .* \?sketch=left or \?sketch=right"
    ):
        source.channels  # noqa: B018


def test_partners_are_found_despite_other_extensions_and_upper_case(tmp_path, settings):
    sketches, colours = tmp_path / "lines", tmp_path / "colours"
    (sketches / "sub").mkdir(parents=True)
    (colours / "sub").mkdir(parents=True)
    for number, (sketch, target) in enumerate(drawings(3)):
        sketch.save(sketches / "sub" / f"A{number}.PNG")
        target.save(colours / "sub" / f"a{number}.webp", lossless=True)

    source = parse_source(f"folders:{sketches},{colours}", settings)

    assert source.names() == ("sub/A0.PNG", "sub/A1.PNG", "sub/A2.PNG")
    assert np.array_equal(
        source.load_pair("sub/A1.PNG", SIDE).render(SIDE)[..., 1:], np.asarray(drawings(3)[1][1])
    )


def test_files_without_partner_and_repeated_names_are_refused(tmp_path, settings):
    sketches, colours = write_two_folders(tmp_path, 4)
    (colours / "2.png").unlink()
    shutil.copy(sketches / "0.png", sketches / "0.jpg")

    source = parse_source(f"folders:{sketches},{colours}", settings)

    faults = {(fault.file, fault.kind) for fault in source.structure_faults()}
    assert faults == {
        ("2.png", "missing_partner"),
        ("0.png", "duplicate"),
        ("0.jpg", "duplicate"),
    }
    with pytest.raises(BadInputError, match=r"3 files .* have no partner or several: "):
        source.require_valid()


def test_the_source_of_a_photograph_is_grey_of_equal_lightness(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 4, suffix="png")
    source = parse_source(f"photos:{folder}", settings)

    pair = source.load_pair(source.names()[1], SIDE).render(SIDE)

    lightness = [
        color.srgb_to_lab(half[None].transpose(0, 3, 1, 2) / 255)[0]
        for half in split_channels(pair)
    ]
    assert source.source_label == "grey"
    assert np.abs(lightness[0] - lightness[1]).max() < 0.3  # half a level of 255


def test_folders_named_train_and_val_give_the_splits_and_val_is_halved(tmp_path, settings):
    write_photographs(tmp_path / "photos" / "train", 30)
    write_photographs(tmp_path / "photos" / "val", 20, side=80)

    packed = packing.prepare(parse_source(f"photos:{tmp_path / 'photos'}", settings), 32, settings)

    splits = {split: packed.positions(split) for split in ("train", "val", "test")}
    assert len(splits["train"]) == 30
    assert len(splits["val"]) + len(splits["test"]) == 20
    assert min(len(splits["val"]), len(splits["test"])) > 3
    assert all(packed.pairs[at].name.startswith("train/") for at in splits["train"])


def test_pictures_beside_split_folders_are_refused(tmp_path, settings):
    for split in ("train", "val"):
        write_photographs(tmp_path / "photos" / split, 3)
    shutil.copy(tmp_path / "photos/train/photo0000.jpg", tmp_path / "photos/stray.jpg")

    with pytest.raises(BadInputError, match=r"pictures beside them \(stray.jpg\)"):
        parse_source(f"photos:{tmp_path / 'photos'}", settings).given_split("stray.jpg")


def test_a_limit_selects_pairs_by_seed_and_a_larger_limit_adds_pairs(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 30)

    def names(query):
        return set(parse_source(f"photos:{folder}{query}", settings).names())

    assert len(names("?limit=10")) == 10
    assert names("?limit=10") < names("?limit=20")
    assert names("?limit=10") != names("?limit=10&seed=1")
    assert len(names("?limit=1000")) == 30


def test_the_text_of_a_source_is_absolute_and_can_be_parsed_again(tmp_path, settings, monkeypatch):
    write_photographs(tmp_path / "photos", 3)
    monkeypatch.chdir(tmp_path)

    source = parse_source("photos:photos?limit=2&seed=4", settings)

    assert source.text == f"photos:{tmp_path}/photos?limit=2&seed=4"
    assert parse_source(source.text, settings).names() == source.names()


def test_linked_folders_are_followed_and_circles_ignored(tmp_path, settings):
    write_photographs(tmp_path / "photos" / "train", 12)
    write_photographs(tmp_path / "elsewhere", 6, side=90)
    (tmp_path / "photos" / "val").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "train" / "again").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "train" / "gone.png").symlink_to(tmp_path / "nowhere.png")

    source = parse_source(f"photos:{tmp_path / 'photos'}", settings)

    assert len(source.names()) == 18
    assert source.given_split("train/photo0001.jpg") == "train"
    assert [(fault.file, fault.kind) for fault in source.structure_faults()] == [
        ("train/gone.png", "unreadable")
    ]


def test_hidden_files_and_other_files_are_not_pictures(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 3)
    for name in (".hidden.png", "Thumbs.db", "notes.txt", "drawing.svg", "__MACOSX/a.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("no picture")

    source = parse_source(f"photos:{folder}", settings)

    assert len(source.names()) == 3
    assert [(fault.file, fault.severity) for fault in source.structure_faults()] == [
        ("drawing.svg", "warning"),
        ("notes.txt", "note"),
    ]


def test_names_that_cannot_be_stored_are_reported(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 2)
    shutil.copy(folder / "photo0000.jpg", folder / "two\nlines.jpg")
    shutil.copy(folder / "photo0000.jpg", bytes(folder) + b"/\xff.jpg")

    source = parse_source(f"photos:{folder}", settings)

    assert len(source.names()) == 2
    faults = source.structure_faults()
    assert [fault.file for fault in faults] == ["?.jpg", "two?lines.jpg"]
    assert json.dumps([vars(fault) for fault in faults]).isascii()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photos", "no data source 'photos'"),
        ("photos:", "needs a folder after the colon"),
        ("photos:/no/such/place", "There is no folder /no/such/place"),
        ("photos:{file}", "is a file; give a folder of pictures"),
        ("photos:{empty}", r"There are no pictures in .*; supported are .avif, .bmp"),
        ("photos:{folder}?limit=0", "limit must be a whole number from 1, not '0'"),
        ("photos:{folder}?limit=many", "limit must be a whole number from 1, not 'many'"),
        ("photos:{folder}?limit=2&limit=3", "has the option limit twice"),
        ("photos:{folder}?sketch=left", "has no option 'sketch'; its options are limit, seed"),
        ("sidebyside:{folder}?sketch=top", "sketch must be left, right or auto, not 'top'"),
        ("folders:{folder}", "needs two folders"),
        ("folders:{folder},{folder}", "twice; it needs two different folders"),
        ("photos:\0", "needs a folder after the colon"),
    ],
)
def test_an_invalid_source_is_refused_with_a_helpful_message(tmp_path, settings, text, message):
    folder = write_photographs(tmp_path / "photos", 2)
    empty = tmp_path / "empty"
    empty.mkdir()
    paths = {"folder": folder, "file": folder / "photo0000.jpg", "empty": empty}

    with pytest.raises(BadInputError, match=message):
        parse_source(text.format(**paths), settings)


def test_paths_may_contain_commas_and_question_marks(tmp_path, settings):
    lines, colours = write_two_folders(tmp_path, 2)
    lines.rename(tmp_path / "lines, old")
    colours.rename(tmp_path / "colours?")

    source = parse_source(f"folders:{tmp_path}/lines, old,{tmp_path}/colours?", settings)

    assert len(source.names()) == 2


def test_an_odd_width_is_measured_on_the_upright_picture(pairs_folder, settings):
    exif = Image.Exif()
    exif[0x112] = 6
    sheet = Image.new("RGB", (63, 128))
    sheet.save(pairs_folder / "turned.jpg", exif=exif)  # upright: 128 x 63
    parse_source(f"sidebyside:{pairs_folder}", settings).require_valid()
    Image.new("RGB", (64, 129)).save(pairs_folder / "turned.jpg", exif=exif)

    with pytest.raises(BadInputError, match=r"odd width .*: turned.jpg"):
        parse_source(f"sidebyside:{pairs_folder}", settings).require_valid()


def test_excluding_one_of_two_files_with_equal_names_leaves_the_other_a_partner(tmp_path, settings):
    sketches, colours = write_two_folders(tmp_path, 3)
    shutil.copy(sketches / "0.png", sketches / "0.jpg")
    text = f"folders:{sketches},{colours}"
    path = exclusions_path(parse_source(text, settings).text_without_options, settings)
    path.parent.mkdir(parents=True)
    path.write_text("0.jpg\tduplicate\n")

    source = parse_source(text, settings)

    source.require_valid()
    assert source.names() == ("0.png", "1.png", "2.png")


def test_an_odd_width_is_refused(pairs_folder, settings):
    Image.new("RGB", (101, 50)).save(pairs_folder / "odd.png")

    with pytest.raises(BadInputError, match=r"1 pictures of .* have an odd width .*: odd.png"):
        parse_source(f"sidebyside:{pairs_folder}", settings).require_valid()
