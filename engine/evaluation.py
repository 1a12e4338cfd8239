"""A generator and a split's pairs -> metric values, each with its protocol.

What has no honest value is not a number but the reason why.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine import weights
from engine.config import RunConfig
from engine.data.batches import PairSet, evaluation_batches
from engine.errors import MissingWeightsError, RefusedMetricError
from engine.metrics import distribution, features, pixel
from engine.metrics.intervals import mean_interval
from engine.settings import Settings
from engine.training import autocast

BATCH = 16  # pictures at a time through the generator and the pixel metrics
PIXEL_METRICS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": pixel.mse,
    "mae": pixel.mae,
    "psnr": pixel.psnr,
    "ssim": pixel.ssim,
}


@dataclass(frozen=True)
class Value:
    """One metric of one split.

    Attributes:
        value: None when `missing` says why.
        per_picture: [N], None for metrics of a whole set; None inside where not finite.
    """

    name: str
    value: float | None
    n_pictures: int
    protocol: Mapping[str, Any]
    low: float | None = None
    high: float | None = None
    missing: str | None = None
    note: str | None = None
    per_picture: Sequence[float | None] | None = None


@dataclass(frozen=True)
class Question:
    """Which pictures are judged: what every protocol of one evaluation has in common."""

    config: RunConfig
    split: str
    data_fingerprint: str
    checkpoint: str

    def protocol(self, n_pictures: int) -> dict[str, Any]:
        """The common part of the protocol."""
        return {
            "data": self.config.data,
            "data_fingerprint": self.data_fingerprint,
            "split": self.split,
            "n_pictures": n_pictures,
            "px": self.config.budget.px,
            "pictures": "8-bit",
            "precision": self.config.execution.precision,
            "checkpoint": self.checkpoint,
        }


def evaluate(
    question: Question,
    generator: nn.Module,
    pairs: PairSet,
    settings: Settings,
    on_metric: Callable[[str], None] = lambda name: None,
) -> list[Value]:
    """All metrics of a generator on a split.

    Args:
        question: what is judged.
        generator: in evaluation mode from here on.
        pairs: the split.
        settings: where weights and kept features are.
        on_metric: told the name of each metric before it is computed, for a progress display.

    Raises:
        RefusedMetricError: there are no pictures at all.
    """
    if not len(pairs):
        raise RefusedMetricError(f"the {question.split} split has no pictures to evaluate")
    on_metric("psnr")
    fakes = generate(question.config, generator, pairs)
    values = _pixel_values(question, fakes, pairs)
    for family in FAMILIES:
        on_metric(family.frechet)
        values += _distances(family, question, fakes, pairs, settings)
    return values


@torch.no_grad()
def generate(config: RunConfig, generator: nn.Module, pairs: PairSet) -> Tensor:
    """The generator's 8-bit pictures for all sources: [N, 3, H, W] uint8 on the CPU."""
    generator.eval()
    parts = []
    for source, _ in evaluation_batches(pairs, BATCH):
        with autocast(config, source.device.type):
            fake = generator(source)
        parts.append(to_bytes(fake.float()).cpu())
    return torch.cat(parts)


def to_bytes(pictures: Tensor) -> Tensor:
    """[-1, 1] -> 0..255, rounded to the nearest."""
    return pictures.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def _pixel_values(question: Question, fakes: Tensor, pairs: PairSet) -> list[Value]:
    columns: dict[str, list[Tensor]] = {name: [] for name in PIXEL_METRICS}
    for start, targets in _targets(pairs):
        target = targets.to(pairs.device).float() / 255
        fake = fakes[start : start + len(targets)].to(pairs.device).float() / 255
        for name, metric in PIXEL_METRICS.items():
            columns[name].append(metric(fake, target).cpu())
    return [_pixel_value(name, torch.cat(parts), question) for name, parts in columns.items()]


def _pixel_value(name: str, column: Tensor, question: Question) -> Value:
    per_picture = [value if math.isfinite(value) else None for value in column.tolist()]
    known = [value for value in per_picture if value is not None]
    protocol = question.protocol(len(known))
    if not known:
        reason = "no picture has a finite value"
        return Value(name, None, 0, protocol, missing=reason, per_picture=per_picture)
    perfect = len(per_picture) - len(known)
    note = f"{perfect} perfect pictures have no finite value and are left out" if perfect else None
    interval = mean_interval(known)
    return Value(
        name=name,
        value=interval.mean,
        n_pictures=len(known),
        protocol=protocol,
        low=interval.low,
        high=interval.high,
        note=note,
        per_picture=per_picture,
    )


@dataclass(frozen=True)
class Family:
    """Two distances that rest on one feature network."""

    frechet: str
    kernel: str
    weights: str
    build: Callable[..., features.Extractor]


FAMILIES = (
    Family("fid", "kid", "inception", features.build_inception),
    Family("fd_lite2", "kd_lite2", "efficientnet_lite2", features.build_lite2),
)


def _distances(
    family: Family, question: Question, fakes: Tensor, pairs: PairSet, settings: Settings
) -> list[Value]:
    """Frechet and kernel distance in one network's features, or why they are absent."""
    names = (family.frechet, family.kernel)
    protocol = question.protocol(len(fakes))
    try:
        extractor = family.build(*weights.require(family.weights, settings), pairs.device)
    except MissingWeightsError as absent:
        return [Value(name, None, 0, protocol, missing=str(absent)) for name in names]
    protocol |= {
        "extractor": extractor.name,
        "weights_sha256": extractor.sha256,
        "resize": extractor.resize,
    }
    px, n, size = question.config.budget.px, len(pairs), features.batch_size(pairs.device)
    kept = f"{question.data_fingerprint}-{question.split}-{n}-{px}px-{extractor.sha256[:8]}.npy"
    real = features.load_or_compute(
        settings.features_dir / kept,
        extractor,
        lambda: (batch for _, batch in _targets(pairs, size)),
    )
    fake = features.compute(extractor, torch.split(fakes, size))
    note = None
    if n < extractor.n_features:
        note = f"{n} pictures in {extractor.n_features:,} dimensions: biased upward"
    return [
        _distance(family.frechet, protocol, note, n, lambda: distribution.fid(real, fake)),
        _distance(
            family.kernel,
            {**protocol, "estimator": "unbiased, all pictures at once"},
            None,
            n,
            lambda: distribution.kid(real, fake, subset_size=None),
        ),
    ]


def _distance(
    name: str, protocol: Mapping[str, Any], note: str | None, n: int, measure: Callable[[], float]
) -> Value:
    try:
        return Value(name, measure(), n, protocol, note=note)
    except RefusedMetricError as refusal:
        return Value(name, None, 0, protocol, missing=str(refusal))


def _targets(pairs: PairSet, size: int = BATCH) -> Iterator[tuple[int, Tensor]]:
    """The 8-bit targets in batches [B, 3, H, W], each with its first position."""
    for start in range(0, len(pairs), size):
        yield start, pairs.pixels[start : start + size, 1].permute(0, 3, 1, 2)


def pictures_to_arrays(pictures: Tensor) -> NDArray[np.uint8]:
    """[N, 3, H, W] uint8 -> [N, H, W, 3] arrays, for drawing."""
    return pictures.permute(0, 2, 3, 1).contiguous().numpy()
