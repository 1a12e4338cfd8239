"""Tests of downloads of published data sets, with fake libraries and without a connection."""

import urllib.error
from pathlib import Path

import kagglehub
import pytest

from engine.data.sources import download
from engine.data.sources.registry import parse_source
from engine.errors import BadInputError, EngineError
from tests.support.image_files import write_pairs, write_photographs


def test_drawings_have_their_splits_and_are_downloaded_once(tmp_path, settings, monkeypatch):
    handles = []

    def fake_download(handle, output_dir):
        handles.append(handle)
        for split in ("train", "val"):
            write_pairs(Path(output_dir) / "colorgram" / split, 12)
        return output_dir

    monkeypatch.setattr(kagglehub, "dataset_download", fake_download)

    text = download.download_data_set("anime-sketch", tmp_path)
    again = download.download_data_set("anime-sketch", tmp_path)

    assert text == again == f"sidebyside:{tmp_path}/anime-sketch"
    assert handles == ["ktaebum/anime-sketch-colorization-pair"]
    assert len(parse_source(text, settings).names()) == 24
    assert [path.name for path in tmp_path.iterdir()] == ["anime-sketch"]


def test_a_partly_unpacked_archive_is_deleted(tmp_path, settings, monkeypatch):
    incomplete = tmp_path / "places365.partial" / "val_256" / "half.jpg"
    incomplete.parent.mkdir(parents=True)
    incomplete.write_bytes(b"half")

    def fake_places365(root, split, small, download):
        assert (split, small, download) == ("val", True, True)
        write_photographs(Path(root) / "val_256", 5)

    monkeypatch.setattr(download, "Places365", fake_places365)

    text = download.download_data_set("places365", tmp_path)

    assert text == f"photos:{tmp_path}/places365"
    assert len(parse_source(text, settings).names()) == 5


@pytest.mark.parametrize(
    "fault",
    [
        urllib.error.URLError("Name or service not known"),
        OSError("a long message of " + 50 * "words "),
        RuntimeError("File not found or corrupted."),
    ],
)
def test_without_a_connection_the_error_has_the_manual_steps(tmp_path, monkeypatch, fault):
    def fail(*_, **__):
        raise fault

    monkeypatch.setattr(download, "Places365", fail)

    with pytest.raises(
        EngineError, match=r"could not be downloaded \(.{4,40}\)\. By hand: Download"
    ):
        download.download_data_set("places365", tmp_path)

    assert not (tmp_path / "places365").exists()


def test_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(
        BadInputError, match="no data set 'imagenet'; the data sets are anime-sketch"
    ):
        download.download_data_set("imagenet", tmp_path)
