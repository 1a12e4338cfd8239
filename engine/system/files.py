"""Writes files and folders atomically, tests locks and loads log tails."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from engine.errors import EngineError

LOG_TAIL_LINES = 60
LOG_TAIL_BYTES = 2**20  # a longer log is not read as a whole
PARTIAL_SUFFIX = ".partial"


@contextmanager
def replacing(path: Path) -> Iterator[BufferedRandom]:
    """Opens a new file that replaces `path` when the block ends without an error.

    Both the file and its folder are synced (fsync), so neither a killed process nor a power cut
    leaves a part of the new file at `path`. After an error the old file is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(PARTIAL_SUFFIX, f"{path.name}.", path.parent)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
        Path(partial).chmod(0o644)
        publish(Path(partial), path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def publish(partial: Path, path: Path) -> None:
    """Renames a complete file to its final name on the same disk; syncs the file and its folder."""
    _sync(partial)
    partial.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Makes a new folder that replaces `path` when the block ends without an error.

    The old folder, if there is one, is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new_folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield new_folder
        new_folder.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        new_folder.rename(path)
    except BaseException:
        shutil.rmtree(new_folder)
        raise


def delete_unfinished_folders(path: Path) -> None:
    """Deletes the folders that killed processes left unfinished in `replacing_folder`.

    The caller must hold the lock that guards `path`: otherwise another process may still write
    into such a folder.
    """
    for folder in path.parent.glob(f".{path.name}.*"):
        if folder.is_dir():
            shutil.rmtree(folder)


def delete_partial_files(folder: Path) -> None:
    """Deletes the half-written files below a folder; no other process may write into the folder."""
    for partial in folder.rglob(f"*{PARTIAL_SUFFIX}"):
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_array(path: Path, shape: tuple[int, ...], dtype: type) -> Iterator[np.memmap]:
    """Makes a memory-mapped .npy file that replaces `path` if the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        array = np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape)
        yield array
        array.flush()
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def is_locked(lock: FileLock) -> bool:
    """Returns whether a process holds a lock.

    Raises:
        EngineError: the lock file cannot be locked at all.
    """
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError as error:
        raise EngineError(f"{lock.lock_file} cannot be locked ({error.strerror}).") from error


def load_tail(path: Path, n_lines: int = LOG_TAIL_LINES) -> str:
    """Loads the last lines of a log file; returns an empty string if the file does not exist.

    Only the last `LOG_TAIL_BYTES` of the file are read, so there may be fewer lines.
    """
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES)
        file.seek(start)
        text = file.read(LOG_TAIL_BYTES).decode("utf-8", "replace")
    lines = text.splitlines()[1 if start else 0 :]  # the first line may be incomplete
    return "\n".join(lines[-n_lines:])
