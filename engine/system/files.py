"""Files that are the old one or the new one, never a part."""

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

PARTIAL = ".partial"  # how the names of files end that are being written


@contextmanager
def replacing(path: Path) -> Iterator[BufferedRandom]:
    """Opens a file that takes `path`'s place when the block ends without an error.

    It is on the disk before it is visible (fsync of file and folder), so neither a killed process
    nor a power cut leaves a part. After an error the old file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(PARTIAL, f"{path.name}.", path.parent)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder that takes `path`'s place when the block ends without an error.

    What stood there before, if anything, is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield building
        building.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        building.rename(path)
    except BaseException:
        shutil.rmtree(building)
        raise


def sweep_folders(path: Path) -> None:
    """Removes what killed processes left of `replacing_folder`; only who holds a lock may."""
    for left in path.parent.glob(f".{path.name}.*"):
        if left.is_dir():
            shutil.rmtree(left)


def sweep_partial(folder: Path) -> None:
    """Removes the files that killed processes left half-written in a folder of their own."""
    for left in folder.rglob(f"*{PARTIAL}"):
        left.unlink(missing_ok=True)


@contextmanager
def replacing_array(path: Path, shape: tuple[int, ...], kind: type) -> Iterator[np.memmap]:
    """A memory-mapped .npy file that takes `path`'s place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}{PARTIAL}")
    try:
        array = np.lib.format.open_memmap(partial, mode="w+", dtype=kind, shape=shape)
        yield array
        array.flush()
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def is_locked(lock: FileLock) -> bool:
    """Whether somebody holds a lock.

    Raises:
        EngineError: its file cannot be locked at all.
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


def read_tail(path: Path, characters: int) -> str:
    """The end of a log; empty where there is none."""
    return path.read_text(errors="replace")[-characters:] if path.is_file() else ""
