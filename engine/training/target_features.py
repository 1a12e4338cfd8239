"""The feature maps of all targets, both ways round, made once for all epochs.

A target's maps are the same at every step as long as it is not shifted; the perceptual term then
needs the network for the fakes alone.
"""

import torch
from torch import Tensor

from engine.data.batches import Batch, PairSet, cut
from engine.training.losses import Extract, FeatureMaps

AT_ONCE = 64  # pictures that go through the network together


class KeptMaps:
    """The maps of every pair's target, as it is and mirrored.

    Args:
        extract: pictures -> feature maps.
        pairs: near the device.
    """

    def __init__(self, extract: Extract, pairs: PairSet) -> None:
        n_pairs, device = len(pairs), pairs.device
        everyone = torch.arange(n_pairs).repeat_interleave(2)
        mirrored = torch.arange(2).repeat(n_pairs)
        draws = torch.stack([everyone, mirrored, 0 * everyone, 0 * everyone], 1).to(device)
        self.maps: list[Tensor] = []
        for start in range(0, 2 * n_pairs, AT_ONCE):
            these = draws[start : start + AT_ONCE]
            _, target = cut(Batch(pairs.pixels, these))
            with torch.no_grad():
                found = extract(target)
            if not self.maps:
                self.maps = [it.new_empty(2 * n_pairs, *it.shape[1:]) for it in found]
            for kept, made in zip(self.maps, found, strict=True):
                kept[start : start + len(these)] = made

    def __call__(self, batch: Batch) -> FeatureMaps:
        """The maps of a batch's targets, one [B, C, h, w] per layer."""
        rows = 2 * batch.draws[:, 0] + batch.draws[:, 1]
        return tuple(maps[rows] for maps in self.maps)
