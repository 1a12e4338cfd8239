"""Downloading published data sets: with stand-ins for the libraries, and without a connection."""

import urllib.error
from pathlib import Path

import kagglehub
import pytest

from engine.data.sources import download
from engine.data.sources.registry import read_source
from engine.errors import BadInputError, EngineError
from tests.support.image_files import write_pairs, write_photographs


def test_the_drawings_come_with_their_splits_and_are_fetched_once(tmp_path, settings, monkeypatch):
    asked = []

    def fake_download(handle, output_dir):
        asked.append(handle)
        for split in ("train", "val"):
            write_pairs(Path(output_dir) / "colorgram" / split, 12)
        return output_dir

    monkeypatch.setattr(kagglehub, "dataset_download", fake_download)

    text = download.fetch("anime-sketch", tmp_path)
    again = download.fetch("anime-sketch", tmp_path)

    assert text == again == f"sidebyside:{tmp_path}/anime-sketch"
    assert asked == ["ktaebum/anime-sketch-colorization-pair"]
    assert len(read_source(text, settings).names()) == 24
    assert [path.name for path in tmp_path.iterdir()] == ["anime-sketch"]


def test_half_an_unpacked_archive_is_thrown_away(tmp_path, settings, monkeypatch):
    left = tmp_path / "places365.partial" / "val_256" / "half.jpg"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")

    def places(root, split, small, download):
        assert (split, small, download) == ("val", True, True)
        write_photographs(Path(root) / "val_256", 5)

    monkeypatch.setattr(download, "Places365", places)

    text = download.fetch("places365", tmp_path)

    assert text == f"photos:{tmp_path}/places365"
    assert len(read_source(text, settings).names()) == 5


@pytest.mark.parametrize(
    "fault",
    [
        urllib.error.URLError("Name or service not known"),
        OSError("a story of " + 50 * "words "),
        RuntimeError("File not found or corrupted."),
    ],
)
def test_without_a_connection_the_manual_way_is_said(tmp_path, monkeypatch, fault):
    def fail(*_, **__):
        raise fault

    monkeypatch.setattr(download, "Places365", fail)

    with pytest.raises(EngineError, match=r"could not be fetched \(.{4,40}\)\. By hand: Download"):
        download.fetch("places365", tmp_path)

    assert not (tmp_path / "places365").exists()


def test_a_data_set_nobody_knows_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="no data set 'imagenet'; there is anime-sketch"):
        download.fetch("imagenet", tmp_path)
