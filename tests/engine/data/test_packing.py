import dataclasses

import numpy as np
import pytest

from engine.data import packing
from engine.data.index import draw_order, split_of
from engine.data.sources import read_source
from engine.errors import BadInputError, EngineError
from engine.presets import BUDGETS


class Squares:
    """A small source: squares of one grey on white, named by number."""

    name, about, version = "squares", "grey squares", "1"

    def __init__(self, count=40, fails_at=None):
        self.count, self.fails_at, self.drawn = count, fails_at, 0

    def names(self):
        return [f"s{number:03d}" for number in range(self.count)]

    def group(self, name):
        return name

    def draw(self, name, px):
        self.drawn += 1
        if name == self.fails_at:
            raise RuntimeError("the pencil broke")
        picture = np.full((2, px, px, 3), 255, np.uint8)
        picture[:, 8:-8, 8:-8] = int(name[1:])
        return picture


def test_pairs_are_drawn_once_and_found_again(settings):
    source = Squares()

    first = packing.prepare(source, 32, settings)
    second = packing.prepare(source, 32, settings)

    assert source.drawn == 40
    assert second.pairs == first.pairs
    assert second.fingerprint == first.fingerprint
    assert second.pixels.shape == (40, 2, 32, 32, 3)
    assert second.pixels[7, 0, 16, 16].tolist() == [7, 7, 7]
    assert packing.packed_sizes(source, settings) == [32]


def test_the_pixels_stay_on_the_disk_until_they_are_read(settings):
    assert isinstance(packing.prepare(Squares(), 32, settings).pixels, np.memmap)


def test_interrupted_packing_leaves_nothing_half_made(settings):
    with pytest.raises(RuntimeError, match="pencil"):
        packing.prepare(Squares(fails_at="s020"), 32, settings)

    assert not packing.is_packed(Squares(), 32, settings)
    assert [path for path in settings.data_dir.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(("file", "keep"), [("index.json", 40), ("pixels.npy", 500)])
def test_a_damaged_folder_is_said_with_the_way_out(settings, file, keep):
    packing.prepare(Squares(), 32, settings)
    path = packing.packed_dir(Squares(), 32, settings) / file
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(EngineError, match=r"damaged .* Remove that folder"):
        packing.prepare(Squares(), 32, settings)


def test_adding_pictures_moves_none_to_another_split(settings):
    few = {pair.name: pair.split for pair in packing.prepare(Squares(40), 32, settings).pairs}
    grown = Squares(80)
    grown.version = "2"
    many = {pair.name: pair.split for pair in packing.prepare(grown, 32, settings).pairs}

    assert {name: many[name] for name in few} == few


def test_other_pixels_have_another_fingerprint(settings):
    darker = Squares()
    darker.version, darker.draw = "2", lambda name, px: np.zeros((2, px, px, 3), np.uint8)

    plain = packing.prepare(Squares(), 32, settings)

    assert packing.prepare(darker, 32, settings).fingerprint != plain.fingerprint


def test_the_embedded_pairs_split_80_10_10_and_no_group_crosses(packed):
    counts = {split: len(packed.members(split)) for split in ("train", "val", "test")}
    splits_of_groups = {}
    for pair in packed.pairs:
        splits_of_groups.setdefault(pair.group, set()).add(pair.split)

    assert sum(counts.values()) == 2113
    assert 0.76 < counts["train"] / 2113 < 0.84
    assert 0.08 < counts["val"] / 2113 < 0.13
    assert {len(splits) for splits in splits_of_groups.values()} == {1}


def test_a_limit_takes_the_first_of_an_order_that_it_does_not_change(packed):
    assert packed.members("val", 5) == packed.members("val")[:5]
    names = [packed.pairs[index].name for index in packed.members("val")]
    assert names == sorted(names, key=draw_order)


def test_counts_by_name_agree_with_the_packed_pairs(packed):
    source = read_source("openmoji")

    everything = packing.count_pairs(source, BUDGETS["paper"])
    smoke = packing.count_pairs(source, BUDGETS["smoke"])

    assert everything == {it: len(packed.members(it)) for it in ("train", "val", "test")}
    assert smoke == {"train": 64, "val": 32, "test": 32}


def test_unpacking_knows_splits_by_the_hash_alone(packed):
    assert all(pair.split == split_of(pair.group) for pair in packed.pairs)


def test_a_source_nobody_knows_is_refused():
    with pytest.raises(BadInputError, match="no data source 'nowhere'; there is openmoji"):
        read_source("nowhere")


def test_pairs_are_records_that_cannot_be_changed(packed):
    with pytest.raises(dataclasses.FrozenInstanceError):
        packed.pairs[0].split = "train"
