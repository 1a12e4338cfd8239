"""Stores the frozen features of all training sources in a file beside the packed pairs.

If training pictures are not shifted (`jitter` is 0), the frozen features of a source and of its
mirror image are the same in every epoch and in every run. The first run of a source, size and
network computes them; later runs read the file.

The file is an array of rows, row 2 i for the i-th pair of the training split and row 2 i + 1 for
its mirror image. The order of the split does not depend on `n_train`, so that a run with fewer
pairs uses the first rows. Each row has the fingerprint of its pair and a checksum of its features.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import xxhash
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from engine.config import Budget
from engine.data.batches import Batch, PairSet, make_images
from engine.data.packing import PackedPairs
from engine.errors import EngineError
from engine.networks.efficientnet_lite import FEATURES
from engine.networks.source_features import FrozenFeatures, SourceReader, map_shapes
from engine.system import disk
from engine.system.files import replacing_array
from engine.training.execution import MAX_CPU_FEATURE_BYTES

logger = logging.getLogger(__name__)

FEATURE_FORMAT = 1  # increase when files of older versions must not be used
CHECKSUM_BYTES = 16  # at the start of each row: the fingerprint of the pair and the checksum
# On a CPU, the maps of 32 pictures no longer fit into its caches, and a picture takes 30 % longer.
PAIRS_PER_PASS = {"cpu": 16}
DEFAULT_PAIRS_PER_PASS = 32
# The scales and the whitening of the reader are fitted to at most this many sources.
MAX_FITTED_SOURCES = 2048

ProgressCallback = Callable[[int, int], None]  # (pairs done, pairs in all)


class SourceFeatureCache:
    """The frozen features of every training source, in float16 on the training device.

    Args:
        stride8: [2 M, h, w, 40] maps; row 2 i is for source i, row 2 i + 1 for its mirror image.
        stride16: [2 M, h / 2, w / 2, 112] maps.
        pooled: [2 M, 1280] features.
    """

    def __init__(self, stride8: Tensor, stride16: Tensor, pooled: Tensor) -> None:
        self.stride8, self.stride16, self.pooled = stride8, stride16, pooled

    def __len__(self) -> int:
        """The number of sources."""
        return len(self.pooled) // 2

    @property
    def n_bytes(self) -> int:
        """The memory of the cache."""
        return sum(values.nbytes for values in (self.stride8, self.stride16, self.pooled))

    def __call__(self, batch: Batch) -> FrozenFeatures:
        """Returns the features of a batch's sources in float32, mirrored as the batch."""
        return self.rows(2 * batch.augmentations[:, 0] + batch.augmentations[:, 1])

    def rows(self, rows: Tensor) -> FrozenFeatures:
        """Returns the features of some rows in float32; the maps are channels_last."""
        return FrozenFeatures(
            self.stride8[rows].float().permute(0, 3, 1, 2),
            self.stride16[rows].float().permute(0, 3, 1, 2),
            self.pooled[rows].float(),
        )


def row_type(px: int) -> np.dtype:
    """Returns the type of a row of the file, for sources of a side; maps are [h, w, C]."""
    (channels8, height8, width8), (channels16, height16, width16) = map_shapes(px)
    return np.dtype(
        [
            ("pair", "<u8"),
            ("checksum", "<u8"),
            ("stride8", "<f2", (height8, width8, channels8)),
            ("stride16", "<f2", (height16, width16, channels16)),
            ("pooled", "<f2", (FEATURES,)),
        ]
    )


def should_cache(budget: Budget, n_train: int, device: torch.device) -> bool:
    """Returns whether the frozen features of all training sources can be kept in memory.

    With `jitter` they differ from epoch to epoch. On a CUDA device they may need a quarter of the
    free memory.
    """
    if budget.jitter:
        return False
    max_bytes = MAX_CPU_FEATURE_BYTES
    if device.type == "cuda":
        max_bytes = torch.cuda.mem_get_info(device)[0] // 4
    return 2 * n_train * row_type(budget.px).itemsize <= max_bytes


def feature_file(folder: Path, weights_sha256: str) -> Path:
    """Returns the file of the features in a packed folder."""
    return folder / f"source-features-{FEATURE_FORMAT}-{weights_sha256[:8]}.npy"


def prepare_source_features(
    reader: SourceReader,
    pairs: PairSet,
    packed: PackedPairs,
    path: Path,
    on_progress: ProgressCallback = lambda done, total: None,
) -> SourceFeatureCache:
    """Computes the frozen features of the training sources unless a file has them, and loads them.

    If two processes need the same file, the second waits for the first. A file that is damaged, or
    has other or fewer pairs, is replaced.

    Args:
        reader: the network, on the device of the pairs.
        pairs: the training split, whole and on the training device.
        packed: the packed pairs that `pairs` was loaded from.
        path: the file, named by `feature_file`.
        on_progress: called with the numbers of pairs done and of all pairs; it may raise.

    Raises:
        EngineError: the disk is full, or the file cannot be written.
    """
    assert pairs.is_on_device, "the split must be on the training device"
    assert pairs.rows is None, "the whole split must be in memory"
    fingerprints = [packed.pairs[at].fingerprint for at in packed.positions("train", len(pairs))]
    rows = _load_rows(path, packed.px, fingerprints)
    if rows is None:
        try:
            with FileLock(f"{path}.lock"):
                rows = _load_rows(path, packed.px, fingerprints)
                if rows is None:
                    _write_rows(reader, pairs, packed.px, fingerprints, path, on_progress)
                    rows = np.load(path, mmap_mode="r")
        except OSError as error:
            raise EngineError(
                f"The features of the sources could not be stored ({error})."
            ) from error
    return SourceFeatureCache(
        *(
            torch.from_numpy(np.array(rows[name])).to(pairs.device)
            for name in ("stride8", "stride16", "pooled")
        )
    )


def fit_reader(reader: SourceReader, pairs: PairSet, cache: SourceFeatureCache | None) -> None:
    """Fits the scales of a reader to the first training sources, unmirrored and not shifted.

    Args:
        reader: the network, on the device of the pairs; changed in place.
        pairs: the training split.
        cache: the features of the split, to save time; None: they are computed.
    """
    n_fitted = min(len(pairs), MAX_FITTED_SOURCES)
    chunks = torch.split(torch.arange(n_fitted), _pairs_per_pass(pairs.device))
    if cache is not None:
        features = [cache.rows(2 * positions.to(pairs.device)) for positions in chunks]
    else:
        features = [reader.read_frozen(_sources(pairs, positions, 0)) for positions in chunks]
    reader.fit(FrozenFeatures(*(torch.cat(values) for values in zip(*features, strict=True))))


def _write_rows(
    reader: SourceReader,
    pairs: PairSet,
    px: int,
    fingerprints: Sequence[str],
    path: Path,
    on_progress: ProgressCallback,
) -> None:
    """Computes the features of all pairs and writes them to the file, wholly or not at all."""
    n_pairs, dtype = len(fingerprints), row_type(px)
    disk.require_room(
        2 * n_pairs * dtype.itemsize,
        path.parent,
        f"Storing the pretrained features of {n_pairs:,} sources at {px} px",
        "Use fewer pairs (n_train), or set CHROMABENCH_ARTIFACTS to a larger disk.",
    )
    with replacing_array(path, (2 * n_pairs,), dtype) as rows:
        for positions in torch.split(torch.arange(n_pairs), _pairs_per_pass(pairs.device)):
            for is_mirrored in (0, 1):
                chunk = np.zeros(len(positions), dtype)
                chunk["pair"] = [int(fingerprints[at], 16) for at in positions.tolist()]
                _fill(chunk, reader.read_frozen(_sources(pairs, positions, is_mirrored)))
                chunk["checksum"] = _checksums(chunk)
                rows[2 * positions.numpy() + is_mirrored] = chunk
            on_progress(int(positions[-1]) + 1, n_pairs)


def _fill(chunk: NDArray[np.void], frozen: FrozenFeatures) -> None:
    """Writes features into rows; the maps become [h, w, C]."""
    chunk["stride8"] = frozen.stride8.permute(0, 2, 3, 1).half().cpu().numpy()
    chunk["stride16"] = frozen.stride16.permute(0, 2, 3, 1).half().cpu().numpy()
    chunk["pooled"] = frozen.pooled.half().cpu().numpy()


def _load_rows(path: Path, px: int, fingerprints: Sequence[str]) -> NDArray[np.void] | None:
    """Opens the rows of the pairs; None if there is no file with valid rows for all of them."""
    if not path.is_file():
        return None
    try:
        rows: NDArray[np.void] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        logger.warning("%s is damaged (%s): the features are computed again", path, error)
        return None
    n_rows = 2 * len(fingerprints)
    if rows.dtype != row_type(px) or rows.ndim != 1:
        logger.warning("%s has rows of another kind: the features are computed again", path)
        return None
    expected = np.array([int(text, 16) for text in fingerprints], np.uint64).repeat(2)
    rows = rows[:n_rows]
    if len(rows) < n_rows or not np.array_equal(rows["pair"], expected):
        logger.info("%s lacks some of the pairs: the features are computed again", path)
        return None
    if not np.array_equal(rows["checksum"], _checksums(rows)):
        logger.warning("%s has wrong checksums: the features are computed again", path)
        return None
    return rows


def _checksums(rows: NDArray[np.void]) -> NDArray[np.uint64]:
    """Computes the checksum of the features of each row."""
    content = rows.view((np.uint8, (rows.dtype.itemsize,)))[:, CHECKSUM_BYTES:]
    return np.array([xxhash.xxh3_64_intdigest(row) for row in content], np.uint64)


def _sources(pairs: PairSet, positions: Tensor, is_mirrored: int) -> Tensor:
    """Makes the sources [N, 3, H, W] in [-1, 1] of pairs as a training batch has them."""
    augmentations = torch.zeros(len(positions), 4, dtype=torch.int64)
    augmentations[:, 0] = torch.arange(len(positions))
    augmentations[:, 1] = is_mirrored
    pixels = pairs.gather(positions.to(pairs.pixels.device)).to(pairs.device)
    source, _ = make_images(Batch(pixels, augmentations.to(pairs.device)))
    return source


def _pairs_per_pass(device: torch.device) -> int:
    return PAIRS_PER_PASS.get(device.type, DEFAULT_PAIRS_PER_PASS)
