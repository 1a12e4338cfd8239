"""Training states on disk: written whole or not at all, verified when read."""

import hashlib
import os
import tempfile
from pathlib import Path

import torch

from engine.errors import EngineError


def save(state: dict[str, object], path: Path) -> tuple[str, int]:
    """Writes a state so that `path` is the old file or the new one, never a part.

    Returns:
        The sha256 of the file and its size in bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
            n_bytes = file.tell()
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return digest, n_bytes


def load(path: Path, sha256: str) -> dict[str, object]:
    """Reads a state back on the CPU.

    Raises:
        EngineError: the file is missing or not the one that was written.
    """
    if not path.is_file():
        raise EngineError(f"The checkpoint {path} is missing.")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise EngineError(f"The checkpoint {path} is damaged: its sha256 has changed.")
        file.seek(0)
        state: dict[str, object] = torch.load(file, map_location="cpu", weights_only=True)
    return state


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
