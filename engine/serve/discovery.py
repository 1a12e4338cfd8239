"""Where the model server of an installation is: a file that it writes. Torch-free."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from engine.errors import EngineError
from engine.settings import Settings
from engine.system import processes
from engine.system.files import is_locked, replacing

LOOKED_AT_S = 2.0
FILE, LOCK, LOG = "server.json", "server.lock", "server.log"


@dataclass(frozen=True)
class Address:
    """A server that runs, or has run, on this machine."""

    url: str
    process: str


def write(settings: Settings, url: str, process: str) -> None:
    """Says where the server is."""
    with replacing(_path(settings)) as file:
        file.write(json.dumps({"url": url, "process": process}).encode())


def read(settings: Settings) -> Address | None:
    """The server that runs on this machine; None without one."""
    try:
        found = json.loads(_path(settings).read_bytes())
        known = Address(str(found["url"]), str(found["process"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    here = processes.is_here(known.process) and processes.is_alive(known.process)
    return known if here else None


def forget(settings: Settings, process: str) -> None:
    """Removes what a server wrote, if it is still its own."""
    known = read(settings)
    if known is not None and known.process == process:
        _path(settings).unlink(missing_ok=True)


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """What the one server that a page has started is in, from its start to its end.

    Raises:
        EngineError: another one is.
    """
    held = FileLock(settings.artifacts / LOCK)
    try:
        held.acquire(timeout=LOOKED_AT_S)  # a page that looks holds it for a moment
    except Timeout as error:
        raise EngineError("Another model server that a page has started runs already.") from error
    try:
        yield
    finally:
        held.release()


def is_held(settings: Settings) -> bool:
    """Whether a server that a page has started lives, ready or not."""
    return is_locked(FileLock(settings.artifacts / LOCK))


def log_path(settings: Settings) -> Path:
    """What a server that was started by a page says."""
    return settings.artifacts / LOG


def _path(settings: Settings) -> Path:
    return settings.artifacts / FILE
