import shutil
import threading

import numpy as np
import pytest

from engine.data import packing
from engine.data.pairs import split_channels
from engine.data.region_labels import ink_of_pairs, labels_path, load_region_labels
from engine.data.sources.registry import parse_source
from engine.errors import EngineError
from engine.images import color
from engine.images.regions import label_regions
from engine.system.files import replacing_array


@pytest.fixture
def source(packed_settings):
    return parse_source("openmoji", packed_settings)


@pytest.fixture
def own_settings(settings, packed_settings):
    """Settings with a copy of the packed pairs, without stored labels."""
    shutil.copytree(
        packed_settings.data_dir, settings.data_dir, ignore=shutil.ignore_patterns("regions-*")
    )
    return settings


def test_stored_labels_are_those_of_each_packed_sketch(own_settings, source, packed):
    labels = load_region_labels(packed, source, own_settings)

    assert labels.shape == packed.pixels.shape[:3]
    for index in range(0, len(labels), 50):
        sketch = split_channels(packed.pixels[index])[0][..., 0]
        assert np.array_equal(labels[index], label_regions(sketch))


def test_labels_are_computed_once_and_then_read_from_the_disk(own_settings, source, packed):
    calls = []

    first = load_region_labels(packed, source, own_settings, lambda *counts: calls.append(counts))
    n_calls = len(calls)
    second = load_region_labels(packed, source, own_settings, lambda *counts: calls.append(counts))

    n_pairs = len(packed.pairs)
    assert calls[0] == (64, n_pairs)
    assert calls[-1] == (n_pairs, n_pairs)
    assert len(calls) == n_calls
    assert isinstance(second, np.memmap)
    assert np.array_equal(first, second)


def test_two_threads_that_need_the_labels_compute_them_once(own_settings, source, packed):
    calls, loaded = [], []

    def load():
        loaded.append(load_region_labels(packed, source, own_settings, lambda *n: calls.append(n)))

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(calls) == len(set(calls))
    assert np.array_equal(*loaded)


def test_labels_stay_in_the_folder_of_the_pairs_and_leave_no_other_file(
    own_settings, source, packed
):
    folder = packing.packed_dir(source, 32, own_settings)
    leftover = folder / "regions-1.npy.abc.partial"
    leftover.write_bytes(b"half")

    load_region_labels(packed, source, own_settings)

    names = {path.name for path in folder.iterdir()}
    assert names == {"index.json", "pixels.npy", "regions-1.npy"}
    assert packing.load_packed(source, 32, own_settings) == packed


def test_the_error_about_damaged_labels_says_what_to_do(own_settings, source, packed):
    load_region_labels(packed, source, own_settings)
    path = labels_path(source, 32, own_settings)
    path.write_bytes(path.read_bytes()[:500])

    with pytest.raises(EngineError, match=r"damaged .* Remove that file"):
        load_region_labels(packed, source, own_settings)

    path.unlink()
    assert load_region_labels(packed, source, own_settings).shape == (len(packed.pairs), 32, 32)


def test_labels_of_another_number_of_pairs_are_refused(own_settings, source, packed):
    path = labels_path(source, 32, own_settings)
    with replacing_array(path, (3, 32, 32), np.uint8) as labels:
        labels[:] = 0

    with pytest.raises(EngineError, match=r"shape \(3, 32, 32\)"):
        load_region_labels(packed, source, own_settings)


def test_a_full_disk_is_reported_before_labels_are_written(
    own_settings, source, packed, monkeypatch
):
    usage = shutil.disk_usage("/")._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    with pytest.raises(EngineError, match="Storing the regions of"):
        load_region_labels(packed, source, own_settings)

    assert not labels_path(source, 32, own_settings).exists()


def test_the_ink_of_a_grey_sketch_is_the_sketch_and_of_a_coloured_one_its_lightness():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 6)).astype(np.uint8)
    red, green, blue = (pixels[..., channel] for channel in range(3))

    assert np.array_equal(ink_of_pairs(pixels), color.grey_of_equal_lightness(red, green, blue))
    assert np.array_equal(ink_of_pairs(pixels[..., 2:]), pixels[..., 2])
