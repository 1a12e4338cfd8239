"""Computes all metrics of a generator on a split.

The generator's images are not kept: each batch is passed to every meter and then discarded. If a
metric cannot be computed, the reason is recorded instead of a value.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine import weights
from engine.config import RunConfig
from engine.data.batches import PairSet, evaluation_batches
from engine.errors import MissingWeightsError, RefusedMetricError
from engine.evaluation import feature_extractors
from engine.evaluation.distance_meters import FeatureDistances, MetricFamily
from engine.evaluation.image_meters import DiscriminatorAccuracy, build_image_meters
from engine.evaluation.sanity import ImageSanity
from engine.evaluation.values import (
    MAX_SET_SIZE,
    Batch,
    Meter,
    MetricResult,
    UnavailableMetrics,
    unavailable,
)
from engine.metrics import features
from engine.metrics.catalog import CATALOG
from engine.networks.palette_generator import paint
from engine.records.runs import DECODING
from engine.settings import PROGRAM, Settings
from engine.training.step import autocast

BATCH_SIZE = 16
ROUNDING_TOLERANCE = 1e-3  # outputs of the generator up to this far outside [-1, 1] are accepted

FAMILIES = (
    MetricFamily(
        "fid", "kid", ("is_mean", "is_std"), "inception", feature_extractors.build_inception
    ),
    MetricFamily("fd_lite2", "kd_lite2", (), "efficientnet_lite2", feature_extractors.build_lite2),
)


@dataclass(frozen=True)
class FeatureMetrics:
    """A family of metrics with its extractor.

    Attributes:
        family: the metrics.
        extractor: the extractor; None if its weights are not available.
        reason: the reason for a missing extractor.
    """

    family: MetricFamily
    extractor: features.Extractor | None
    reason: str | None = None


@dataclass(frozen=True)
class EvaluationSpec:
    """The configuration and the split that are evaluated.

    Attributes:
        config: the run's resolved configuration. Its decoding is evaluated, whatever the decoding
            of the generator.
        split: `val` or `test`.
        data_fingerprint: the hash of the packed pairs.
    """

    config: RunConfig
    split: str
    data_fingerprint: str

    def protocol(self, n_pictures: int) -> dict[str, Any]:
        """Returns the part of the protocol that all metrics of the evaluation share."""
        decoding = {} if self.config.decoding is None else {DECODING: str(self.config.decoding)}
        return decoding | {
            "data": self.config.data,
            "data_fingerprint": self.data_fingerprint,
            "split": self.split,
            "n_pictures": n_pictures,
            "px": self.config.budget.px,
            "pictures": "8-bit",
            "precision": self.config.execution.precision,
        }


def load_feature_metrics(
    settings: Settings, device: torch.device, network: str = "all"
) -> list[FeatureMetrics]:
    """Loads the feature networks whose weights are on this machine.

    For a network without weights, the entry contains the reason instead of an extractor.

    Args:
        settings: the locations of the weights.
        device: the device of the networks.
        network: `all`, `none`, or the name of one network's weights.
    """
    feature_metrics = []
    for family in FAMILIES:
        if network not in ("all", family.weights):
            continue
        try:
            extractor = family.build(*weights.require(family.weights, settings), device)
            feature_metrics.append(FeatureMetrics(family, extractor))
        except MissingWeightsError as error:
            is_missing = weights.find(family.weights, settings) is None
            reason = missing_weights_reason(family.weights) if is_missing else str(error)
            feature_metrics.append(FeatureMetrics(family, None, reason))
    return feature_metrics


def missing_weights_reason(network: str) -> str:
    """Returns the reason that is stored for metrics without weights; it stays true later."""
    label, command = weights.get_weights(network).label, weights.install_command(network)
    return (
        f"evaluated without the {label} weights: `{command}`, then "
        f"`{PROGRAM} evaluate --study STUDY`"
    )


def evaluate(
    spec: EvaluationSpec,
    generator: nn.Module,
    pairs: PairSet,
    feature_metrics: Sequence[FeatureMetrics],
    features_dir: Path,
    discriminator: nn.Module | None = None,
    fakes_out: NDArray[np.uint8] | None = None,
    frechet_interval: bool = True,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[MetricResult]:
    """Computes all metrics of a generator on a split.

    Args:
        spec: the configuration and the split.
        generator: the network; it is switched to evaluation mode.
        pairs: the pairs of the split.
        feature_metrics: the families of feature metrics to compute.
        features_dir: the folder of the cached features of targets.
        discriminator: the network whose accuracy is measured, switched to evaluation mode; None:
            no accuracy is measured.
        fakes_out: [N, px, px, 3] uint8 array that receives the fakes, for instance a memory map.
        frechet_interval: whether to compute the intervals of Frechet distances. The intervals need
            Frechet distances on random halves of the images, the slowest part.
        on_progress: called with the number of images done.

    Raises:
        RefusedMetricError: there are no pairs, or the targets are blank or almost black.
    """
    sanity, meters = ImageSanity(), build_image_meters()
    if discriminator is not None:
        meters.append(DiscriminatorAccuracy(discriminator))
    meters += [
        _build_distances(family, spec, pairs, sanity, features_dir, frechet_interval)
        for family in feature_metrics
    ]
    batches = generate(spec.config, generator, pairs)
    return _measure(spec, len(pairs), batches, sanity, meters, fakes_out, on_progress)


def evaluate_fakes(
    spec: EvaluationSpec,
    fakes: NDArray[np.uint8],
    pairs: PairSet,
    feature_metrics: Sequence[FeatureMetrics],
    features_dir: Path,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[MetricResult]:
    """Computes feature metrics of the fakes that an earlier evaluation stored.

    The results are equal to those of `evaluate` with the generator that made the fakes.

    Args:
        spec: the configuration and the split.
        fakes: [N, px, px, 3] uint8 images in the order of the pairs.
        pairs: the N pairs of the split.
        feature_metrics: the families of feature metrics to compute.
        features_dir: the folder of the cached features of targets.
        on_progress: called with the number of images done.

    Raises:
        RefusedMetricError: there are no pairs, or the targets are blank or almost black.
    """
    sanity = ImageSanity()
    meters = [
        _build_distances(family, spec, pairs, sanity, features_dir, frechet_interval=True)
        for family in feature_metrics
    ]
    batches = _load_batches(fakes, pairs)
    return _measure(spec, len(pairs), batches, sanity, meters, None, on_progress)


def _load_batches(fakes: NDArray[np.uint8], pairs: PairSet) -> Iterator[Batch]:
    """Yields the batches of `generate` again, from [N, px, px, 3] uint8 fakes."""
    done = 0
    for source, target in evaluation_batches(pairs, BATCH_SIZE):
        arrays = np.array(fakes[done : done + len(source)])
        fake_bytes = torch.from_numpy(arrays).permute(0, 3, 1, 2).contiguous().to(source.device)
        yield Batch(source, target, fake_bytes / 127.5 - 1, to_bytes(target), fake_bytes)
        done += len(source)


def _measure(
    spec: EvaluationSpec,
    n_pairs: int,
    batches: Iterator[Batch],
    sanity: ImageSanity,
    meters: Sequence[Meter],
    fakes_out: NDArray[np.uint8] | None,
    on_progress: Callable[[int], None],
) -> list[MetricResult]:
    """Adds all batches to all meters and returns their results.

    Args:
        spec: the configuration and the split.
        n_pairs: the number of pairs of the split.
        batches: all pairs with their fakes.
        sanity: the checks of the same images, which the meters share.
        meters: the meters.
        fakes_out: [N, px, px, 3] array that receives the fakes.
        on_progress: called with the number of images done.

    Raises:
        RefusedMetricError: there are no pairs, or the targets are blank or almost black.
    """
    if not n_pairs:
        raise RefusedMetricError(f"the {spec.split} split has no pictures to evaluate")
    protocol = spec.protocol(n_pairs)

    # One pass over the split: each batch is added to every meter.
    done = 0
    try:
        for batch in batches:
            sanity.add(batch)
            for meter in meters:
                meter.add(batch)
            if fakes_out is not None:
                fakes_out[done : done + len(batch.source)] = as_arrays(batch.fake_bytes)
            done += len(batch.source)
            on_progress(done)
    except RefusedMetricError as refusal:
        names = [name for meter in meters for name in meter.names]
        return unavailable(names, protocol, str(refusal))

    if fault := sanity.fault("target"):
        raise RefusedMetricError(f"{fault}: no metric can be computed with these targets")
    results = [result for meter in meters for result in meter.results(protocol)]
    if fault := sanity.fault("generated"):
        results = [result.with_note(fault) for result in results]
    return [refuse_impossible(result) for result in results]


def refuse_impossible(result: MetricResult) -> MetricResult:
    """Replaces a value outside the range of the metric by the reason for its absence."""
    if result.value is None or CATALOG[result.name].allows(result.value):
        return result
    reason = f"the result was {result.value:g}, which is impossible: a bug in Chromabench"
    return unavailable((result.name,), result.protocol, reason)[0]


@torch.no_grad()
def generate(config: RunConfig, generator: nn.Module, pairs: PairSet) -> Iterator[Batch]:
    """Generates the fakes of all pairs with the decoding of a configuration, batch by batch.

    Raises:
        RefusedMetricError: an output of the generator is outside [-1, 1] or not a number.
    """
    generator.eval()
    for source, target in evaluation_batches(pairs, BATCH_SIZE):
        with features.exact_float32(), autocast(config, source.device.type):
            fake = paint(generator, source, config.decoding).float()
        low, high = (float(value) for value in fake.aminmax())
        if not (low >= -1 - ROUNDING_TOLERANCE and high <= 1 + ROUNDING_TOLERANCE):
            raise RefusedMetricError(
                f"a generator's values must be in [-1, 1]; these reach from {low:.4g} to {high:.4g}"
            )
        yield Batch(source, target, fake, to_bytes(target), to_bytes(fake))


def predict(config: RunConfig, generator: nn.Module, pairs: PairSet) -> NDArray[np.uint8]:
    """Generates the fakes of a few pairs -> [N, px, px, 3] uint8."""
    batches = generate(config, generator, pairs)
    return np.concatenate([as_arrays(batch.fake_bytes) for batch in batches])


def to_bytes(images: Tensor) -> Tensor:
    """Maps [-1, 1] to 0..255 uint8, rounded to the nearest integer."""
    return images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def as_arrays(images: Tensor) -> NDArray[np.uint8]:
    """Moves [N, 3, H, W] uint8 images to the CPU as [N, H, W, 3] arrays."""
    arrays: NDArray[np.uint8] = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return arrays


def _build_distances(
    feature_metrics: FeatureMetrics,
    spec: EvaluationSpec,
    pairs: PairSet,
    sanity: ImageSanity,
    features_dir: Path,
    frechet_interval: bool,
) -> Meter:
    """Builds the meter of a family; without an extractor, its metrics are unavailable."""
    family, extractor = feature_metrics.family, feature_metrics.extractor
    if extractor is None:
        return UnavailableMetrics(family.names, feature_metrics.reason or "")
    image_set = f"{spec.data_fingerprint}-{spec.split}-{spec.config.budget.px}px"

    def load_real() -> NDArray[np.float32]:
        pixels = pairs.targets[:MAX_SET_SIZE]
        targets = (batch.permute(0, 3, 1, 2) for batch in torch.split(pixels, BATCH_SIZE))
        return features.load_or_compute(
            features_dir, image_set, len(pixels), extractor, lambda: targets
        )

    return FeatureDistances(family, extractor, sanity, load_real, frechet_interval)
