"""Feature matrices of pictures: the one part of the metrics that is not pure.

An extractor knows its name, the hash of its weights and its resize rule, which is what a
protocol must say of it.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.system.files import replacing

FORMAT = 1  # raised when kept features of before must not be used any more


def batch_size(device: torch.device) -> int:
    """Pictures at a time: few on a CPU, whose caches they then fit (twice as fast as 16)."""
    return 4 if device.type == "cpu" else 64


@contextmanager
def exact_float32() -> Iterator[None]:
    """Float32 convolutions in float32: on a GPU they may otherwise be rounded to TF32."""
    kept = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = kept


@dataclass(frozen=True)
class Extractor:
    """A frozen network that turns pictures into features.

    Attributes:
        name: as it stands in protocols.
        sha256: of its weights.
        resize: the rule, in words.
        n_features: columns of its feature matrices.
        device: where it computes.
        extract: [N, 3, H, W] uint8 -> [N, n_features] features and, where the network has classes
            that count, [N, K] logits.
    """

    name: str
    sha256: str
    resize: str
    n_features: int
    device: torch.device
    extract: Callable[[Tensor], tuple[Tensor, Tensor | None]]


def _read_kept(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Kept features; None where there are none of this shape that can be read."""
    if not path.is_file():
        return None
    try:
        kept: NDArray[np.float32] = np.load(path)
    except (ValueError, EOFError):
        return None
    if not isinstance(kept, np.ndarray) or kept.dtype != np.float32 or kept.shape != shape:
        return None
    return kept if np.isfinite(kept).all() and kept.any() else None


class FeatureRows:
    """Features of pictures as they come, batch after batch: only the rows are kept."""

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        self._features: list[NDArray[np.float32]] = []
        self._logits: list[NDArray[np.float32]] = []

    @torch.no_grad()
    def add(self, pictures: Tensor) -> None:
        """Takes [N, 3, H, W] uint8 in; full float32 (no TF32), whatever the training's precision.

        Pictures go through the network in pieces of a size that its device likes.
        """
        with exact_float32():
            for piece in torch.split(pictures, batch_size(self.extractor.device)):
                features, logits = self.extractor.extract(piece)
                self._features.append(features.float().cpu().numpy())
                if logits is not None:
                    self._logits.append(logits.float().cpu().numpy())

    @property
    def features(self) -> NDArray[np.float32]:
        """[N, n_features] of all pictures so far."""
        if not self._features:
            return np.empty((0, self.extractor.n_features), np.float32)
        return np.concatenate(self._features)

    @property
    def logits(self) -> NDArray[np.float32] | None:
        """[N, K] of all pictures so far; None where the network has none that count."""
        return np.concatenate(self._logits) if self._logits else None


def compute(extractor: Extractor, batches: Iterable[Tensor]) -> NDArray[np.float32]:
    """[N, n_features] features of batches of uint8 pictures."""
    rows = FeatureRows(extractor)
    for batch in batches:
        rows.add(batch)
    return rows.features


def load_or_compute(
    folder: Path,
    pictures: str,
    n_pictures: int,
    extractor: Extractor,
    batches: Callable[[], Iterable[Tensor]],
) -> NDArray[np.float32]:
    """Features of a set that never changes, kept in a file whose name says what they are.

    Args:
        folder: where such files are kept.
        pictures: says which pictures these are: data, split, size.
        n_pictures: how many.
        extractor: the network.
        batches: the pictures, read only where their features are not kept.
    """
    rule = f"{FORMAT} {extractor.name} {extractor.sha256} {extractor.resize}"
    digest = hashlib.sha256(rule.encode()).hexdigest()[:8]
    path = folder / f"{pictures}-{n_pictures}-{extractor.name}-{digest}.npy"
    if (kept := _read_kept(path, (n_pictures, extractor.n_features))) is not None:
        return kept
    found = compute(extractor, batches())
    with replacing(path) as file:
        np.save(file, found)
    return found
