"""Computes the regions of packed line art once and stores their labels with the packed pairs.

Only for sources with sketches: a grey picture that is made from its target has no lines.
"""

from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from engine.data.packing import PackedPairs, packed_dir
from engine.data.pairs import Pixels, split_channels
from engine.data.sources.interface import Source
from engine.data.survey.survey import ProgressCallback
from engine.errors import EngineError
from engine.images import color
from engine.images.regions import label_region_batch
from engine.settings import Settings
from engine.system import disk
from engine.system.files import delete_leftovers, replacing_array

REGIONS_FORMAT = 1  # increase when `images.regions` gives other labels than before
CHUNK_PAIRS = 64


def load_region_labels(
    packed: PackedPairs,
    source: Source,
    settings: Settings,
    on_progress: ProgressCallback = lambda done, total: None,
) -> NDArray[np.uint8]:
    """Loads the labels of packed sketches, after computing them if there are none.

    If two processes need the same labels, the second process waits for the first.

    Args:
        packed: the packed pairs of `source`.
        source: the source; it has sketches.
        settings: the settings with the folder of packed data.
        on_progress: called with the numbers of labelled pairs and of all pairs.

    Returns:
        [N, px, px] labels, memory-mapped, in the order of `packed.pixels`.

    Raises:
        EngineError: the stored labels are damaged, or the disk is full or cannot be written.
    """
    assert source.channels != 3, "a source without sketches has no regions"
    path = labels_path(source, packed.px, settings)
    if not path.is_file():
        settings.require_writable_artifacts()
        try:
            with FileLock(f"{path.parent}.lock"):
                delete_leftovers(path.parent)
                if not path.is_file():
                    _write_labels(packed, path, on_progress)
        except OSError as error:
            raise EngineError(f"The regions could not be stored in {path} ({error}).") from error
    return _load(path, packed)


def labels_path(source: Source, px: int, settings: Settings) -> Path:
    """Returns the file of the labels, inside the folder of the packed pairs."""
    return packed_dir(source, px, settings) / f"regions-{REGIONS_FORMAT}.npy"


def ink_of_pairs(pixels: Pixels) -> Pixels:
    """Returns the lightness [..., H, W] of the sketches of packed pairs [..., H, W, C], as bytes.

    The lightness of a coloured sketch is its grey of equal lightness.
    """
    sketches, _ = split_channels(pixels)
    return color.grey_of_equal_lightness(*(sketches[..., channel] for channel in range(3)))


def _write_labels(packed: PackedPairs, path: Path, on_progress: ProgressCallback) -> None:
    shape = packed.pixels.shape[:3]
    disk.require_room(
        int(np.prod(shape)),
        path.parent,
        f"Storing the regions of {shape[0]:,} sketches at {packed.px} px",
        "Use fewer pairs (?limit=), fewer pixels, or set CHROMABENCH_ARTIFACTS to a larger disk.",
    )
    with replacing_array(path, shape, np.uint8) as labels:
        for start in range(0, len(labels), CHUNK_PAIRS):
            chunk = slice(start, start + CHUNK_PAIRS)
            labels[chunk] = label_region_batch(ink_of_pairs(packed.pixels[chunk]))
            on_progress(min(start + CHUNK_PAIRS, len(labels)), len(labels))


def _load(path: Path, packed: PackedPairs) -> NDArray[np.uint8]:
    try:
        # Copy on write, because torch warns about read-only arrays.
        labels: NDArray[np.uint8] = np.load(path, mmap_mode="c")
        if labels.shape != packed.pixels.shape[:3] or labels.dtype != np.uint8:
            raise ValueError(f"{labels.dtype} labels of shape {labels.shape}")
        return labels
    except (OSError, ValueError, EOFError) as error:
        raise EngineError(
            f"The regions in {path} are damaged ({error}). "
            "Remove that file; the regions are found again when they are needed."
        ) from error
