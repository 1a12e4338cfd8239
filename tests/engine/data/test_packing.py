import dataclasses
import json
import shutil
from importlib import metadata

import numpy as np
import pytest

from engine.data import packing
from engine.data.pairs import THUMBNAIL_PX, LoadedPair, shuffle_key, split_of
from engine.data.sources.registry import parse_source
from engine.data.survey.survey import load_survey, make_survey
from engine.errors import BadInputError, EngineError
from engine.images.faults import PictureFaultError
from engine.presets import BUDGETS
from tests.support.image_files import write_photographs


class Squares:
    """A small source: squares of one colour on white, each at its own position."""

    text = text_without_options = title = slug = about = "squares"
    source_label, is_side_by_side, channels, version = "sketch", False, 4, "1"
    renderer = "painter 0.5.0"

    def __init__(self, count=40, crashes_at=None, damaged=()):
        self.count, self.crashes_at, self.damaged = count, crashes_at, damaged
        self.n_loaded = 0

    def names(self):
        return [f"s{number:03d}" for number in range(self.count)]

    def group(self, name):
        return name

    def given_split(self, name):
        return None

    def structure_faults(self):
        return ()

    def require_valid(self):
        pass

    def load_pair(self, name, needed_px):
        self.n_loaded += 1
        if name == self.crashes_at:
            raise RuntimeError("the decoder crashed")
        if name in self.damaged:
            raise PictureFaultError("unreadable", "the file is truncated")

        def render(px):
            number, step = int(name[1:]), px // 16
            pair = np.full((px, px, 4), 255, np.uint8)
            top, left = (number % 9) * step, (number // 9) * step
            pair[top : top + 4 * step, left : left + 3 * step] = (0, number, 99, 150)
            return pair

        return LoadedPair(None, (), render, lambda: render(THUMBNAIL_PX))


def test_pairs_are_packed_once_and_then_reused(settings):
    source = Squares()

    first = packing.prepare(source, 32, settings)
    second = packing.prepare(source, 32, settings)

    assert source.n_loaded == 40
    assert second.pairs == first.pairs
    assert second.fingerprint == first.fingerprint
    assert second.pixels.shape == (40, 32, 32, 4)
    assert second.pixels[7, 15, 1].tolist() == [0, 7, 99, 150]
    assert packing.packed_sizes(source, settings) == [32]


def test_a_scanned_source_is_packed_with_the_splits_of_its_survey_at_every_size(settings):
    source = Squares()
    survey = make_survey(source, settings, lambda done, total: None)

    small, large = (packing.prepare(source, px, settings) for px in (32, 64))

    for packed in (small, large):
        assert tuple(pair.split for pair in packed.pairs) == survey.splits
    assert small.fingerprint != large.fingerprint


def test_packing_stores_a_survey(settings):
    packing.prepare(Squares(), 32, settings)

    assert len(load_survey(Squares(), settings).names) == 40


def test_the_pixels_stay_on_the_disk_until_they_are_read(settings):
    assert isinstance(packing.prepare(Squares(), 32, settings).pixels, np.memmap)


def test_progress_is_reported_to_the_end(settings):
    progress = []

    packing.prepare(Squares(), 32, settings, lambda done, total: progress.append((done, total)))

    assert progress[-1] == (40, 40)
    assert progress == sorted(progress)


def test_interrupted_packing_leaves_no_folder(settings):
    with pytest.raises(RuntimeError, match="the decoder crashed"):
        packing.prepare(Squares(crashes_at="s020"), 32, settings)

    assert not packing.is_packed(Squares(), 32, settings)
    assert [path for path in settings.data_dir.iterdir() if path.is_dir()] == []


def test_the_unfinished_folder_of_a_killed_process_is_deleted(settings):
    folder = packing.packed_dir(Squares(), 32, settings)
    unfinished = folder.with_name(f".{folder.name}.killed")
    unfinished.mkdir(parents=True)

    packing.prepare(Squares(), 32, settings)

    assert not unfinished.exists()


def test_a_few_damaged_pairs_are_skipped_and_listed(settings):
    packed = packing.prepare(Squares(damaged=("s004",)), 32, settings)

    faults = [(fault.file, fault.detail) for fault in packed.unusable]
    assert faults == [("s004", "the file is truncated")]
    assert len(packed.pairs) == len(packed.pixels) == 39
    assert packed.pixels[4, 12, 1].tolist() == [0, 5, 99, 150]
    assert "s004" not in [pair.name for pair in packed.pairs]


def test_more_than_a_few_damaged_pairs_are_refused(settings):
    damaged = ("s004", "s005", "s006")

    with pytest.raises(EngineError, match=r"3 of 40 pairs .* cannot be used .*: s004, s005, s006"):
        packing.prepare(Squares(damaged=damaged), 32, settings)

    assert not packing.is_packed(Squares(), 32, settings)


@pytest.mark.parametrize(("file", "keep"), [("index.json", 40), ("pixels.npy", 500)])
def test_the_error_about_a_damaged_folder_says_what_to_do(settings, file, keep):
    packing.prepare(Squares(), 32, settings)
    path = packing.packed_dir(Squares(), 32, settings) / file
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(EngineError, match=r"damaged .* Remove that folder"):
        packing.prepare(Squares(), 32, settings)


def test_a_full_disk_is_reported_before_anything_is_written(settings, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    with pytest.raises(EngineError, match=r"takes up to 0.0 GB, and 0.0 GB are free"):
        packing.prepare(Squares(), 32, settings)

    assert not packing.is_packed(Squares(), 32, settings)


def test_adding_pictures_moves_no_picture_to_another_split(settings):
    splits = {pair.name: pair.split for pair in packing.prepare(Squares(40), 32, settings).pairs}
    grown = Squares(80)
    grown.version = "2"
    grown_splits = {pair.name: pair.split for pair in packing.prepare(grown, 32, settings).pairs}

    assert {name: grown_splits[name] for name in splits} == splits


def test_other_pixels_have_another_fingerprint(settings):
    other = Squares()
    other.version = "2"
    load_pair = other.load_pair

    def load_darker(name, needed_px):
        pair = load_pair(name, needed_px)
        return dataclasses.replace(pair, render=lambda px: pair.render(px) // 2)

    other.load_pair = load_darker

    plain = packing.prepare(Squares(), 32, settings)

    assert packing.prepare(other, 32, settings).fingerprint != plain.fingerprint


def test_an_error_about_changed_pictures_names_another_renderer(settings):
    packed = packing.prepare(Squares(), 32, settings)
    environment = packed.describe()
    rendered_again = dataclasses.replace(packed, fingerprint="other", renderer="painter 0.6.1")

    with pytest.raises(EngineError) as refusal:
        rendered_again.require_unchanged(environment)

    assert "since the run began (rendered with painter 0.5.0, now with painter 0.6.1), so" in str(
        refusal.value
    )


def test_the_renderer_is_not_named_if_it_is_the_same_or_was_not_recorded(settings):
    packed = packing.prepare(Squares(), 32, settings)
    unknown_renderer = dataclasses.replace(packed, renderer=None)

    texts = [
        packed.renderer_change(packed.describe()),
        packed.renderer_change(unknown_renderer.describe()),
        packed.renderer_change(None),
        unknown_renderer.renderer_change(packed.describe()),
    ]

    assert texts == ["", "", "", ""]


def test_pairs_that_were_packed_without_the_renderer_are_used_as_they_are(settings):
    packed = packing.prepare(Squares(), 32, settings)
    index_file = packing.packed_dir(Squares(), 32, settings) / "index.json"
    index = json.loads(index_file.read_text())
    del index["renderer"]
    index_file.write_text(json.dumps(index))

    loaded = packing.prepare(Squares(), 32, settings)

    assert loaded == dataclasses.replace(packed, renderer=None)
    assert loaded.describe() == {"data_fingerprint": packed.fingerprint}


def test_the_renderer_of_the_embedded_pairs_is_recorded_with_its_version(packed):
    assert packed.renderer == f"resvg-py {metadata.version('resvg-py')}"


def test_the_fingerprint_does_not_depend_on_the_renderer(settings):
    other = Squares()
    other.renderer, other.version = "painter 0.6.1", "2"

    fingerprints = {packing.prepare(each, 32, settings).fingerprint for each in (Squares(), other)}

    assert len(fingerprints) == 1


def test_a_changed_folder_is_packed_again(tmp_path, settings):
    folder = write_photographs(tmp_path / "photos", 30)
    before = packing.prepare(parse_source(f"photos:{folder}", settings), 32, settings)
    (folder / "photo0003.jpg").unlink()

    source = parse_source(f"photos:{folder}", settings)

    assert not packing.is_packed(source, 32, settings)
    assert packing.prepare(source, 32, settings).fingerprint != before.fingerprint


def test_the_embedded_pairs_split_80_10_10_and_each_group_is_in_one_split(packed):
    counts = {split: len(packed.positions(split)) for split in ("train", "val", "test")}
    splits_of_groups = {}
    for pair in packed.pairs:
        splits_of_groups.setdefault(pair.group, set()).add(pair.split)

    assert sum(counts.values()) == 2113
    assert 0.76 < counts["train"] / 2113 < 0.84
    assert 0.08 < counts["val"] / 2113 < 0.13
    assert {len(splits) for splits in splits_of_groups.values()} == {1}


def test_drawings_with_the_same_sketch_and_other_colours_are_in_one_split(packed):
    hearts = ("1F499", "1F49A", "1F49C", "1F9E1", "1F90E", "2764")

    assert len({pair.group for pair in packed.pairs if pair.name in hearts}) == 1


def test_a_limit_keeps_the_first_pairs_of_the_same_order(packed):
    assert packed.positions("val", 5) == packed.positions("val")[:5]
    names = [packed.pairs[index].name for index in packed.positions("val")]
    assert names == sorted(names, key=shuffle_key)


def test_counts_agree_with_the_packed_pairs(packed, packed_settings):
    source = parse_source("openmoji", packed_settings)

    all_pairs = packing.count_pairs(source, BUDGETS["paper"], packed_settings)
    smoke = packing.count_pairs(source, BUDGETS["smoke"], packed_settings)

    splits = ("train", "val", "test")
    assert all_pairs == {split: len(packed.positions(split)) for split in splits}
    assert smoke == {"train": 64, "val": 32, "test": 32}


def test_the_split_depends_on_the_group_alone(packed):
    assert all(pair.split == split_of(pair.group) for pair in packed.pairs)


def test_an_unknown_source_is_refused(settings):
    with pytest.raises(BadInputError, match="no data source 'nowhere'; there are openmoji"):
        parse_source("nowhere", settings)


def test_pairs_are_records_that_cannot_be_changed(packed):
    with pytest.raises(dataclasses.FrozenInstanceError):
        packed.pairs[0].split = "train"
