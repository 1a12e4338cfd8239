"""What a meter takes in and gives out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.metrics import half_sampling, intervals

N_HALVES = 1000
SET_LIMIT = 5_000  # pictures that a figure of all pairs of pictures rests on at most

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Value:
    """One metric of one split.

    Attributes:
        value: None when `missing` says why.
        low, high: 95 % over the pictures.
        reference: the same figure of the targets, where it has a meaning.
        per_picture: [N], None for metrics of a whole set; None inside where not finite.
        halves: [B] values on random halves of the pictures.
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

    def with_note(self, note: str) -> "Value":
        """The same with one more remark, where there is a value to remark on."""
        if self.value is None:
            return self
        return replace(self, note="; ".join(filter(None, (note, self.note))))


@dataclass(frozen=True)
class Batch:
    """Some pairs and what the generator made of them.

    Attributes:
        source: [B, 3, H, W] in [-1, 1], as the networks take it. target, fake: likewise.
        target_bytes, fake_bytes: [B, 3, H, W] uint8, what everything is measured on.
    """

    source: Tensor
    target: Tensor
    fake: Tensor
    target_bytes: Tensor
    fake_bytes: Tensor

    @property
    def pictures(self) -> tuple[Tensor, Tensor]:
        """(fake, target) [B, 3, H, W] in [0, 1], of 8 bits."""
        return self.fake_bytes.float() / 255, self.target_bytes.float() / 255


class Meter(Protocol):
    """Takes batches in, then says what they are worth."""

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that `values` will name."""

    def add(self, batch: Batch) -> None:
        """Takes a batch in."""

    def values(self, protocol: Mapping[str, Any]) -> list[Value]:
        """All values, each with its protocol or the reason why it is missing."""


class Missing:
    """Metrics that cannot be measured here, with the reason."""

    def __init__(self, names: tuple[str, ...], reason: str) -> None:
        self.names, self._reason = names, reason

    def add(self, batch: Batch) -> None:
        """Nothing to see."""

    def values(self, protocol: Mapping[str, Any]) -> list[Value]:
        """The reason, for each."""
        return absent(self.names, protocol, self._reason)


def mean_value(
    name: str,
    scores: Sequence[float],
    protocol: Mapping[str, Any],
    reference: float | None = None,
) -> Value:
    """A metric that is a mean of figures per picture; missing where one of them is not finite."""
    per_picture = [score if math.isfinite(score) else None for score in scores]
    known = [score for score in per_picture if score is not None]
    if len(known) < len(per_picture):
        reason = f"{len(per_picture) - len(known)} pictures have no finite value"
        return Value(name, None, 0, protocol, missing=reason, per_picture=per_picture)
    interval = intervals.mean_interval(known)
    halves = half_sampling.mean(per_picture, intervals.half_samples(len(scores), N_HALVES))
    return Value(
        name=name,
        value=interval.mean,
        n_pictures=len(known),
        protocol=protocol,
        low=interval.low,
        high=interval.high,
        reference=reference,
        per_picture=per_picture,
        halves=halves if np.isfinite(halves).all() else None,
    )


def set_value(
    name: str,
    value: float,
    n_pictures: int,
    protocol: Mapping[str, Any],
    sampled: Array | None,
    notes: Sequence[str | None] = (),
) -> Value:
    """A metric of the whole set, with its interval where halves of it were measured."""
    interval = intervals.Interval(value, None, None)
    if sampled is not None and np.isfinite(sampled).all():
        interval = intervals.sampled_interval(value, sampled, n_pictures)
    else:
        sampled = None
    note = "; ".join(it for it in notes if it) or None
    return Value(
        name=name,
        value=value,
        n_pictures=n_pictures,
        protocol=protocol,
        low=interval.low,
        high=interval.high,
        note=note,
        halves=sampled,
    )


def absent(names: Sequence[str], protocol: Mapping[str, Any], reason: str) -> list[Value]:
    """The same reason for some metrics that have no value."""
    return [Value(name, None, 0, protocol, missing=reason) for name in names]
