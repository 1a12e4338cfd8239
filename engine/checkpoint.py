"""Training states on disk: written whole or not at all, verified when read."""

import hashlib
import pickle
import struct
from pathlib import Path

import torch

from engine.errors import EngineError
from engine.files import replacing


def save(state: dict[str, object], path: Path) -> tuple[str, int]:
    """Writes a state in the old file's place.

    Returns:
        The sha256 of the file and its size in bytes.
    """
    with replacing(path) as file:
        torch.save(state, file)
        n_bytes = file.tell()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, n_bytes


def load(path: Path, sha256: str | None) -> dict[str, object]:
    """Reads a state back on the CPU; without a hash it is not verified.

    Raises:
        EngineError: the file is missing, not the one that was written, or no checkpoint.
    """
    if not path.is_file():
        raise EngineError(f"The checkpoint {path} is missing.")
    with path.open("rb") as file:
        if sha256 and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise EngineError(f"The checkpoint {path} is damaged: its sha256 has changed.")
        file.seek(0)
        try:
            state: dict[str, object] = torch.load(file, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, ValueError, struct.error, pickle.UnpicklingError) as error:
            raise EngineError(f"{path} is no checkpoint ({type(error).__name__}).") from error
    return state
