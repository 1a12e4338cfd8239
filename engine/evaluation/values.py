"""The interface of meters and the results that meters return."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.metrics import half_sampling, intervals

N_HALVES = 1000
MAX_SET_SIZE = 5_000  # Largest number of images for metrics with a quadratic cost.

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MetricResult:
    """The value of one metric on one split, or the reason for its absence.

    Attributes:
        name: the metric's name in the catalog.
        value: the value; None if `missing` gives the reason.
        n_pictures: the number of images that the value was computed from.
        protocol: all settings that decide whether two values are comparable. The texts of a
            protocol are compared with stored texts: a new wording would make all stored values
            incomparable.
        low, high: the limits of the 95 % interval over images.
        missing: the reason for an absent value.
        note: a caution about the value.
        reference: the metric of the targets themselves, for metrics of single images.
        per_picture: [N] values of single images, with None for a value that is not finite and for
            an image to which the metric does not apply; None for metrics of a whole set.
        halves: [B] values on random halves of the images.
    """

    name: str
    value: float | None
    n_pictures: int
    protocol: Mapping[str, Any]
    low: float | None = None
    high: float | None = None
    missing: str | None = None
    note: str | None = None
    reference: float | None = None
    per_picture: Sequence[float | None] | None = None
    halves: Array | None = None

    def with_note(self, note: str) -> "MetricResult":
        """Returns the result with a note added at the front; a missing value gets no note."""
        if self.value is None:
            return self
        return replace(self, note="; ".join(filter(None, (note, self.note))))


@dataclass(frozen=True)
class Batch:
    """A batch of pairs with their fakes.

    Attributes:
        source, target, fake: [B, 3, H, W] in [-1, 1], the inputs and the output of the networks.
        target_bytes, fake_bytes: [B, 3, H, W] uint8, the images from which metrics are computed.
    """

    source: Tensor
    target: Tensor
    fake: Tensor
    target_bytes: Tensor
    fake_bytes: Tensor

    @property
    def pictures(self) -> tuple[Tensor, Tensor]:
        """(fake, target), each [B, 3, H, W] in [0, 1] in steps of 1 / 255."""
        return self.fake_bytes.float() / 255, self.target_bytes.float() / 255


class Meter(Protocol):
    """Computes metrics from batches of images."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the metrics in `results`."""

    def add(self, batch: Batch) -> None:
        """Adds a batch."""

    def results(self, protocol: Mapping[str, Any]) -> list[MetricResult]:
        """Computes the metrics of all batches.

        Args:
            protocol: the part of the protocol that all metrics of the evaluation share.
        """


class UnavailableMetrics:
    """A meter of metrics that cannot be computed on this machine."""

    def __init__(self, names: tuple[str, ...], reason: str) -> None:
        self.names, self._reason = names, reason

    def add(self, batch: Batch) -> None:
        """Ignores the batch."""

    def results(self, protocol: Mapping[str, Any]) -> list[MetricResult]:
        """Returns a result without a value for each metric, with the reason."""
        return unavailable(self.names, protocol, self._reason)


def mean_result(
    name: str,
    scores: Sequence[float | None],
    protocol: Mapping[str, Any],
    reference: float | None = None,
) -> MetricResult:
    """Returns the mean of a metric over single images, with its 95 % interval.

    The value is missing if the score of any image is not finite. An image to which the metric does
    not apply has the score None, and is left out.
    """
    per_picture = [
        score if score is not None and math.isfinite(score) else None for score in scores
    ]
    finite_scores = [score for score in per_picture if score is not None]
    n_faulty = len(scores) - list(scores).count(None) - len(finite_scores)
    if n_faulty:
        reason = f"{n_faulty} pictures have no finite value"
        return MetricResult(name, None, 0, protocol, missing=reason, per_picture=per_picture)
    interval = intervals.mean_interval(finite_scores)
    halves = half_sampling.mean(per_picture, intervals.half_samples(len(scores), N_HALVES))
    return MetricResult(
        name=name,
        value=interval.mean,
        n_pictures=len(finite_scores),
        protocol=protocol,
        low=interval.low,
        high=interval.high,
        reference=reference,
        per_picture=per_picture,
        halves=halves if np.isfinite(halves).all() else None,
    )


def set_result(
    name: str,
    value: float,
    n_pictures: int,
    protocol: Mapping[str, Any],
    halves: Array | None,
    notes: Sequence[str | None] = (),
) -> MetricResult:
    """Returns the result of a metric of a whole set of images.

    Args:
        name: the metric's name.
        value: the value computed from all images.
        n_pictures: the number of images.
        protocol: the protocol of the value.
        halves: [B] values on random halves of the images, for the 95 % interval. No interval is
            computed if `halves` is None or contains a value that is not finite.
        notes: cautions about the value; None is ignored.
    """
    interval = intervals.Interval(value, None, None)
    if halves is not None and np.isfinite(halves).all():
        interval = intervals.sampled_interval(value, halves, n_pictures)
    else:
        halves = None
    return MetricResult(
        name=name,
        value=value,
        n_pictures=n_pictures,
        protocol=protocol,
        low=interval.low,
        high=interval.high,
        note="; ".join(filter(None, notes)) or None,
        halves=halves,
    )


def unavailable(
    names: Sequence[str], protocol: Mapping[str, Any], reason: str
) -> list[MetricResult]:
    """Returns results without a value for some metrics, with one reason for all of them."""
    return [MetricResult(name, None, 0, protocol, missing=reason) for name in names]
