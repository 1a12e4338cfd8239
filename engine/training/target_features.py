"""Caches the feature maps of all targets, mirrored and not mirrored, for all epochs.

If training pictures are not shifted (`jitter` is 0), the feature maps of a target are the same in
every epoch. With the cache, the perceptual term computes feature maps only for the fakes.
"""

import torch
from torch import Tensor

from engine.data.batches import Batch, PairSet, make_images
from engine.training.losses import FeatureExtractor, FeatureMaps

PICTURES_PER_PASS = 64


class TargetFeatureCache:
    """The feature maps of every target; row 2 i is for target i, row 2 i + 1 for its mirror image.

    Args:
        extract: pictures -> feature maps.
        pairs: the training split, on the training device.
    """

    def __init__(self, extract: FeatureExtractor, pairs: PairSet) -> None:
        n_rows, device = 2 * len(pairs), pairs.device
        positions = torch.arange(len(pairs)).repeat_interleave(2)
        mirrored = torch.arange(2).repeat(len(pairs))
        shifts = torch.zeros(n_rows, 2, dtype=torch.int64)
        augmentations = torch.cat([positions[:, None], mirrored[:, None], shifts], 1).to(device)
        self.maps: list[Tensor] = []
        for start in range(0, n_rows, PICTURES_PER_PASS):
            rows = slice(start, start + PICTURES_PER_PASS)
            _, target = make_images(Batch(pairs.pixels, augmentations[rows]))
            with torch.no_grad():
                new_maps = extract(target)
            if not self.maps:
                self.maps = [layer.new_empty(n_rows, *layer.shape[1:]) for layer in new_maps]
            for cached, new in zip(self.maps, new_maps, strict=True):
                cached[rows] = new

    def __call__(self, batch: Batch) -> FeatureMaps:
        """Returns the feature maps of a batch's targets, one [B, C, h, w] per layer."""
        rows = 2 * batch.augmentations[:, 0] + batch.augmentations[:, 1]
        return tuple(layer[rows] for layer in self.maps)
