"""Training states on disk: written whole or not at all, verified when read."""

import hashlib
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from engine.errors import EngineError
from engine.records.runs import Checkpoint
from engine.system.files import replacing


def save(state: Mapping[str, Any], path: Path) -> tuple[str, int]:
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


def load(path: Path, sha256: str | None) -> dict[str, Any]:
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
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, ValueError, struct.error, pickle.UnpicklingError) as error:
            raise EngineError(f"{path} is no checkpoint ({type(error).__name__}).") from error
    return state


def load_saved(artifacts: Path, saved: Checkpoint) -> dict[str, Any]:
    """Reads a recorded checkpoint.

    Raises:
        EngineError: it is missing or damaged.
    """
    return load(artifacts / saved.path, saved.sha256)


def count_bytes(part: object) -> int:
    """What the tensors in a part of a state take."""
    if isinstance(part, torch.Tensor):
        return part.nbytes
    if isinstance(part, Mapping):
        return sum(count_bytes(it) for it in part.values())
    return sum(count_bytes(it) for it in part) if isinstance(part, list | tuple) else 0
