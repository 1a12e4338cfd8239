"""Stored features of sources: equal to computed ones, complete or absent, shared by runs."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from engine import weights
from engine.data.batches import Batch, make_images, training_batches
from engine.errors import EngineError
from engine.networks.source_features import SourceReader
from engine.presets import BUDGETS
from engine.system import disk
from engine.training import source_feature_cache
from engine.training.source_feature_cache import SourceFeatureCache, prepare_source_features
from tests.support.runs import load_pairs

HALF_PRECISION = 2**-11  # the largest relative error of rounding to float16
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def reader(packed_settings):
    return SourceReader(weights.require("efficientnet_lite0", packed_settings)[0])


@pytest.fixture(scope="module")
def stored(reader, packed, few_pairs, tmp_path_factory):
    """The cache of 16 pairs, and its file."""
    path = tmp_path_factory.mktemp("features") / "features.npy"
    return prepare_source_features(reader, few_pairs, packed, path), path


@pytest.fixture
def path_copy(stored, tmp_path):
    """A copy of the file that a test may damage."""
    path = tmp_path / "features.npy"
    path.write_bytes(stored[1].read_bytes())
    return path


class CountingReader:
    """A reader that counts the pictures it reads."""

    def __init__(self, reader):
        self.reader, self.n_pictures = reader, 0

    def read_frozen(self, source):
        self.n_pictures += len(source)
        return self.reader.read_frozen(source)


def test_stored_features_are_the_computed_ones_mirrored_or_not(stored, reader, few_pairs):
    cache, _ = stored

    n_mirrored = 0
    for batch in training_batches(few_pairs, 8, 0, seed=0, epoch=1):
        source, _ = make_images(batch)
        for actual, expected in zip(cache(batch), reader.read_frozen(source), strict=True):
            assert actual.dtype == torch.float32
            # The last digits of float32 depend on the size of the batch.
            torch.testing.assert_close(actual, expected, rtol=HALF_PRECISION, atol=2e-4)
        n_mirrored += int(batch.augmentations[:, 1].sum())
    assert 0 < n_mirrored < 16


def test_stored_features_are_the_rounded_ones_bit_for_bit(stored, reader, few_pairs):
    cache, _ = stored
    n_per_pass = source_feature_cache.PAIRS_PER_PASS["cpu"]

    for is_mirrored in (0, 1):
        augmentations = torch.zeros(n_per_pass, 4, dtype=torch.int64)
        augmentations[:, 0], augmentations[:, 1] = torch.arange(n_per_pass), is_mirrored
        batch = Batch(few_pairs.pixels, augmentations)
        computed = reader.read_frozen(make_images(batch)[0])
        for actual, expected in zip(cache(batch), computed, strict=True):
            assert torch.equal(actual, expected.half().float())


def test_the_next_run_computes_nothing(path_copy, reader, packed, few_pairs):
    counting = CountingReader(reader)

    loaded = prepare_source_features(counting, few_pairs, packed, path_copy)

    assert counting.n_pictures == 0
    assert len(loaded) == 16
    assert loaded.n_bytes == 32 * 2 * (40 * 64 + 112 * 16 + 1280)


def test_a_run_with_fewer_pairs_uses_the_first_rows(stored, path_copy, reader, packed):
    counting, fewer_pairs = CountingReader(reader), load_pairs(packed, "train", 5)

    loaded = prepare_source_features(counting, fewer_pairs, packed, path_copy)

    assert counting.n_pictures == 0
    assert torch.equal(loaded.stride8, stored[0].stride8[:10])


def test_a_run_with_more_pairs_replaces_the_file(path_copy, reader, packed):
    counting, more_pairs = CountingReader(reader), load_pairs(packed, "train", 18)

    prepare_source_features(counting, more_pairs, packed, path_copy)

    assert counting.n_pictures == 36
    assert len(np.load(path_copy, mmap_mode="r")) == 36


def damage_end(content):
    return content[:-1000]


def damage_value(content):
    return content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:]


def empty(content):
    return b""


@pytest.mark.parametrize("damage", [damage_end, damage_value, empty])
def test_a_damaged_file_is_made_again_with_a_warning(
    damage, stored, path_copy, reader, packed, few_pairs, caplog
):
    path_copy.write_bytes(damage(path_copy.read_bytes()))

    with caplog.at_level(logging.WARNING):
        again = prepare_source_features(reader, few_pairs, packed, path_copy)

    assert "the features are computed again" in caplog.text
    assert torch.equal(again.stride16, stored[0].stride16)
    assert path_copy.read_bytes() == stored[1].read_bytes()


def test_features_of_other_pictures_are_not_used(path_copy, reader, packed, few_pairs):
    first = packed.positions("train")[0]
    changed = list(packed.pairs)
    changed[first] = replace(changed[first], fingerprint="0123456789abcdef")
    counting = CountingReader(reader)

    prepare_source_features(counting, few_pairs, replace(packed, pairs=tuple(changed)), path_copy)

    assert counting.n_pictures == 32


def test_a_stopped_preparation_leaves_no_file(reader, packed, tmp_path):
    pairs, reported = load_pairs(packed, "train", 40), []

    def stop(done, total):
        reported.append((done, total))
        if done >= 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_source_features(reader, pairs, packed, tmp_path / "features.npy", stop)

    assert reported == [(16, 40), (32, 40)]
    assert not list(tmp_path.glob("*.partial"))
    assert not (tmp_path / "features.npy").exists()


def test_a_full_disk_is_an_error_that_names_the_way_out(
    reader, packed, few_pairs, tmp_path, monkeypatch
):
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 0)

    with pytest.raises(EngineError, match="set CHROMABENCH_ARTIFACTS to a larger disk"):
        prepare_source_features(reader, few_pairs, packed, tmp_path / "features.npy")


def test_a_gather_needs_no_value_from_the_device():
    with FakeTensorMode(), torch.device("cuda"):
        half = {"dtype": torch.float16}
        cache = SourceFeatureCache(
            torch.zeros(20, 16, 16, 40, **half),
            torch.zeros(20, 8, 8, 112, **half),
            torch.zeros(20, 1280, **half),
        )
        batch = Batch(
            torch.zeros(10, 64, 64, 6, dtype=torch.uint8), torch.zeros(4, 4, dtype=torch.int64)
        )
        stride8, stride16, pooled = cache(batch)

    assert [tuple(values.shape) for values in (stride8, stride16, pooled)] == [
        (4, 40, 16, 16),
        (4, 112, 8, 8),
        (4, 1280),
    ]
    assert stride8.is_contiguous(memory_format=torch.channels_last)
    assert stride8.device.type == "cuda"


@pytest.mark.parametrize(
    ("px", "jitter", "n_train", "expected"),
    [(64, 0, 1648, True), (64, 2, 1648, False), (64, 0, 8000, False), (128, 0, 8000, False)],
)
def test_features_are_cached_without_jitter_if_they_fit_into_memory(px, jitter, n_train, expected):
    budget = BUDGETS["demo"].model_copy(update={"px": px, "jitter": jitter})

    assert source_feature_cache.should_cache(budget, n_train, CPU) is expected


def test_a_reader_is_fitted_alike_with_and_without_stored_features(
    stored, few_pairs, packed_settings
):
    path = weights.require("efficientnet_lite0", packed_settings)[0]
    computed, cached = SourceReader(path), SourceReader(path)

    source_feature_cache.fit_reader(computed, few_pairs, None)
    source_feature_cache.fit_reader(cached, few_pairs, stored[0])

    source, _ = make_images(next(training_batches(few_pairs, 8, 0, 0, 1)))
    maps, code = computed(computed.read_frozen(source))
    other_maps, other_code = cached(cached.read_frozen(source))
    for one, other in zip(maps, other_maps, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(other_code, code, rtol=0, atol=2e-2)
    assert code.abs().max() > 0.1
