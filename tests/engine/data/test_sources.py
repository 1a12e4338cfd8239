"""The three folder sources: what they find, what they make of it, what they refuse."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from engine.data import packing
from engine.data.pairs import split_pixels
from engine.data.sources.registry import left_out_path, read_source
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


def read(text, settings):
    return read_source(str(text), settings)


@pytest.mark.parametrize("sketch_left", [True, False])
def test_the_half_without_colour_is_the_sketch_in_either_order(tmp_path, settings, sketch_left):
    folder = write_pairs(tmp_path / "pairs", 40, sketch_left)
    sketch, colours = drawings(40)[3]

    source = read(f"sidebyside:{folder}", settings)
    pair = source.open("pair003.png", SIDE).draw(SIDE)

    assert source.channels == 4
    assert np.array_equal(pair[..., 0], np.asarray(sketch))
    assert np.array_equal(pair[..., 1:], np.asarray(colours))
    assert f"sketch {'left' if sketch_left else 'right'}" in source.about


@pytest.mark.parametrize("px", [32, 48, 192])
def test_no_half_sees_the_edge_of_the_other(tmp_path, settings, px):
    folder = tmp_path / "edges"
    folder.mkdir()
    white, red = Image.new("L", (SIDE, SIDE), 255), Image.new("RGB", (SIDE, SIDE), (255, 0, 0))
    side_by_side(white, red, True).save(folder / "a.png")

    pair = read(f"sidebyside:{folder}", settings).open("a.png", SIDE).draw(px)

    assert (pair[..., 0] == 255).all()
    assert (pair[..., 1:] == (255, 0, 0)).all()


def test_who_says_which_half_is_the_sketch_is_believed(pairs_folder, settings):
    source = read(f"sidebyside:{pairs_folder}?sketch=right", settings)

    pair = source.open("pair003.png", SIDE).draw(SIDE)

    assert source.channels == 6
    assert np.array_equal(pair[..., :3], np.asarray(drawings(40)[3][1]))


def test_halves_that_are_alike_in_colour_are_not_guessed(tmp_path, settings):
    folder = tmp_path / "twins"
    folder.mkdir()
    for number, (_, colours) in enumerate(drawings(10)):
        side_by_side(colours, colours, True).save(folder / f"{number}.png")

    source = read(f"sidebyside:{folder}", settings)

    with pytest.raises(BadInputError, match=r"alike in colour .* \?sketch=left or \?sketch=right"):
        source.channels  # noqa: B018


def test_partners_are_found_by_name_whatever_their_ends_and_letters(tmp_path, settings):
    sketches, colours = tmp_path / "lines", tmp_path / "colours"
    (sketches / "sub").mkdir(parents=True)
    (colours / "sub").mkdir(parents=True)
    for number, (sketch, target) in enumerate(drawings(3)):
        sketch.save(sketches / "sub" / f"A{number}.PNG")
        target.save(colours / "sub" / f"a{number}.webp", lossless=True)

    source = read(f"folders:{sketches},{colours}", settings)

    assert source.names() == ("sub/A0.PNG", "sub/A1.PNG", "sub/A2.PNG")
    assert np.array_equal(
        source.open("sub/A1.PNG", SIDE).draw(SIDE)[..., 1:], np.asarray(drawings(3)[1][1])
    )


def test_files_without_partner_and_doubled_names_are_refused_at_the_start(tmp_path, settings):
    sketches, colours = write_two_folders(tmp_path, 4)
    (colours / "2.png").unlink()
    shutil.copy(sketches / "0.png", sketches / "0.jpg")

    source = read(f"folders:{sketches},{colours}", settings)

    found = {(fault.file, fault.kind) for fault in source.structure_faults()}
    assert found == {
        ("2.png", "missing_partner"),
        ("0.png", "duplicate"),
        ("0.jpg", "duplicate"),
    }
    with pytest.raises(BadInputError, match=r"3 files .* have no partner or two: "):
        source.require_sound()


def test_a_photograph_becomes_the_grey_of_its_own_lightness(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 4, suffix="png")
    source = read(f"photos:{folder}", settings)

    pair = source.open(source.names()[1], SIDE).draw(SIDE)

    lightness = [
        color.lab(half[None].transpose(0, 3, 1, 2) / 255)[0] for half in split_pixels(pair)
    ]
    assert source.source_label == "grey"
    assert np.abs(lightness[0] - lightness[1]).max() < 0.3  # half a level of 255


def test_folders_named_train_and_val_are_the_splits_and_val_is_halved(tmp_path, settings):
    write_photographs(tmp_path / "photos" / "train", 30)
    write_photographs(tmp_path / "photos" / "val", 20, side=80)

    packed = packing.prepare(read(f"photos:{tmp_path / 'photos'}", settings), 32, settings)

    splits = {split: packed.members(split) for split in ("train", "val", "test")}
    assert len(splits["train"]) == 30
    assert len(splits["val"]) + len(splits["test"]) == 20
    assert min(len(splits["val"]), len(splits["test"])) > 3
    assert all(packed.pairs[at].name.startswith("train/") for at in splits["train"])


def test_pictures_beside_split_folders_are_not_passed_over(tmp_path, settings):
    for split in ("train", "val"):
        write_photographs(tmp_path / "photos" / split, 3)
    shutil.copy(tmp_path / "photos/train/photo0000.jpg", tmp_path / "photos/stray.jpg")

    with pytest.raises(BadInputError, match=r"pictures beside them \(stray.jpg\)"):
        read(f"photos:{tmp_path / 'photos'}", settings).given_split("stray.jpg")


def test_a_limit_takes_pairs_by_seed_and_more_of_the_same(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 30)

    def names(query):
        return set(read(f"photos:{folder}{query}", settings).names())

    assert len(names("?limit=10")) == 10
    assert names("?limit=10") < names("?limit=20")
    assert names("?limit=10") != names("?limit=10&seed=1")
    assert len(names("?limit=1000")) == 30


def test_sources_are_stored_with_absolute_paths_and_read_back(tmp_path, settings, monkeypatch):
    write_photographs(tmp_path / "photos", 3)
    monkeypatch.chdir(tmp_path)

    source = read("photos:photos?limit=2&seed=4", settings)

    assert source.text == f"photos:{tmp_path}/photos?limit=2&seed=4"
    assert read(source.text, settings).names() == source.names()


def test_linked_folders_are_followed_and_circles_left(tmp_path, settings):
    write_photographs(tmp_path / "photos" / "train", 12)
    write_photographs(tmp_path / "elsewhere", 6, side=90)
    (tmp_path / "photos" / "val").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "train" / "again").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "train" / "gone.png").symlink_to(tmp_path / "nowhere.png")

    source = read(f"photos:{tmp_path / 'photos'}", settings)

    assert len(source.names()) == 18
    assert source.given_split("train/photo0001.jpg") == "train"
    assert [(it.file, it.kind) for it in source.structure_faults()] == [
        ("train/gone.png", "unreadable")
    ]


def test_hidden_files_and_other_files_are_no_pictures(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 3)
    for name in (".hidden.png", "Thumbs.db", "notes.txt", "drawing.svg", "__MACOSX/a.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("no picture")

    source = read(f"photos:{folder}", settings)

    assert len(source.names()) == 3
    assert [(it.file, it.severity) for it in source.structure_faults()] == [
        ("drawing.svg", "warning"),
        ("notes.txt", "note"),
    ]


def test_names_that_cannot_be_kept_are_told(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 2)
    shutil.copy(folder / "photo0000.jpg", folder / "two\nlines.jpg")
    shutil.copy(folder / "photo0000.jpg", bytes(folder) + b"/\xff.jpg")

    source = read(f"photos:{folder}", settings)

    assert len(source.names()) == 2
    faults = source.structure_faults()
    assert [fault.file for fault in faults] == ["?.jpg", "two?lines.jpg"]
    assert json.dumps([vars(fault) for fault in faults]).isascii()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("photos", "no data source 'photos'"),
        ("photos:", "needs a folder after the colon"),
        ("photos:/no/such/place", "There is no folder /no/such/place"),
        ("photos:{file}", "is a file; a folder of pictures is meant"),
        ("photos:{empty}", r"There are no pictures in .*; looked for .avif, .bmp"),
        ("photos:{folder}?limit=0", "limit must be a whole number from 1, not '0'"),
        ("photos:{folder}?limit=many", "limit must be a whole number from 1, not 'many'"),
        ("photos:{folder}?limit=2&limit=3", "limit stands twice"),
        ("photos:{folder}?sketch=left", "does not know 'sketch'; it takes limit, seed"),
        ("sidebyside:{folder}?sketch=top", "sketch must be left, right or auto, not 'top'"),
        ("folders:{folder}", "needs two folders"),
        ("folders:{folder},{folder}", "twice; sketches and colours lie apart"),
        ("photos:\0", "needs a folder after the colon"),
    ],
)
def test_a_source_that_cannot_be_is_refused_with_the_way_out(tmp_path, settings, text, said):
    folder = write_photographs(tmp_path / "photos", 2)
    empty = tmp_path / "empty"
    empty.mkdir()
    places = {"folder": folder, "file": folder / "photo0000.jpg", "empty": empty}

    with pytest.raises(BadInputError, match=said):
        read(text.format(**places), settings)


def test_a_comma_or_a_question_mark_in_a_path_does_no_harm(tmp_path, settings):
    lines, colours = write_two_folders(tmp_path, 2)
    lines.rename(tmp_path / "lines, old")
    colours.rename(tmp_path / "colours?")

    source = read(f"folders:{tmp_path}/lines, old,{tmp_path}/colours?", settings)

    assert len(source.names()) == 2


def test_an_odd_width_counts_as_the_picture_stands_upright(pairs_folder, settings):
    exif = Image.Exif()
    exif[0x112] = 6
    sheet = Image.new("RGB", (63, 128))
    sheet.save(pairs_folder / "turned.jpg", exif=exif)  # upright: 128 x 63
    read(f"sidebyside:{pairs_folder}", settings).require_sound()
    Image.new("RGB", (64, 129)).save(pairs_folder / "turned.jpg", exif=exif)

    with pytest.raises(BadInputError, match=r"odd width .*: turned.jpg"):
        read(f"sidebyside:{pairs_folder}", settings).require_sound()


def test_of_two_files_of_one_name_the_one_that_is_not_left_out_has_a_partner(tmp_path, settings):
    sketches, colours = write_two_folders(tmp_path, 3)
    shutil.copy(sketches / "0.png", sketches / "0.jpg")
    text = f"folders:{sketches},{colours}"
    path = left_out_path(read(text, settings).where, settings)
    path.parent.mkdir(parents=True)
    path.write_text("0.jpg\tduplicate\n")

    source = read(text, settings)

    source.require_sound()
    assert source.names() == ("0.png", "1.png", "2.png")


def test_an_odd_width_is_refused_at_the_start(pairs_folder, settings):
    Image.new("RGB", (101, 50)).save(pairs_folder / "odd.png")

    with pytest.raises(BadInputError, match=r"1 pictures of .* have an odd width .*: odd.png"):
        read(f"sidebyside:{pairs_folder}", settings).require_sound()
