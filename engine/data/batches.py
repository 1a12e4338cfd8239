"""Makes batches of pairs for training and evaluation, as torch tensors.

Both halves of a pair are augmented by one gather: a random mirroring and shift select rows and
columns, and the same rows and columns are read from source and target. Therefore an augmentation
never changes only one half. The labels of regions are read by the same rows and columns.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.data.packing import PackedPairs
from engine.errors import BadInputError
from engine.images.color import GREY_TABLE, LUMINANCE_TABLE

CHUNK_PAIRS = 256
MAX_COPIED_BYTES = 2**30  # on a CPU, larger splits are read from their file, not copied
PREFETCHED_BATCHES = 2


def derive_seed(seed: int, epoch: int, stream: str) -> int:
    """Derives an independent seed for each (seed, epoch, stream); no random state is saved."""
    words = [seed, epoch, *stream.encode()]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)


class Batch(NamedTuple):
    """The pixels of a batch and its augmentations.

    Attributes:
        pixels: [M, px, px, C] uint8 on the training device: all pairs of the split, or only
            the pairs of this batch.
        augmentations: [B, 4] int64 on the training device. The columns are the position in
            `pixels`, 1 for mirrored pairs, and the shifts down and right in pixels.
        labels: [M, px, px] uint8 on the training device: the region labels of `pixels`; None if
            the labels were not loaded.
    """

    pixels: Tensor
    augmentations: Tensor
    labels: Tensor | None = None


@dataclass(frozen=True)
class PairSet:
    """The pairs of one split, as bytes.

    Attributes:
        pixels: [M, px, px, C] uint8: the channels of the source, then 3 channels of the target. If
            the source is the grey of the target, only the channels of the target. The pixels are
            on the training device, in memory, or in the memory-mapped file.
        names: [N] names of the pairs, in order.
        device: the device to which batches are delivered.
        rows: [N] positions of the pairs in `pixels`; None: all positions, in order.
        labels: [M, px, px] uint8 region labels of `pixels`, on the same device; None if the labels
            were not loaded.
    """

    pixels: Tensor
    names: tuple[str, ...]
    device: torch.device
    rows: Tensor | None = None
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.names)

    def gather(self, selection: Tensor | slice) -> Tensor:
        """Returns the bytes [B, px, px, C] of the selected pairs, on the device of `pixels`."""
        return self.pixels[selection if self.rows is None else self.rows[selection]]

    def gather_labels(self, selection: Tensor | slice) -> Tensor | None:
        """Returns the region labels [B, px, px] of the selected pairs, if they were loaded."""
        if self.labels is None:
            return None
        return self.labels[selection if self.rows is None else self.rows[selection]]

    @property
    def is_on_device(self) -> bool:
        """Whether the pixels are on the training device."""
        return self.pixels.device.type == self.device.type

    @property
    def targets(self) -> Tensor:
        """The targets of all pairs, [N, px, px, 3] uint8."""
        return self.gather(slice(None))[..., -3:]

    @property
    def sources(self) -> Tensor:
        """The sources of all pairs, [N, px, px, 3] uint8."""
        return _source(self.gather(slice(None)))


def load_pair_set(
    packed: PackedPairs,
    split: str,
    limit: int | None,
    device: torch.device,
    labels: NDArray[np.uint8] | None = None,
) -> PairSet:
    """Loads the pairs of a split into the memory of the device if they are few enough.

    On a GPU, the pairs must need less than a third of the free memory. On a CPU, a split of less
    than 1 GiB is copied into memory, so that other files cannot displace the split from the cache
    of the operating system. Larger splits are read from the memory-mapped file.

    Args:
        packed: the packed source.
        split: train, val or test.
        limit: the largest number of pairs; None: all pairs.
        device: the training device.
        labels: [N, px, px] region labels of all packed pairs, from
            `region_labels.load_region_labels`; None: no labels are needed.
    """
    positions = packed.positions(split, limit)
    names = tuple(packed.pairs[position].name for position in positions)
    arrays = [packed.pixels] if labels is None else [packed.pixels, labels]
    n_bytes = len(positions) * sum(array[0].nbytes for array in arrays)
    max_bytes: float = MAX_COPIED_BYTES
    if device.type == "cuda":
        max_bytes = torch.cuda.mem_get_info(device)[0] / 3
    if n_bytes < max_bytes:
        tensors = [torch.from_numpy(array[positions]).to(device) for array in arrays]
        rows = None
    else:
        tensors = [torch.from_numpy(array) for array in arrays]
        rows = torch.tensor(positions)
    return PairSet(tensors[0], names, device, rows, tensors[1] if labels is not None else None)


def pick_sample_pairs(pairs: PairSet, count: int) -> PairSet:
    """Picks pairs for sample pictures, evenly spaced among the more colourful half of the pairs.

    Pairs are ranked by the colourfulness of the targets; equally colourful pairs keep their order.
    The selection depends only on the pairs.
    """
    starts = range(0, len(pairs), CHUNK_PAIRS)
    targets = [pairs.gather(slice(at, at + CHUNK_PAIRS))[..., -3:].cpu() for at in starts]
    ranges = [chunk.amax(-1) - chunk.amin(-1) for chunk in targets]  # of the channels of each pixel
    colourfulness = torch.cat([chunk.float().mean((1, 2)) for chunk in ranges])  # [N]
    ranked = colourfulness.argsort(descending=True, stable=True)
    colourful_half = ranked[: max(count, len(pairs) // 2)]
    n_picked = min(count, len(colourful_half))
    picked = colourful_half[torch.linspace(0, len(colourful_half) - 1, n_picked).long()]
    names = tuple(pairs.names[index] for index in picked.tolist())
    picked = picked.to(pairs.pixels.device)
    labels = pairs.gather_labels(picked)
    return PairSet(pairs.gather(picked), names, pairs.device, labels=labels)


def training_batches(
    pairs: PairSet,
    batch_size: int,
    jitter: int,
    seed: int,
    epoch: int,
    skip: int = 0,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Yields the batches of one epoch, shuffled, mirrored and shifted.

    `make_images` makes the pictures of a batch, and `make_labels` their region labels.

    An incomplete last batch is dropped. All random numbers depend only on (seed, epoch), so that
    skipping the first `skip` batches does not change the other batches.

    Args:
        pairs: the training split.
        batch_size: the number of pairs in a batch.
        jitter: the largest shift, in pixels.
        seed: the run's seed.
        epoch: the number of the epoch, from 1.
        skip: number of batches that were already used for training.
        shard: (index, count): each batch is cut into `count` equal parts; only part `index` is
            yielded.

    Raises:
        BadInputError: there are fewer pairs than a batch holds.
    """
    if len(pairs) < batch_size:
        raise BadInputError(
            f"batch must be at most {len(pairs)}, the number of training pairs, not {batch_size}."
        )
    rng = torch.Generator().manual_seed(derive_seed(seed, epoch, "batches"))
    order = torch.randperm(len(pairs), generator=rng)
    is_mirrored = torch.rand(len(pairs), generator=rng) < 0.5
    shifts = torch.randint(-jitter, jitter + 1, (len(pairs), 2), generator=rng)
    columns = [order[:, None], is_mirrored[order, None].long(), shifts[order]]
    augmentations = torch.cat(columns, dim=1)

    shard_index, n_shards = shard
    size = batch_size // n_shards
    offset = shard_index * size
    starts = range(skip * batch_size, len(pairs) - batch_size + 1, batch_size)
    slices = [slice(start + offset, start + offset + size) for start in starts]
    if pairs.is_on_device and pairs.rows is None:
        # Copy the augmentations once per epoch, so that no training step waits for a copy.
        augmentations = augmentations.to(pairs.device)
        return (Batch(pairs.pixels, augmentations[batch], pairs.labels) for batch in slices)
    return _prefetch(pairs, [augmentations[batch] for batch in slices])


def _prefetch(pairs: PairSet, augmentations: Sequence[Tensor]) -> Iterator[Batch]:
    """Yields batches whose bytes a thread reads while the device computes the previous batches.

    Batches for a GPU pass through pinned memory, so that the copy to the GPU is asynchronous.
    """
    is_pinned = pairs.device.type == "cuda"

    def gather(of_batch: Tensor) -> list[Tensor]:
        gathered = (pairs.gather(of_batch[:, 0]), pairs.gather_labels(of_batch[:, 0]))
        tensors = [tensor for tensor in gathered if tensor is not None]
        return [tensor.pin_memory() for tensor in tensors] if is_pinned else tensors

    with ThreadPoolExecutor(1) as thread:
        pending: deque[Future[list[Tensor]]] = deque()
        for number, of_batch in enumerate(augmentations):
            while len(pending) <= PREFETCHED_BATCHES and number + len(pending) < len(augmentations):
                pending.append(thread.submit(gather, augmentations[number + len(pending)]))
            tensors = pending.popleft().result()
            pixels, *labels = (tensor.to(pairs.device, non_blocking=True) for tensor in tensors)
            renumbered = of_batch.clone()
            renumbered[:, 0] = torch.arange(len(of_batch))
            yield Batch(pixels, renumbered.to(pairs.device, non_blocking=True), *labels)


def make_images(batch: Batch) -> tuple[Tensor, Tensor]:
    """Augments a batch and returns (source, target), each [B, 3, H, W] float32 in [-1, 1].

    Both halves are read by the same gather. The edges of shifted pictures are filled by reflection.
    """
    augmented = _augment(batch.pixels, batch.augmentations)  # [B, H, W, C]
    return _to_floats(_source(augmented)), _to_floats(augmented[..., -3:])


def make_labels(batch: Batch) -> Tensor:
    """Augments the region labels of a batch like its pictures, and returns [B, H, W] int64."""
    assert batch.labels is not None, "the pairs were loaded without labels"
    return _augment(batch.labels, batch.augmentations).long()


def _augment(stored: Tensor, augmentations: Tensor) -> Tensor:
    """Mirrors and shifts the pixels [M, px, px, ...] that a batch uses, [B, px, px, ...]."""
    side = stored.shape[1]
    coordinates = torch.arange(side, device=stored.device)
    position, is_mirrored, down, right = (column[:, None] for column in augmentations.unbind(1))
    rows = _reflect(coordinates - down, side)  # [B, H]
    mirrored = torch.where(is_mirrored == 1, side - 1 - coordinates, coordinates)
    columns = _reflect(mirrored - right, side)  # [B, W]
    return stored[position[:, :, None], rows[:, :, None], columns[:, None, :]]


def evaluation_batches(pairs: PairSet, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields all pairs in order, without augmentation: (source, target) [N, 3, H, W] in [-1, 1]."""
    for start in range(0, len(pairs), batch_size):
        selection = slice(start, start + batch_size)
        pixels = pairs.gather(selection).to(pairs.device, non_blocking=True)
        yield _to_floats(_source(pixels)), _to_floats(pixels[..., -3:])


def _source(pixels: Tensor) -> Tensor:
    """Returns the sources [..., 3] of rendered pairs [..., C], like `pairs.split_channels`."""
    channels = pixels.shape[-1]
    if channels == 6:
        return pixels[..., :3]
    grey = pixels[..., 0] if channels == 4 else _grey_of_equal_lightness(pixels)
    return grey[..., None].expand(*grey.shape, 3)


def _grey_of_equal_lightness(pixels: Tensor) -> Tensor:
    """Converts bytes [..., 3] to grey [...] by tables, with the same result on all devices."""
    luminance_table, grey_table = _grey_tables(pixels.device)
    red, green, blue = (
        luminance_table[channel][pixels[..., channel].int()] for channel in range(3)
    )
    return grey_table[red + green + blue]


def _to_floats(pixels: Tensor) -> Tensor:
    """Converts bytes [N, H, W, 3] to float32 [N, 3, H, W] in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div(127.5).sub(1)


@cache
def _grey_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(LUMINANCE_TABLE).to(device), torch.from_numpy(GREY_TABLE).to(device)


def _reflect(index: Tensor, side: int) -> Tensor:
    return (side - 1) - ((side - 1) - index.abs()).abs()
