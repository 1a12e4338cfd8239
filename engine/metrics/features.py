"""Computes feature matrices of images with a pretrained network, and caches them in files.

An extractor includes the network's name, the hash of the weights and the resize rule, because the
protocol of every value contains these three entries.
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

CACHE_FORMAT = 1  # hashed into the names of cache files; a higher number invalidates older files


def batch_size(device: torch.device) -> int:
    """Returns the number of images per forward pass of the network.

    On a CPU, batches of 4 images are twice as fast as batches of 16, because the intermediate maps
    fit the caches.
    """
    return 4 if device.type == "cpu" else 64


@contextmanager
def exact_float32() -> Iterator[None]:
    """Disables TF32, to which a GPU may otherwise round the values of float32 convolutions."""
    allowed_before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed_before


@dataclass(frozen=True)
class Extractor:
    """A frozen network that turns images into features.

    Attributes:
        name: the network's name in protocols.
        sha256: the hash of the network's weights.
        resize: the resize rule, in words.
        n_features: the number of columns of the feature matrices.
        device: the device of the network.
        extract: [N, 3, H, W] uint8 -> [N, n_features] features and, if the network's classes are
            used, [N, K] logits.
    """

    name: str
    sha256: str
    resize: str
    n_features: int
    device: torch.device
    extract: Callable[[Tensor], tuple[Tensor, Tensor | None]]


class FeatureCollector:
    """Computes the features of images batch by batch, and keeps only features and logits."""

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        self._features: list[NDArray[np.float32]] = []
        self._logits: list[NDArray[np.float32]] = []

    @torch.no_grad()
    def add(self, images: Tensor) -> None:
        """Computes and keeps the features of [N, 3, H, W] uint8 images, in full float32 (no TF32).

        The images are split into batches of a suitable size for the device.
        """
        with exact_float32():
            for batch in torch.split(images, batch_size(self.extractor.device)):
                features, logits = self.extractor.extract(batch)
                self._features.append(features.float().cpu().numpy())
                if logits is not None:
                    self._logits.append(logits.float().cpu().numpy())

    @property
    def features(self) -> NDArray[np.float32]:
        """The features [N, n_features] of all images so far."""
        if not self._features:
            return np.empty((0, self.extractor.n_features), np.float32)
        return np.concatenate(self._features)

    @property
    def logits(self) -> NDArray[np.float32] | None:
        """The logits [N, K] of all images so far; None if the extractor returns no logits."""
        return np.concatenate(self._logits) if self._logits else None


def compute(extractor: Extractor, batches: Iterable[Tensor]) -> NDArray[np.float32]:
    """Computes the [N, n_features] features of batches of uint8 images."""
    collector = FeatureCollector(extractor)
    for batch in batches:
        collector.add(batch)
    return collector.features


def load_or_compute(
    folder: Path,
    image_set: str,
    n_images: int,
    extractor: Extractor,
    batches: Callable[[], Iterable[Tensor]],
) -> NDArray[np.float32]:
    """Loads the features of a fixed set of images from a cache file, or computes and caches them.

    The name of the cache file contains the set, the number of images, the extractor's name, and a
    hash of the extractor's name, weights and resize rule.

    Args:
        folder: the folder of the cache files.
        image_set: the identity of the set: data, split, size.
        n_images: the number of images.
        extractor: the network.
        batches: returns the images; only called if their features are not cached.
    """
    rule = f"{CACHE_FORMAT} {extractor.name} {extractor.sha256} {extractor.resize}"
    digest = hashlib.sha256(rule.encode()).hexdigest()[:8]
    path = folder / f"{image_set}-{n_images}-{extractor.name}-{digest}.npy"
    cached = _load_cached_features(path, (n_images, extractor.n_features))
    if cached is not None:
        return cached
    features = compute(extractor, batches())
    with replacing(path) as file:
        np.save(file, features)
    return features


def _load_cached_features(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Loads cached features; None if there is no readable file with valid features of the shape."""
    if not path.is_file():
        return None
    try:
        features: NDArray[np.float32] = np.load(path)
    except (ValueError, EOFError):
        return None
    if (
        not isinstance(features, np.ndarray)
        or features.dtype != np.float32
        or features.shape != shape
    ):
        return None
    return features if np.isfinite(features).all() and features.any() else None
