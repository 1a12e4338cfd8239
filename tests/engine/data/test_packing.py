import dataclasses
import shutil

import numpy as np
import pytest

from engine.data import packing
from engine.data.pairs import GLANCE, Opened
from engine.data.sources.registry import read_source
from engine.data.splits import draw_order, split_of
from engine.data.survey.survey import load_survey, make_survey
from engine.errors import BadInputError, EngineError
from engine.images.faults import PictureFaultError
from engine.presets import BUDGETS
from tests.support.image_files import write_photographs


class Squares:
    """A small source: squares of one colour on white, each of its own size and place."""

    text = where = title = slug = "squares"
    about, source_label, is_cut, channels, version = "squares", "sketch", False, 4, "1"

    def __init__(self, count=40, breaks_at=None, damaged=()):
        self.count, self.breaks_at, self.damaged, self.opened = count, breaks_at, damaged, 0

    def names(self):
        return [f"s{number:03d}" for number in range(self.count)]

    def group(self, name):
        return name

    def given_split(self, name):
        return None

    def structure_faults(self):
        return ()

    def require_sound(self):
        pass

    def open(self, name, needed):
        self.opened += 1
        if name == self.breaks_at:
            raise RuntimeError("the pencil broke")
        if name in self.damaged:
            raise PictureFaultError("unreadable", "it is torn")

        def draw(px):
            number, part = int(name[1:]), px // 16
            pair = np.full((px, px, 4), 255, np.uint8)
            top, left = (number % 9) * part, (number // 9) * part
            pair[top : top + 4 * part, left : left + 3 * part] = (0, number, 99, 150)
            return pair

        return Opened(None, (), draw, lambda: draw(GLANCE))


def test_pairs_are_drawn_once_and_found_again(settings):
    source = Squares()

    first = packing.prepare(source, 32, settings)
    second = packing.prepare(source, 32, settings)

    assert source.opened == 40
    assert second.pairs == first.pairs
    assert second.fingerprint == first.fingerprint
    assert second.pixels.shape == (40, 32, 32, 4)
    assert second.pixels[7, 15, 1].tolist() == [0, 7, 99, 150]
    assert packing.packed_sizes(source, settings) == [32]


def test_what_was_surveyed_is_packed_with_the_same_splits_at_every_size(settings):
    source = Squares()
    survey = make_survey(source, settings, lambda done, total: None)

    packed = [packing.prepare(source, px, settings) for px in (32, 64)]

    for it in packed:
        assert tuple(pair.split for pair in it.pairs) == survey.splits
    assert packed[0].fingerprint != packed[1].fingerprint


def test_packing_leaves_a_survey_behind(settings):
    packing.prepare(Squares(), 32, settings)

    assert len(load_survey(Squares(), settings).names) == 40


def test_the_pixels_stay_on_the_disk_until_they_are_read(settings):
    assert isinstance(packing.prepare(Squares(), 32, settings).pixels, np.memmap)


def test_progress_is_told_to_the_end(settings):
    told = []

    packing.prepare(Squares(), 32, settings, lambda done, total: told.append((done, total)))

    assert told[-1] == (40, 40)
    assert told == sorted(told)


def test_interrupted_packing_leaves_nothing_half_made(settings):
    with pytest.raises(RuntimeError, match="pencil"):
        packing.prepare(Squares(breaks_at="s020"), 32, settings)

    assert not packing.is_packed(Squares(), 32, settings)
    assert [path for path in settings.data_dir.iterdir() if path.is_dir()] == []


def test_what_a_killed_process_left_is_swept(settings):
    left = packing.packed_dir(Squares(), 32, settings)
    left = left.with_name(f".{left.name}.killed")
    left.mkdir(parents=True)

    packing.prepare(Squares(), 32, settings)

    assert not left.exists()


def test_a_few_damaged_pairs_are_left_out_and_listed(settings):
    packed = packing.prepare(Squares(damaged=("s004",)), 32, settings)

    assert [(fault.file, fault.detail) for fault in packed.left_out] == [("s004", "it is torn")]
    assert len(packed.pairs) == len(packed.pixels) == 39
    assert packed.pixels[4, 12, 1].tolist() == [0, 5, 99, 150]
    assert "s004" not in [pair.name for pair in packed.pairs]


def test_more_than_a_few_damaged_pairs_are_refused(settings):
    damaged = ("s004", "s005", "s006")

    with pytest.raises(EngineError, match=r"3 of 40 pairs .* cannot be used .*: s004, s005, s006"):
        packing.prepare(Squares(damaged=damaged), 32, settings)

    assert not packing.is_packed(Squares(), 32, settings)


@pytest.mark.parametrize(("file", "keep"), [("index.json", 40), ("pixels.npy", 500)])
def test_a_damaged_folder_is_said_with_the_way_out(settings, file, keep):
    packing.prepare(Squares(), 32, settings)
    path = packing.packed_dir(Squares(), 32, settings) / file
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(EngineError, match=r"damaged .* Remove that folder"):
        packing.prepare(Squares(), 32, settings)


def test_a_full_disk_is_said_before_anything_is_written(settings, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    with pytest.raises(EngineError, match=r"takes 0.0 GB, and 0.0 GB are free"):
        packing.prepare(Squares(), 32, settings)

    assert not packing.is_packed(Squares(), 32, settings)


def test_adding_pictures_moves_none_to_another_split(settings):
    few = {pair.name: pair.split for pair in packing.prepare(Squares(40), 32, settings).pairs}
    grown = Squares(80)
    grown.version = "2"
    many = {pair.name: pair.split for pair in packing.prepare(grown, 32, settings).pairs}

    assert {name: many[name] for name in few} == few


def test_other_pixels_have_another_fingerprint(settings):
    other = Squares()
    other.version = "2"
    drawn = other.open

    def darker(name, needed):
        pair = drawn(name, needed)
        return dataclasses.replace(pair, draw=lambda px: pair.draw(px) // 2)

    other.open = darker

    plain = packing.prepare(Squares(), 32, settings)

    assert packing.prepare(other, 32, settings).fingerprint != plain.fingerprint


def test_a_changed_folder_is_packed_anew(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 30)
    before = packing.prepare(read_source(f"photos:{folder}", settings), 32, settings)
    (folder / "photo0003.jpg").unlink()

    source = read_source(f"photos:{folder}", settings)

    assert not packing.is_packed(source, 32, settings)
    assert packing.prepare(source, 32, settings).fingerprint != before.fingerprint


def test_the_embedded_pairs_split_80_10_10_and_no_group_crosses(packed):
    counts = {split: len(packed.members(split)) for split in ("train", "val", "test")}
    splits_of_groups = {}
    for pair in packed.pairs:
        splits_of_groups.setdefault(pair.group, set()).add(pair.split)

    assert sum(counts.values()) == 2113
    assert 0.76 < counts["train"] / 2113 < 0.84
    assert 0.08 < counts["val"] / 2113 < 0.13
    assert {len(splits) for splits in splits_of_groups.values()} == {1}


def test_drawings_with_one_sketch_and_other_colours_are_in_one_split(packed):
    hearts = ("1F499", "1F49A", "1F49C", "1F9E1", "1F90E", "2764")

    assert len({pair.group for pair in packed.pairs if pair.name in hearts}) == 1


def test_a_limit_takes_the_first_of_an_order_that_it_does_not_change(packed):
    assert packed.members("val", 5) == packed.members("val")[:5]
    names = [packed.pairs[index].name for index in packed.members("val")]
    assert names == sorted(names, key=draw_order)


def test_counts_agree_with_the_packed_pairs(packed, packed_settings):
    source = read_source("openmoji", packed_settings)

    everything = packing.count_pairs(source, BUDGETS["paper"], packed_settings)
    smoke = packing.count_pairs(source, BUDGETS["smoke"], packed_settings)

    assert everything == {it: len(packed.members(it)) for it in ("train", "val", "test")}
    assert smoke == {"train": 64, "val": 32, "test": 32}


def test_the_split_follows_from_the_group_alone(packed):
    assert all(pair.split == split_of(pair.group) for pair in packed.pairs)


def test_a_source_nobody_knows_is_refused(settings):
    with pytest.raises(BadInputError, match="no data source 'nowhere'; there is openmoji"):
        read_source("nowhere", settings)


def test_pairs_are_records_that_cannot_be_changed(packed):
    with pytest.raises(dataclasses.FrozenInstanceError):
        packed.pairs[0].split = "train"
