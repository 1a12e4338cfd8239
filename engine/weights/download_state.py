"""The state of downloads of weights, in files that all processes of the artifacts folder read.

The folder `downloads` in the weights folder holds up to five files for each file of weights: the
downloaded part, a record with the size and version of the file on the server, a lock that the
downloading process holds, the request to cancel, and the log of a download in the background.
"""

import json
import secrets
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from engine.errors import BadInputError, EngineError
from engine.settings import Settings
from engine.system import processes
from engine.system.child_environment import build_child_environment
from engine.system.files import is_locked, load_tail, replacing
from engine.weights import catalog
from engine.weights.catalog import WeightsFile

START_TIMEOUT_S = 20.0
START_POLL_S = 0.05


@dataclass(frozen=True)
class DownloadRecord:
    """The record of a download that has started. The names of the fields are keys of its file.

    Attributes:
        token: identifies the download; a request to cancel names it.
        validator: the strong ETag, or else the modification time, of the file on the server; None
            if the server states neither.
        n_total: the size of the file on the server in bytes; None before the server has answered.
        error: why the download failed; None if it has not failed.
    """

    token: str = ""
    validator: str | None = None
    n_total: int | None = None
    error: str | None = None


class DownloadFiles:
    """The files that describe the download of one file of weights."""

    def __init__(self, weights: WeightsFile, settings: Settings) -> None:
        self.folder = settings.weights_dir / "downloads"
        self.partial = self.folder / f"{weights.file}.partial"
        self.log = self.folder / f"{weights.file}.log"
        self._record = self.folder / f"{weights.file}.json"
        self._lock = self.folder / f"{weights.file}.lock"
        self._cancel = self.folder / f"{weights.file}.cancel"

    def lock(self) -> FileLock:
        """Returns the lock that the downloading process holds."""
        return FileLock(self._lock)

    def n_bytes(self) -> int:
        """Returns the size of the downloaded part in bytes."""
        try:
            return self.partial.stat().st_size
        except FileNotFoundError:
            return 0

    def load_record(self) -> DownloadRecord:
        """Loads the record; an empty one if there is none, or if it was damaged.

        A damaged record loses nothing but the progress: the finished file is verified anyway.
        """
        try:
            values: dict[str, Any] = json.loads(self._record.read_text(encoding="utf-8"))
            return DownloadRecord(**values)
        except FileNotFoundError:
            return DownloadRecord()
        except (ValueError, TypeError):
            self.partial.unlink(missing_ok=True)
            return DownloadRecord()

    def begin_record(self) -> DownloadRecord:
        """Gives the download a new token, forgets its last error and returns its record."""
        record = replace(self.load_record(), token=secrets.token_hex(8), error=None)
        self.save_record(record)
        return record

    def save_record(self, record: DownloadRecord) -> None:
        """Writes the record."""
        with replacing(self._record) as file:
            file.write(json.dumps(asdict(record)).encode())

    def request_cancel(self) -> None:
        """Requests that the running download ends and keeps its downloaded part."""
        with replacing(self._cancel) as file:
            file.write(self.load_record().token.encode())

    def is_cancelled(self, token: str) -> bool:
        """Returns whether the end of the download with a token was requested."""
        try:
            return self._cancel.read_text(encoding="utf-8") == token
        except FileNotFoundError:
            return False

    def delete(self) -> None:
        """Deletes what describes the download, after its end; the log and the lock are kept."""
        for path in (self.partial, self._record, self._cancel):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class DownloadState:
    """The state of one file of weights on this machine.

    Attributes:
        weights: the file.
        path: the path of the complete file; None if it is not on this machine.
        n_bytes: the size of the downloaded part in bytes.
        is_running: whether a process downloads the file now.
        is_cancelling: whether this process was requested to end.
        error: why the last download failed; None if it did not fail.
    """

    weights: WeightsFile
    path: Path | None
    n_bytes: int = 0
    is_running: bool = False
    is_cancelling: bool = False
    error: str | None = None

    @property
    def share(self) -> float:
        """The downloaded share of the file, from 0 to 1."""
        return min(1.0, self.n_bytes / (self.weights.n_bytes or 1))

    @property
    def progress_text(self) -> str:
        """The downloaded part, for example "40 of 91 MB"."""
        return f"{catalog.format_mb(self.n_bytes)} of {self.weights.size_text}"

    def __str__(self) -> str:
        if self.path is not None:
            return "here"
        if self.is_running:
            return f"downloading: {self.progress_text}"
        return f"partly downloaded: {self.progress_text}" if self.n_bytes else "missing"


def read_state(name: str, settings: Settings) -> DownloadState:
    """Reads the state of a file of weights.

    Raises:
        EngineError: the lock of the download cannot be locked at all.
    """
    weights, path = catalog.get_weights(name), catalog.find(name, settings)
    if path is not None or weights.url is None:
        return DownloadState(weights, path)
    files = DownloadFiles(weights, settings)
    is_active, record = is_running(name, settings), files.load_record()
    return DownloadState(
        weights,
        None,
        files.n_bytes(),
        is_active,
        is_active and files.is_cancelled(record.token),
        None if is_active else record.error,
    )


def is_running(name: str, settings: Settings) -> bool:
    """Returns whether a process downloads a file of weights now.

    Raises:
        EngineError: the lock of the download cannot be locked at all.
    """
    return is_locked(DownloadFiles(catalog.get_weights(name), settings).lock())


def require_allowed(name: str, settings: Settings) -> None:
    """Checks that the settings allow the download of a file of weights.

    Raises:
        BadInputError: the setting is `never`.
    """
    if settings.fetch == "never":
        raise BadInputError(
            f"CHROMABENCH_FETCH=never forbids downloads: set it to ask or auto, or "
            f"{catalog.manual_instruction(name, settings)}."
        )


def describe(name: str, settings: Settings) -> dict[str, str | None]:
    """Returns the entry of `weights list` for a file; `path` is None if the file is missing."""
    state = read_state(name, settings)
    instruction = catalog.install_command(name)
    if state.weights.url is not None:
        instruction += f", or put {state.weights.file} into {settings.weights_dir}"
    return {
        "name": name,
        "purpose": state.weights.purpose,
        "sha256": state.weights.sha256,
        "state": str(state),
        "path": str(state.path) if state.path else None,
        "way_out": instruction,
    }


def start_download(name: str, settings: Settings) -> None:
    """Starts the download of a file of weights in a detached process, unless one is running.

    Returns when the download runs or has ended. Its process survives this process.

    Raises:
        BadInputError: the setting is `never`.
        EngineError: the process could not be started.
    """
    require_allowed(name, settings)
    settings.require_writable_artifacts()
    if is_running(name, settings):
        return
    files = DownloadFiles(catalog.get_weights(name), settings)
    command = [sys.executable, "-m", "engine", "weights", "fetch", name]
    try:
        files.log.unlink(missing_ok=True)
        child = processes.start_detached(command, files.log, build_child_environment(settings))
    except OSError as error:
        raise EngineError(f"The download could not be started ({error}).") from error
    deadline = time.monotonic() + START_TIMEOUT_S
    while child.poll() is None and not is_running(name, settings) and time.monotonic() < deadline:
        time.sleep(START_POLL_S)
    threading.Thread(target=child.wait, daemon=True).start()  # prevents a zombie
    if child.returncode and files.load_record().error is None:
        last_line = load_tail(files.log, 1) or f"exit status {child.returncode}"
        raise EngineError(f"The download could not be started ({last_line}).")


def cancel_download(name: str, settings: Settings) -> None:
    """Requests that a running download ends; its downloaded part is kept for the next download."""
    if is_running(name, settings):
        DownloadFiles(catalog.get_weights(name), settings).request_cancel()
