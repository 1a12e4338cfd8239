"""Meters of distances between the features of fakes and targets, and of the Inception Score."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import RefusedMetricError
from engine.evaluation.sanity import ImageSanity
from engine.evaluation.values import (
    MAX_SET_SIZE,
    N_HALVES,
    Batch,
    MetricResult,
    set_result,
    unavailable,
)
from engine.metrics import distribution, features, half_sampling, intervals

# A Frechet distance below this share of the summed variances is a rounding error.
MIN_RELATIVE_DISTANCE = 1e-9

Features = NDArray[np.float32]


@dataclass(frozen=True)
class MetricFamily:
    """The metrics that are computed from the features of one network.

    Attributes:
        frechet: the name of the Frechet distance.
        kernel: the name of the kernel distance.
        score: the names of the Inception Score's mean and standard deviation; empty if the family
            has no Inception Score.
        weights: the name of the network's weights in `weights.CATALOG`.
        build: builds the extractor; takes the path and the sha256 of the weights, and the device.
    """

    frechet: str
    kernel: str
    score: tuple[str, ...]
    weights: str
    build: Callable[..., features.Extractor]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all metrics of the family."""
        return (self.frechet, self.kernel, *self.score)


class FeatureDistances:
    """Computes the Frechet distance, the kernel distance and the Inception Score with one network.

    Args:
        family: the names of the metrics.
        extractor: the network.
        sanity: the checks of the same images; the caller adds every batch to these checks.
        load_real: returns the features of the targets.
        frechet_interval: whether to compute the interval of the Frechet distance. The interval
            needs Frechet distances on random halves of the images, the slowest part.
    """

    def __init__(
        self,
        family: MetricFamily,
        extractor: features.Extractor,
        sanity: ImageSanity,
        load_real: Callable[[], Features],
        frechet_interval: bool,
    ) -> None:
        self.names = family.names
        self._family, self._extractor, self._sanity = family, extractor, sanity
        self._load_real, self._frechet_interval = load_real, frechet_interval
        self._fake_features = features.FeatureCollector(extractor)
        self._n = 0

    def add(self, batch: Batch) -> None:
        """Computes the features of the fakes, for at most `MAX_SET_SIZE` images in total."""
        n_free = max(0, MAX_SET_SIZE - self._n)
        self._n += len(batch.fake_bytes[:n_free])
        self._fake_features.add(batch.fake_bytes[:n_free])

    def results(self, protocol: Mapping[str, Any]) -> list[MetricResult]:
        """Computes each metric, or gives the reason for its absence."""
        protocol = {
            **protocol,
            "n_pictures": self._n,
            "extractor": self._extractor.name,
            "weights_sha256": self._extractor.sha256,
            "resize": self._extractor.resize,
        }
        if fault := self._sanity.fault("generated"):
            return unavailable(self.names, protocol, fault)
        if self._n < 2:
            return unavailable(
                self.names, protocol, f"a distance needs at least two pictures, not {self._n}"
            )
        real, fake = self._load_real(), self._fake_features.features
        results = []
        for names, measure in (
            ((self._family.frechet,), self._frechet),
            ((self._family.kernel,), self._kernel),
            (self._family.score, self._score),
        ):
            try:
                results += measure(real, fake, protocol) if names else []
            except RefusedMetricError as refusal:
                results += unavailable(names, protocol, str(refusal))
        return results

    def _frechet(
        self, real: Features, fake: Features, protocol: Mapping[str, Any]
    ) -> list[MetricResult]:
        value = distribution.fid(real, fake)
        spread = sum(float(each.astype(np.float64).var(0).sum()) for each in (real, fake))
        notes = [self._sanity.note]
        if value <= MIN_RELATIVE_DISTANCE * spread:
            if self._sanity.identical < self._sanity.n:
                raise RefusedMetricError(
                    "the pictures differ from their targets, but their features do not: a "
                    "distance of 0 would have no meaning"
                )
            value = max(value, 0.0)
            notes.append("every picture equals its target")
        if self._n < self._extractor.n_features:
            # `report.findings` searches notes for the words "biased upward".
            notes.append(
                f"{self._n} pictures in {self._extractor.n_features:,} dimensions: biased upward"
            )
        on_halves = None
        if self._frechet_interval and self._n >= 4:
            halves = intervals.half_samples(self._n, half_sampling.n_frechet_halves(self._n))
            on_halves = half_sampling.fid(real, fake, halves)
        return [set_result(self._family.frechet, value, self._n, protocol, on_halves, notes)]

    def _kernel(
        self, real: Features, fake: Features, protocol: Mapping[str, Any]
    ) -> list[MetricResult]:
        protocol = {**protocol, "estimator": "unbiased over pairs, all pictures at once"}
        value = distribution.kernel_distance(real, fake)
        on_halves = None
        if self._n >= 4:
            halves = intervals.half_samples(self._n, N_HALVES)
            on_halves = half_sampling.kernel_distance(real, fake, halves)
        notes = [self._sanity.note]
        return [set_result(self._family.kernel, value, self._n, protocol, on_halves, notes)]

    def _score(
        self, real: Features, fake: Features, protocol: Mapping[str, Any]
    ) -> list[MetricResult]:
        logits = self._fake_features.logits
        if logits is None:
            raise RefusedMetricError("the network gave no class scores")
        score = distribution.inception_score(logits)
        protocol = {**protocol, "splits": 10, "shuffle": "seed 2020"}
        note = f"splits of {self._n // 10} pictures: biased low" if self._n < 50_000 else None
        names = self._family.score
        return [
            MetricResult(name, value, self._n, protocol, note=note)
            for name, value in zip(names, (score.mean, score.std), strict=True)
        ]
