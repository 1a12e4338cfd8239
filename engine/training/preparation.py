"""Prepares what a generator needs from the training split before the first step.

A palette generator needs its palette, and the scales of the pretrained features of its sources.
Both are stored with the weights, so that a run that continues uses those of its first attempt.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.data.batches import CHUNK_PAIRS, Batch, PairSet, make_images, make_labels
from engine.networks import palette, region_labels
from engine.networks.drawing_geometry import drawing_geometry
from engine.networks.outputs import LineFill
from engine.networks.palette_generator import PaletteGenerator, SourceInputs, find_reader
from engine.training import source_feature_cache
from engine.training.source_feature_cache import SourceFeatureCache
from engine.training.state import TrainingState
from engine.training.step import SourceInputsFn

# A target is lighter than its source if it has this many more grey levels; up to this share of such
# pixels the product of fill and ink is a good picture (OpenMoji: 1.7 %).
LIGHTER_LEVELS, MAX_LIGHTER_SHARE = 8, 0.05


def prepare_generator(
    state: TrainingState, pairs: PairSet, features: SourceFeatureCache | None = None
) -> None:
    """Fits a generator and its average to the training split before the first step.

    Args:
        state: the training state; changed in place.
        pairs: the training split.
        features: the cached features of the sources; None: they are computed if they are needed.
    """
    generator, reader = state.generator, find_reader(state.generator)
    has_palette = isinstance(generator, PaletteGenerator)
    if state.step or not (has_palette or reader is not None):
        return
    if isinstance(generator, PaletteGenerator):
        generator.set_palette(find_palette(pairs, len(generator.palette)))
    if reader is not None:
        source_feature_cache.fit_reader(reader, pairs, features)
        if has_palette:
            reader.geometry_scale.fit(_measure_geometry(pairs))
    if state.averaged is not None:
        state.averaged.load_state_dict(generator.state_dict())


def find_ink_warning(state: TrainingState, pairs: PairSet) -> str | None:
    """Returns a warning if many targets cannot be painted as a fill times the ink of the source.

    A product with the ink is never lighter than the source.

    Args:
        state: the training state with the generator.
        pairs: the training split.
    """
    if not isinstance(state.generator, PaletteGenerator | LineFill):
        return None
    n_lighter = n_pixels = 0
    for sources, targets in _chunks(pairs):
        is_lighter = targets.max(-1) > sources.max(-1).astype(np.int16) + LIGHTER_LEVELS
        n_lighter, n_pixels = n_lighter + int(is_lighter.sum()), n_pixels + is_lighter.size
    if n_lighter <= MAX_LIGHTER_SHARE * n_pixels:
        return None
    return (
        f"{n_lighter / n_pixels:.0%} of the pixels of the targets are lighter than the line art, "
        "which an output that multiplies by the line art cannot paint. Compare it with output=rgb"
    )


def find_palette(pairs: PairSet, n_colours: int) -> NDArray[np.uint8]:
    """Finds the palette of the fills of all pairs, [n_colours, 3] bytes."""
    counts = palette.count_fill_colours(_chunks(pairs))
    return palette.find_palette(counts, n_colours)


def _chunks(pairs: PairSet) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yields sources and targets [N, px, px, 3] of some pairs at a time."""
    for start in range(0, len(pairs), CHUNK_PAIRS):
        selection = slice(start, start + CHUNK_PAIRS)
        chunk = replace(pairs, pixels=pairs.gather(selection), rows=None)
        yield chunk.sources.cpu().numpy(), chunk.targets.cpu().numpy()


@torch.no_grad()
def _measure_geometry(pairs: PairSet) -> Tensor:
    """Measures the geometry [N, 8] of the sources of all pairs."""
    n_pairs, figures = len(pairs), []
    for start in range(0, n_pairs, CHUNK_PAIRS):
        augmentations = torch.zeros(min(CHUNK_PAIRS, n_pairs - start), 4, dtype=torch.int64)
        augmentations[:, 0] = torch.arange(len(augmentations))
        selection = slice(start, start + CHUNK_PAIRS)
        labels = None if pairs.labels is None else pairs.gather_labels(selection)
        batch = Batch(pairs.gather(selection), augmentations.to(pairs.pixels.device), labels)
        source, _ = make_images(batch)
        figures.append(drawing_geometry(source, _labels_of(batch, source)))
    return torch.cat(figures)


def build_source_inputs(
    state: TrainingState, pairs: PairSet, features: SourceFeatureCache | None = None
) -> SourceInputsFn:
    """Returns the function that gives a training step the generator's inputs of a batch.

    Args:
        state: the training state with the generator.
        pairs: the training split.
        features: the cached features of the sources; None: they are computed at every step.
    """
    generator, reader = state.generator, find_reader(state.generator)
    uses_labels = isinstance(generator, PaletteGenerator) and generator.uses_labels
    if reader is None and not uses_labels:
        return lambda batch, source: None

    def read_inputs(batch: Batch, source: Tensor) -> SourceInputs:
        labels = _labels_of(batch, source) if uses_labels else None
        if reader is None:
            return SourceInputs(labels)
        frozen = reader.read_frozen(source) if features is None else features(batch)
        return SourceInputs(labels, frozen)

    return read_inputs


def _labels_of(batch: Batch, source: Tensor) -> Tensor:
    """Returns the region labels [B, H, W] of a batch; finds the regions if none are stored."""
    if batch.labels is None:
        return region_labels.label_regions(source)
    return make_labels(batch)
