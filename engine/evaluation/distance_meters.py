"""Meters of distances between sets, in the features of one network each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import RefusedMetricError
from engine.evaluation.sanity import Census
from engine.evaluation.values import N_HALVES, SET_LIMIT, Batch, Value, absent, set_value
from engine.metrics import distribution, features, half_sampling, intervals

RESOLUTION = 1e-9  # of the summed variances: a Frechet distance below it is rounding


@dataclass(frozen=True)
class Family:
    """The metrics that rest on one feature network."""

    frechet: str
    kernel: str
    score: tuple[str, ...]
    weights: str
    build: Callable[..., features.Extractor]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (self.frechet, self.kernel, *self.score)


class Distances:
    """Frechet and kernel distance in one network's features, and its Inception Score.

    Args:
        family: which names they have.
        extractor: the network.
        census: of the same pictures; whether they may be judged.
        load_real: the targets' features, computed once and kept.
        thorough: also measure the Frechet distance on random halves, which takes longest.
    """

    def __init__(
        self,
        family: Family,
        extractor: features.Extractor,
        census: Census,
        load_real: Callable[[], NDArray[np.float32]],
        thorough: bool,
    ) -> None:
        self.names = family.names
        self._family, self._extractor, self._census = family, extractor, census
        self._load_real, self._thorough = load_real, thorough
        self._rows = features.FeatureRows(extractor)
        self._n = 0

    def add(self, batch: Batch) -> None:
        """Takes the fakes' features."""
        room = max(0, SET_LIMIT - self._n)
        self._n += len(batch.fake_bytes[:room])
        self._rows.add(batch.fake_bytes[:room])

    def values(self, protocol: Mapping[str, Any]) -> list[Value]:
        """Each distance, or why there is none."""
        protocol = {
            **protocol,
            "n_pictures": self._n,
            "extractor": self._extractor.name,
            "weights_sha256": self._extractor.sha256,
            "resize": self._extractor.resize,
        }
        if fault := self._census.fault("generated"):
            return absent(self.names, protocol, fault)
        if self._n < 2:
            return absent(
                self.names, protocol, f"a distance needs at least two pictures, not {self._n}"
            )
        real, fake = self._load_real(), self._rows.features
        found = []
        for names, measure in (
            ((self._family.frechet,), self._frechet),
            ((self._family.kernel,), self._kernel),
            (self._family.score, self._score),
        ):
            try:
                found += measure(real, fake, protocol) if names else []
            except RefusedMetricError as refusal:
                found += absent(names, protocol, str(refusal))
        return found

    def _frechet(
        self, real: NDArray[np.float32], fake: NDArray[np.float32], protocol: Mapping[str, Any]
    ) -> list[Value]:
        value = distribution.fid(real, fake)
        spread = sum(float(it.astype(np.float64).var(0).sum()) for it in (real, fake))
        notes = [self._census.note]
        if value <= RESOLUTION * spread:
            if self._census.identical < self._census.n:
                raise RefusedMetricError(
                    "the pictures differ from their targets and their features do not: a distance "
                    "of 0 would say nothing"
                )
            value = max(value, 0.0)
            notes.append("every picture equals its target")
        if self._n < self._extractor.n_features:
            notes.append(
                f"{self._n} pictures in {self._extractor.n_features:,} dimensions: biased upward"
            )
        sampled = None
        if self._thorough and self._n >= 4:
            halves = intervals.half_samples(self._n, half_sampling.frechet_count(self._n))
            sampled = half_sampling.fid(real, fake, halves)
        return [set_value(self._family.frechet, value, self._n, protocol, sampled, notes)]

    def _kernel(
        self, real: NDArray[np.float32], fake: NDArray[np.float32], protocol: Mapping[str, Any]
    ) -> list[Value]:
        protocol = {**protocol, "estimator": "unbiased over pairs, all pictures at once"}
        value = distribution.kernel_distance(real, fake).value
        sampled = None
        if self._n >= 4:
            halves = intervals.half_samples(self._n, N_HALVES)
            sampled = half_sampling.kernel_distance(real, fake, halves)
        notes = [self._census.note]
        return [set_value(self._family.kernel, value, self._n, protocol, sampled, notes)]

    def _score(
        self, real: NDArray[np.float32], fake: NDArray[np.float32], protocol: Mapping[str, Any]
    ) -> list[Value]:
        logits = self._rows.logits
        if logits is None:
            raise RefusedMetricError("the network gave no class scores")
        score = distribution.inception_score(logits)
        protocol = {**protocol, "splits": 10, "shuffle": "seed 2020"}
        note = f"splits of {self._n // 10} pictures: biased low" if self._n < 50_000 else None
        names = self._family.score
        return [
            Value(name, value, self._n, protocol, note=note)
            for name, value in zip(names, (score.mean, score.std), strict=True)
        ]
