"""Saves training states to disk, completely or not at all, and verifies them when loading."""

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
    """Saves a state; an existing file is replaced only if the new one is complete.

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
    """Loads a state into CPU memory.

    Args:
        path: the path of the file.
        sha256: the expected sha256 of the file; None: the file is not verified.

    Raises:
        EngineError: the file is missing, has another sha256, or is not a checkpoint.
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
            raise EngineError(f"{path} is not a checkpoint ({type(error).__name__}).") from error
    return state


def load_from_record(artifacts: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Loads the state of a checkpoint that is recorded in the database.

    Args:
        artifacts: the artifacts folder.
        checkpoint: the record of the checkpoint.

    Raises:
        EngineError: the file is missing or damaged.
    """
    return load(artifacts / checkpoint.path, checkpoint.sha256)


def tensor_bytes(value: object) -> int:
    """Returns the size in bytes of all tensors in a part of a state, including nested tensors."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(tensor_bytes(item) for item in value.values())
    return sum(tensor_bytes(item) for item in value) if isinstance(value, list | tuple) else 0
