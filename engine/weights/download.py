"""Downloads a file of weights: one process at a time, resumable, and verified before it is used.

The part that is downloaded lies in a folder of its own, and gets the final name only after its
sha256 was verified. An interrupted download continues with a range request, which names the version
of the file, so that a changed file is sent from its beginning. If a file that was put together from
several parts has a wrong sha256, it is downloaded once more in one piece.

`urllib3.util.Retry` is not used here, because it repeats only requests without a response: it does
not continue a body whose connection broke, and a download cannot be cancelled during its pauses.
"""

import errno
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import requests
from filelock import Timeout

from engine.errors import EngineError, MissingWeightsError
from engine.settings import Settings
from engine.system import disk
from engine.system.files import publish
from engine.weights import catalog, download_state
from engine.weights.catalog import WeightsFile, format_mb
from engine.weights.download_state import DownloadFiles, DownloadRecord

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 20.0
CHUNK_BYTES = 16 * 2**10
WAIT_POLL_S = 0.2

OnProgress = Callable[[int, int], None]  # takes the downloaded and the total bytes


class DownloadCancelledError(EngineError):
    """The download was cancelled; the downloaded part is kept."""


class _InterruptedError(Exception):
    """The connection broke before the whole file was sent."""


class _RefusedPartError(Exception):
    """The server does not continue the part that is here; the file is to be sent as a whole."""


def download_weights(
    name: str, settings: Settings, on_progress: OnProgress = lambda done, total: None
) -> Path:
    """Downloads and verifies a file of weights; a file that is here is only verified.

    If another process downloads the file, this process waits for it and follows its progress.

    Args:
        name: an entry of `weights.CATALOG`.
        settings: the settings of the installation.
        on_progress: called with the downloaded and the total bytes; an error that it raises ends
            the download, and the downloaded part is kept.

    Returns:
        The path of the file.

    Raises:
        MissingWeightsError: the file comes in a Python package, or a file that is here has a wrong
            sha256.
        BadInputError: CHROMABENCH_FETCH is `never`.
        DownloadCancelledError: the download was cancelled.
        EngineError: the folder cannot be written, the disk is full, the server cannot be reached,
            or its file is another one.
    """
    weights = catalog.get_weights(name)
    if catalog.find(name, settings) is not None:
        return catalog.require(name, settings)[0]
    if weights.url is None:
        raise MissingWeightsError(f"{catalog.missing_message(name)}.")
    download_state.require_allowed(name, settings)
    settings.require_writable_artifacts()
    download = _Download(weights, settings, on_progress)
    with download.exclusive():
        path = catalog.find(name, settings)  # another process may have finished it meanwhile
        return download.run() if path is None else path


def wait_for_download(
    name: str, settings: Settings, on_progress: OnProgress = lambda done, total: None
) -> Path | None:
    """Waits until no other process downloads a file of weights.

    Returns:
        The path of the file; None if it is still not on this machine.
    """
    weights = catalog.get_weights(name)
    files = DownloadFiles(weights, settings)
    while download_state.is_running(name, settings):
        on_progress(files.n_bytes(), weights.n_bytes or 0)
        time.sleep(WAIT_POLL_S)
    return catalog.find(name, settings)


class _Download:
    """The download of one file of weights by this process."""

    def __init__(self, weights: WeightsFile, settings: Settings, on_progress: OnProgress) -> None:
        assert weights.url is not None, "the file is downloaded"
        self.weights, self.settings, self.on_progress = weights, settings, on_progress
        self.url = weights.url
        if settings.weights_url is not None:
            self.url = f"{settings.weights_url.rstrip('/')}/{weights.file}"
        self.files = DownloadFiles(weights, settings)
        self.record = DownloadRecord()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Waits until no other process downloads the file, and holds the lock during the block.

        Raises:
            DownloadCancelledError: the download of the other process was cancelled.
            EngineError: the lock cannot be locked.
        """
        lock = self.files.lock()
        token = None
        try:
            self.files.folder.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    lock.acquire(timeout=0 if token is None else WAIT_POLL_S)
                    break
                except Timeout:
                    token = self.files.load_record().token
                    self.on_progress(self.files.n_bytes(), self.weights.n_bytes or 0)
        except OSError as error:
            raise EngineError(
                f"The folder {self.files.folder} cannot be written ({error.strerror})."
            ) from error
        try:
            if token is not None and self.files.is_cancelled(token):
                raise self._cancelled()
            yield
        finally:
            lock.release()

    def run(self) -> Path:
        """Downloads and verifies the file; stores the reason of a failure for other processes.

        Raises:
            DownloadCancelledError: the download was cancelled.
            EngineError: the download failed.
        """
        try:
            try:
                self.record = self.files.begin_record()
                return self._download_and_verify()
            except OSError as error:
                raise self._failure(self._disk_reason(error)) from error
        except DownloadCancelledError:
            raise
        except EngineError as error:
            # On a full disk the reason cannot be stored; the caller still receives it.
            with suppress(OSError):
                self.files.save_record(replace(self.record, error=str(error)))
            raise

    def _download_and_verify(self) -> Path:
        is_one_piece = self._download_all()
        digest = catalog.hash_file(self.files.partial)
        if digest != self.weights.sha256 and not is_one_piece:
            self.files.partial.unlink()
            self._download_all()
            digest = catalog.hash_file(self.files.partial)
        if digest != self.weights.sha256:
            self.files.partial.unlink()
            raise self._failure(
                f"the sha256 of the downloaded file begins with {digest[:8]}, not with "
                f"{self.weights.sha256[:8]}, and the file was removed"
            )
        path = self.settings.weights_dir / self.weights.file
        publish(self.files.partial, path)
        self.files.delete()
        return path

    def _download_all(self) -> bool:
        """Downloads the missing part of the file; repeats the request while the part grows.

        Returns:
            Whether the server sent the file in one piece.
        """
        largest = self.files.n_bytes()
        is_one_piece = False
        while self.record.n_total is None or self.files.n_bytes() != self.record.n_total:
            try:
                is_one_piece = self._transfer()
            except _RefusedPartError:
                self.files.partial.unlink()
            except (requests.RequestException, _InterruptedError) as error:
                if self.files.n_bytes() <= largest:
                    raise self._failure(self._reason(error)) from error
                largest = self.files.n_bytes()
        return is_one_piece

    def _transfer(self) -> bool:
        """Requests the missing part of the file once and writes it.

        Returns:
            Whether the server sent the file from its beginning.
        """
        n_bytes = self.files.n_bytes()
        with self._request(n_bytes) as response:
            is_continued = n_bytes > 0 and response.status_code == requests.codes.partial_content
            if is_continued:
                n_total = self._total_of_part(response, n_bytes)
            elif n_bytes and response.status_code != requests.codes.ok:
                raise _RefusedPartError
            else:
                n_total = self._total_of_whole(response)
            self.record = replace(self.record, validator=_validator(response), n_total=n_total)
            self.files.save_record(self.record)
            n_missing = n_total - n_bytes if is_continued else n_total
            hint = "Make room and start the download again."
            disk.require_room(n_missing, self.files.folder, self.weights.file, hint)
            self._write(response, "ab" if is_continued else "wb", n_total)
        return not is_continued

    def _request(self, n_bytes: int) -> requests.Response:
        """Requests the file without its first bytes, which are here."""
        headers = {"Accept-Encoding": "identity"}
        if n_bytes:
            headers["Range"] = f"bytes={n_bytes}-"
        if n_bytes and self.record.validator is not None:
            headers["If-Range"] = self.record.validator
        timeout = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        return requests.get(self.url, headers=headers, stream=True, timeout=timeout)

    def _total_of_part(self, response: requests.Response, n_bytes: int) -> int:
        """Returns the size of the file whose part a response sends.

        Raises:
            _RefusedPartError: the response does not continue the part that is here.
        """
        content_range = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", content_range)
        if match is None or int(match[1]) != n_bytes:
            raise _RefusedPartError
        n_total = int(match[2])
        if any(size not in (None, n_total) for size in (self.record.n_total, self.weights.n_bytes)):
            raise _RefusedPartError
        return n_total

    def _total_of_whole(self, response: requests.Response) -> int:
        """Returns the size of the file that a response sends from its beginning.

        Raises:
            EngineError: the server refused the request, or has another file.
        """
        host = urlsplit(response.url).hostname
        if response.status_code != requests.codes.ok:
            raise self._failure(f"{host} answered {response.status_code} {response.reason}")
        length, n_expected = response.headers.get("Content-Length", ""), self.weights.n_bytes
        if not length.isdecimal():
            raise self._failure(f"{host} does not state the size of the file")
        if n_expected not in (None, int(length)):
            raise self._failure(
                f"the file on {host} has {int(length):,} bytes, not {n_expected:,}: it is another "
                "file"
            )
        return int(length)

    def _write(self, response: requests.Response, mode: Literal["ab", "wb"], n_total: int) -> None:
        """Writes the body of a response.

        Raises:
            DownloadCancelledError: the download was cancelled.
            _InterruptedError: the connection broke.
        """
        with self.files.partial.open(mode) as file:
            done = file.tell()
            try:
                for chunk in response.iter_content(CHUNK_BYTES):
                    file.write(chunk)
                    done += len(chunk)
                    self.on_progress(done, n_total)
                    if self.files.is_cancelled(self.record.token):
                        raise self._cancelled()
            except requests.RequestException as error:
                raise _InterruptedError from error
        if done != n_total:
            raise _InterruptedError

    def _reason(self, error: Exception) -> str:
        """Returns why a request failed, in a few words."""
        request = getattr(error, "request", None)
        host = urlsplit(getattr(request, "url", None) or self.url).hostname
        reason = f"{host} cannot be reached"
        if isinstance(error, _InterruptedError):
            reason = f"the connection to {host} broke"
        elif isinstance(error, requests.exceptions.SSLError):
            reason = f"the certificate of {host} cannot be verified"
        elif isinstance(error, requests.exceptions.ProxyError):
            reason = "the proxy server cannot be reached"
        elif isinstance(error, requests.exceptions.Timeout):
            reason = f"{host} does not answer"
        if n_bytes := self.files.n_bytes():
            reason += f"; {format_mb(n_bytes)} of {self.weights.size_text} are here and are kept"
        return reason

    def _disk_reason(self, error: OSError) -> str:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"the disk of {self.files.folder} is full; make room and start it again"
        return f"{self.files.folder} cannot be written: {error.strerror or error}"

    def _failure(self, reason: str) -> EngineError:
        instruction = catalog.manual_instruction(self.weights.name, self.settings)
        return EngineError(
            f"{self.weights.file} could not be downloaded ({reason}); to install it by hand, "
            f"{instruction}."
        )

    def _cancelled(self) -> DownloadCancelledError:
        return DownloadCancelledError(
            f"The download of the {self.weights.label} weights was cancelled. "
            f"`{catalog.install_command(self.weights.name)}` continues it."
        )


def _validator(response: requests.Response) -> str | None:
    """Returns the version of the file that the server states, for the header `If-Range`."""
    etag = response.headers.get("ETag", "")
    if etag.startswith('"'):  # `W/` marks a weak one, which does not prove that bytes are equal
        return etag
    return response.headers.get("Last-Modified")
