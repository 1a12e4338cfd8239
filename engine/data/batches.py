"""Batches for training and evaluation: the only part of `data` that knows torch.

Augmentation is one gather over both halves at once: a draw of mirror and shift picks rows and
columns, and the same rows and columns are read from source and target. There is no way to touch
one half alone.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.data.packing import PackedPairs
from engine.errors import BadInputError
from engine.images.color import GREY, LUMINANCE

CHUNK = 256  # pairs looked through at a time
MOST_COPIED = 2**30  # bytes of a split that are copied into memory; larger ones stay in their file
AHEAD = 2  # batches that are read before they are needed


def derive_seed(seed: int, epoch: int, stream: str) -> int:
    """An independent seed for each (seed, epoch, stream): nothing random needs to be saved."""
    words = [seed, epoch, *stream.encode()]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)


class Batch(NamedTuple):
    """Where a batch's pictures lie, and what is to be done with them.

    Attributes:
        pixels: [M, px, px, C] uint8, on the training device; all pairs, or this batch's.
        draws: [B, 4] int64, likewise: position in `pixels`, 1 where left and right are exchanged,
            pixels down and right.
    """

    pixels: Tensor
    draws: Tensor


@dataclass(frozen=True)
class PairSet:
    """One split's pairs, as bytes, where they are needed.

    Attributes:
        pixels: [M, px, px, C] uint8: the channels of the source, then the target's 3; the target's
            alone where the source is its grey. On the training device if they fit there, else in
            memory or in the file that is mapped to it.
        names: [N] names, in order.
        device: where batches are delivered.
        rows: [N] positions in `pixels`; None: as they lie.
    """

    pixels: Tensor
    names: tuple[str, ...]
    device: torch.device
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.names)

    def read(self, chosen: Tensor | slice) -> Tensor:
        """The chosen pairs' bytes [B, px, px, C], where the pairs lie."""
        return self.pixels[chosen if self.rows is None else self.rows[chosen]]

    @property
    def is_near(self) -> bool:
        """Whether the device reads them itself."""
        return self.pixels.device.type == self.device.type

    @property
    def targets(self) -> Tensor:
        """[N, px, px, 3] uint8."""
        return self.read(slice(None))[..., -3:]

    @property
    def sources(self) -> Tensor:
        """[N, px, px, 3] uint8."""
        return _source(self.read(slice(None)))


def load_pairs(
    packed: PackedPairs, split: str, at_most: int | None, device: torch.device
) -> PairSet:
    """The pairs of a split, on a GPU where they take under a third of what is free there.

    Others stay in the mapped file, of which the system keeps in memory what is used; few are
    copied out of it, so that nothing else pushes them out.
    """
    members = packed.members(split, at_most)
    names = tuple(packed.pairs[index].name for index in members)
    n_bytes = len(members) * packed.pixels[0].nbytes
    limit: float = MOST_COPIED
    if device.type == "cuda":
        limit = torch.cuda.mem_get_info(device)[0] / 3
    if n_bytes < limit:
        return PairSet(torch.from_numpy(packed.pixels[members]).to(device), names, device)
    return PairSet(torch.from_numpy(packed.pixels), names, device, torch.tensor(members))


def colourful(pairs: PairSet, count: int) -> PairSet:
    """A few pairs to look at: spread evenly over the more colourful half of the targets.

    The same for every run on the same pairs; ties keep the pairs' order.
    """
    starts = range(0, len(pairs), CHUNK)
    parts = [pairs.read(slice(it, it + CHUNK))[..., -3:].cpu() for it in starts]
    spread = torch.cat([(it.amax(-1) - it.amin(-1)).float().mean((1, 2)) for it in parts])  # [N]
    ranked = spread.argsort(descending=True, stable=True)[: max(count, len(pairs) // 2)]
    chosen = ranked[torch.linspace(0, len(ranked) - 1, min(count, len(ranked))).long()]
    names = tuple(pairs.names[index] for index in chosen.tolist())
    return PairSet(pairs.read(chosen.to(pairs.pixels.device)), names, pairs.device)


def training_batches(
    pairs: PairSet,
    batch: int,
    jitter: int,
    seed: int,
    epoch: int,
    skip: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """One epoch in a fresh order, mirrored and shifted; `cut` makes pictures of a batch.

    An incomplete last batch is left out. All draws come from (seed, epoch) alone, so that the
    first `skip` batches, done before, change nothing in the others.

    Args:
        pairs: the training split.
        batch: pairs in a batch.
        jitter: largest shift, in pixels.
        seed: of the run.
        epoch: from 1.
        skip: batches that were done before.
        share: (which, of how many) equal parts of each batch is delivered.

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
    draws = torch.cat([order[:, None], mirrored[order, None].long(), shifts[order]], dim=1)

    part, parts = share
    size = batch // parts
    starts = range(skip * batch, len(pairs) - batch + 1, batch)
    mine = [slice(it + part * size, it + (part + 1) * size) for it in starts]
    if pairs.is_near and pairs.rows is None:
        draws = draws.to(pairs.device)  # once, so that no step waits for a copy
        return (Batch(pairs.pixels, draws[it]) for it in mine)
    return _read_ahead(pairs, [draws[it] for it in mine])


def _read_ahead(pairs: PairSet, draws: Sequence[Tensor]) -> Iterator[Batch]:
    """Batches whose bytes a thread reads while the device still works at those before.

    On their way to a GPU they lie in pinned memory, so that the copy is not waited for either.
    """
    is_pinned = pairs.device.type == "cuda"

    def read(these: Tensor) -> Tensor:
        both = pairs.read(these[:, 0])
        return both.pin_memory() if is_pinned else both

    with ThreadPoolExecutor(1) as thread:
        coming: deque[Future[Tensor]] = deque()
        for number, these in enumerate(draws):
            while len(coming) <= AHEAD and number + len(coming) < len(draws):
                coming.append(thread.submit(read, draws[number + len(coming)]))
            pixels = coming.popleft().result().to(pairs.device, non_blocking=True)
            moved = these.clone()
            moved[:, 0] = torch.arange(len(these))
            yield Batch(pixels, moved.to(pairs.device, non_blocking=True))


def cut(batch: Batch) -> tuple[Tensor, Tensor]:
    """(source, target), each [B, 3, H, W] float32 in [-1, 1]: both through the same gather.

    A shifted picture is reflected at its edges.
    """
    pixels, draws = batch
    side = pixels.shape[1]
    places = torch.arange(side, device=pixels.device)
    at, mirrored, down, right = (it[:, None] for it in draws.unbind(1))
    rows = _reflect(places - down, side)  # [B, H]
    columns = _reflect(torch.where(mirrored == 1, side - 1 - places, places) - right, side)
    taken = pixels[at[:, :, None], rows[:, :, None], columns[:, None, :]]  # [B, H, W, C]
    return _as_pictures(_source(taken)), _as_pictures(taken[..., -3:])


def evaluation_batches(pairs: PairSet, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All pairs in order, as they are: (source, target) [N, 3, H, W] in [-1, 1]."""
    for start in range(0, len(pairs), batch):
        both = pairs.read(slice(start, start + batch)).to(pairs.device, non_blocking=True)
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
