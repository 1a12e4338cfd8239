"""Batches for training and evaluation: the only part of `data` that knows torch.

Augmentation is one gather over both halves at once: a draw of mirror and shift picks rows and
columns, and the same rows and columns are read from source and target. There is no way to touch
one half alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from engine.color import GREY, LUMINANCE
from engine.data.packing import PackedPairs
from engine.errors import BadInputError

CHUNK = 256  # pairs looked through at a time


def derive_seed(seed: int, epoch: int, stream: str) -> int:
    """An independent seed for each (seed, epoch, stream): nothing random needs to be saved."""
    words = [seed, epoch, *stream.encode()]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True)
class PairSet:
    """One split's pairs, as bytes, where they are needed.

    Attributes:
        pixels: [N, px, px, C] uint8, on the training device if they fit there: the channels of
            the source, then the target's 3; the target's alone where the source is its grey.
        names: [N] names, in the same order.
        device: where batches are delivered.
    """

    pixels: Tensor
    names: tuple[str, ...]
    device: torch.device

    def __len__(self) -> int:
        return len(self.names)

    @property
    def targets(self) -> Tensor:
        """[N, px, px, 3] uint8."""
        return self.pixels[..., -3:]

    @property
    def sources(self) -> Tensor:
        """[N, px, px, 3] uint8."""
        return _source(self.pixels)


def load_pairs(
    packed: PackedPairs, split: str, at_most: int | None, device: torch.device
) -> PairSet:
    """The pairs of a split; on a GPU they are put there when they take under a third of it."""
    members = packed.members(split, at_most)
    pixels = torch.from_numpy(packed.pixels[members])
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        pixels = pixels.to(device) if pixels.nbytes < free / 3 else pixels.pin_memory()
    elif device.type != "cpu":
        pixels = pixels.to(device)
    return PairSet(pixels, tuple(packed.pairs[index].name for index in members), device)


def colourful(pairs: PairSet, count: int) -> PairSet:
    """A few pairs to look at: spread evenly over the more colourful half of the targets.

    The same for every run on the same pairs; ties keep the pairs' order.
    """
    parts = [it.cpu() for it in torch.split(pairs.targets, CHUNK)]
    spread = torch.cat([(it.amax(-1) - it.amin(-1)).float().mean((1, 2)) for it in parts])  # [N]
    ranked = spread.argsort(descending=True, stable=True)[: max(count, len(pairs) // 2)]
    chosen = ranked[torch.linspace(0, len(ranked) - 1, min(count, len(ranked))).long()]
    names = tuple(pairs.names[index] for index in chosen.tolist())
    return PairSet(pairs.pixels[chosen.to(pairs.pixels.device)], names, pairs.device)


def training_batches(
    pairs: PairSet, batch: int, jitter: int, seed: int, epoch: int, skip: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in a fresh order, mirrored and shifted: (source, target) [N, 3, H, W] in [-1, 1].

    An incomplete last batch is left out. All draws come from (seed, epoch) alone, so that the
    first `skip` batches, done before, change nothing in the others.

    Raises:
        BadInputError: there are fewer pairs than a batch holds.
    """
    if len(pairs) < batch:
        raise BadInputError(
            f"batch must be at most {len(pairs)}, the number of training pairs, not {batch}."
        )
    chance = torch.Generator().manual_seed(derive_seed(seed, epoch, "batches"))
    order = torch.randperm(len(pairs), generator=chance)
    mirrored = torch.rand(len(pairs), generator=chance) < 0.5
    shifts = torch.randint(-jitter, jitter + 1, (len(pairs), 2), generator=chance)
    for start in range(skip * batch, len(pairs) - batch + 1, batch):
        chosen = order[start : start + batch]
        yield gather(pairs, chosen, mirrored[chosen], shifts[chosen])


def gather(
    pairs: PairSet, chosen: Tensor, mirrored: Tensor, shifts: Tensor
) -> tuple[Tensor, Tensor]:
    """Reads pairs, both halves through the same rows and columns.

    Args:
        pairs: where to read.
        chosen: [B] positions.
        mirrored: [B] bool, left and right exchanged.
        shifts: [B, 2] pixels down and right; the picture is reflected at its edges.

    Returns:
        (source, target), each [B, 3, H, W] float32 in [-1, 1].
    """
    side = pairs.pixels.shape[1]
    rows = _reflect(torch.arange(side) - shifts[:, :1], side)  # [B, H]
    columns = _reflect(torch.arange(side) - shifts[:, 1:], side)  # [B, W]
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    if pairs.pixels.device.type == "cpu":
        both = pairs.pixels[chosen].to(pairs.device, non_blocking=True)
        at = torch.arange(len(chosen), device=pairs.device)
    else:
        both = pairs.pixels
        at = chosen.to(pairs.device, non_blocking=True)
    rows, columns = rows.to(pairs.device), columns.to(pairs.device)
    cut = both[at[:, None, None], rows[:, :, None], columns[:, None, :]]  # [B, H, W, C]
    return _as_pictures(_source(cut)), _as_pictures(cut[..., -3:])


def evaluation_batches(pairs: PairSet, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All pairs in order, as they are: (source, target) [N, 3, H, W] in [-1, 1]."""
    for start in range(0, len(pairs), batch):
        both = pairs.pixels[start : start + batch].to(pairs.device, non_blocking=True)
        yield _as_pictures(_source(both)), _as_pictures(both[..., -3:])


def _source(pixels: Tensor) -> Tensor:
    """Drawn pairs [..., C] -> sources [..., 3], as `opened.split_pixels` does it."""
    channels = pixels.shape[-1]
    if channels == 6:
        return pixels[..., :3]
    grey = pixels[..., 0] if channels == 4 else _grey_of_equal_lightness(pixels)
    return grey[..., None].expand(*grey.shape, 3)


def _grey_of_equal_lightness(pixels: Tensor) -> Tensor:
    """Bytes [..., 3] -> [...], by the tables of `color`: the same on every device."""
    luminance, grey = _grey_tables(pixels.device)
    parts = [luminance[channel][pixels[..., channel].int()] for channel in range(3)]
    return grey[parts[0] + parts[1] + parts[2]]


def _as_pictures(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div(127.5).sub(1)


@cache
def _grey_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(LUMINANCE).to(device), torch.from_numpy(GREY).to(device)


def _reflect(index: Tensor, side: int) -> Tensor:
    return (side - 1) - ((side - 1) - index.abs()).abs()
