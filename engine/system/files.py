"""Writes files and folders atomically, tests locks and loads log tails."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import DTypeLike

from engine.errors import EngineError

LOG_TAIL_LINES = 60
LOG_TAIL_BYTES = 2**20  # a longer log is not read as a whole
PARTIAL_SUFFIX = ".partial"
OLD_SUFFIX = ".replaced-folder"  # longer than the random suffixes of temporary folders


@contextmanager
def replacing(path: Path) -> Iterator[BufferedRandom]:
    """Opens a new file that replaces `path` when the block ends without an error.

    Both the file and its folder are synced (fsync), so neither a killed process nor a power cut
    leaves a part of the new file at `path`. After an error the old file is unchanged.
    """
    with _partial_file(path) as (partial, descriptor), os.fdopen(descriptor, "w+b") as file:
        yield file
        file.flush()
        publish(partial, path)


@contextmanager
def _partial_file(path: Path) -> Iterator[tuple[Path, int]]:
    """Creates a file with a new name beside `path`; deletes the file after an error.

    The descriptor holds a lock (flock), which the system releases when the process ends. By this
    lock, `delete_leftover` tells the file of a living writer from a leftover. The caller closes the
    descriptor after the file has its final name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor, name = tempfile.mkstemp(PARTIAL_SUFFIX, f"{path.name}.", path.parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.fchmod(descriptor, 0o644)
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # another process deleted the file before it was locked
    try:
        yield Path(name), descriptor
    except BaseException:
        Path(name).unlink(missing_ok=True)
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

    The old folder is renamed before the new one gets its name, and then deleted. If the process is
    killed in between, the next call of this function or of `recover_folder` restores it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(path)
    new_folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield new_folder
        new_folder.chmod(0o755)
        if path.exists():
            path.rename(_old_folder(path))
        new_folder.rename(path)
    except BaseException:
        shutil.rmtree(new_folder, ignore_errors=True)
        recover_folder(path)
        raise
    recover_folder(path)


def recover_folder(path: Path) -> None:
    """Completes or undoes the last step of a `replacing_folder` that was interrupted.

    If the new folder has its name, the old folder is deleted; otherwise the old folder gets its
    name back. No other process may be replacing the folder.
    """
    old_folder = _old_folder(path)
    if not old_folder.exists():
        return
    if not path.exists():
        old_folder.rename(path)
        return
    # Rename it first: a folder that is deleted only in part must not be recovered later.
    unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    shutil.rmtree(old_folder.replace(unfinished))


def _old_folder(path: Path) -> Path:
    return path.with_name(f".{path.name}{OLD_SUFFIX}")


def delete_unfinished_folders(path: Path) -> None:
    """Deletes the folders that killed processes left in `replacing_folder`, after a recovery.

    The caller must hold the lock that guards `path`: otherwise another process may still write
    into such a folder.
    """
    recover_folder(path)
    for folder in path.parent.glob(f".{path.name}.*"):
        if folder.is_dir():
            shutil.rmtree(folder)


def is_leftover(partial: Path) -> bool:
    """Returns whether a half-written file was left by a process that has ended."""
    with _opened_leftover(partial) as descriptor:
        return descriptor is not None


def delete_leftover(partial: Path) -> bool:
    """Deletes a half-written file, unless a process is writing it.

    Returns:
        Whether the file was deleted.
    """
    with _opened_leftover(partial) as descriptor:
        if descriptor is not None:
            partial.unlink(missing_ok=True)
        return descriptor is not None


@contextmanager
def _opened_leftover(partial: Path) -> Iterator[int | None]:
    """Opens and locks a half-written file; yields None if it is absent or being written."""
    try:
        descriptor = os.open(partial, os.O_RDONLY)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def delete_leftovers(folder: Path) -> None:
    """Deletes the half-written files below a folder that ended processes have left."""
    for partial in folder.rglob(f"*{PARTIAL_SUFFIX}"):
        delete_leftover(partial)


@contextmanager
def replacing_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> Iterator[np.memmap]:
    """Makes a memory-mapped .npy file that replaces `path` if the block ends without an error."""
    with _partial_file(path) as (partial, descriptor):
        try:
            array = np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape)
            yield array
            array.flush()
            partial.replace(path)
        finally:
            os.close(descriptor)


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
