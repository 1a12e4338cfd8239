"""Records where the model server of an installation can be reached. Loads no torch.

A running server writes its address to a file in the artifacts folder. A server that a page has
started also holds a lock, so that another page does not start a second server.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from engine.errors import EngineError
from engine.settings import Settings
from engine.system.files import is_locked, replacing
from engine.system.processes import ProcessId

LOCK_TIMEOUT_S = 2.0
ADDRESS_FILE, LOCK_FILE, LOG_FILE = "server.json", "server.lock", "server.log"


@dataclass(frozen=True)
class ServerAddress:
    """Address of a model server on this machine.

    Attributes:
        url: the server's URL.
        process: the server's process id, as `ProcessId` writes it.
    """

    url: str
    process: str


def write_address(settings: Settings, url: str, process: str) -> None:
    """Writes the address of a server that has started to listen."""
    with replacing(_address_path(settings)) as file:
        file.write(json.dumps({"url": url, "process": process}).encode())


def load_address(settings: Settings) -> ServerAddress | None:
    """Loads the address of the server that runs on this machine; None if no server runs."""
    try:
        values = json.loads(_address_path(settings).read_bytes())
        address = ServerAddress(str(values["url"]), str(values["process"]))
        process = ProcessId.parse(address.process)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return address if process.is_local and process.is_alive() else None


def delete_address(settings: Settings, process: str) -> None:
    """Deletes the address file if it belongs to the given process."""
    address = load_address(settings)
    if address is not None and address.process == process:
        _address_path(settings).unlink(missing_ok=True)


@contextmanager
def exclusive_server(settings: Settings) -> Iterator[None]:
    """Holds the lock of servers that pages start, while such a server runs.

    Raises:
        EngineError: another such server already runs.
    """
    lock = FileLock(settings.artifacts / LOCK_FILE)
    try:
        lock.acquire(timeout=LOCK_TIMEOUT_S)  # `is_running` holds the lock for a moment
    except Timeout as error:
        raise EngineError("Another model server that a page has started is running.") from error
    try:
        yield
    finally:
        lock.release()


def is_running(settings: Settings) -> bool:
    """Returns whether a server that a page has started is running, ready or not."""
    return is_locked(FileLock(settings.artifacts / LOCK_FILE))


def log_path(settings: Settings) -> Path:
    """Returns the path of the log of a server that a page has started."""
    return settings.artifacts / LOG_FILE


def _address_path(settings: Settings) -> Path:
    return settings.artifacts / ADDRESS_FILE
